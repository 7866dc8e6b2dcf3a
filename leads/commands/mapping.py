"""`frontdesk connection mapping` and `dry-run`: what goes into which field of the CRM, as a file, and tried out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TextIO

import click
import yaml

from integrations.core.base import Draft, Finding
from integrations.core.errors import DeliveryError
from leads.commands.connection import find_connection, must_be_well
from leads.commands.office import HomeFile, Office, fail, say
from leads.commands.plain_yaml import YamlError, load_yaml
from leads.store.models import Connection
from leads.store.queries.enquiries import Stored, latest_enquiries, latest_enquiry
from leads.store.queries.leads import lead_by_code
from leads.store.vault import VaultError
from leads.sync.mapping import HEALTH, OWN, SOURCES, WRITES
from leads.sync.plan import SHAREABLE, Plan, PlanError, changes, load_plan, plan_of
from leads.sync.rehearsal import differences, dry_run
from leads.sync.remote_fields import ask_fields, examine, health_data

_HEADER = f"""\
What “{{name}}” gets of each enquiry. Change it, look what that would do, and bring it in:
  frontdesk connection mapping check NAME FILE
  frontdesk connection mapping import NAME FILE

mapping: one rule for each field of the CRM's record of a person.
  to         the CRM's field
  from       our field: {", ".join(SOURCES)};
             or {OWN}NAME: the answer to a question of the clinic's own, by the name that its form has for it
  value      instead of `from`: a text that is always the same
  write      {", ".join(WRITES)}; with when_empty staff's own changes stay
  values     our text: what the CRM calls it, for a list of choices (put yes, no and numbers in quotes)
  otherwise  what is written when the visitor gave nothing
share: what the activity tells of an enquiry: {", ".join(SHAREABLE)}.
  {", ".join(HEALTH)} are health data, and {OWN}NAME may be: share them only where the clinic has decided so.
"""
_file = click.argument("file", type=HomeFile(encoding="utf-8"))


@click.group()
def mapping() -> None:
    """What goes into which field of the CRM, as a YAML file."""


@mapping.command("export")
@click.argument("name")
def export(name: str) -> None:
    """Print what is in use. NAME: the connection's name or id."""
    found = find_connection(Office(), name)
    header = _HEADER.format(name=found.name).splitlines()
    say("\n".join(f"# {line}".rstrip() for line in header))
    say(yaml.safe_dump(plan_of(found).dump(), sort_keys=False, allow_unicode=True, width=100), nl=False)


@mapping.command("check")
@click.argument("name")
@_file
def check(name: str, file: TextIO) -> None:
    """Say what is wrong with a file, and what it would change. FILE: its path, or - for standard input."""
    office = Office()
    found, plan = find_connection(office, name), _read(file)
    findings = _compared(office, found, plan)
    _show_changes(office, found, plan)
    must_be_well(findings, anyway=False)


@mapping.command("import")
@click.argument("name")
@_file
@click.option("--anyway", is_flag=True, help="Use it even when the CRM does not have all that it names.")
def bring_in(name: str, file: TextIO, anyway: bool) -> None:
    """Use a file from now on. What was sent before stays as it is."""
    office = Office()
    found, plan = find_connection(office, name), _read(file)
    must_be_well(_compared(office, found, plan), anyway=anyway)
    lines = changes(plan_of(found), plan)
    if lines:
        office.setup.remap(found.id, plan)
    say("\n".join([*lines, "In use from now on."] if lines else ["It is in use like this already."]))


@click.command("dry-run")
@click.argument("name")
@click.option("--lead", "code", required=True, help="Reference code of a stored lead.")
@click.option("--reveal", is_flag=True, help="Show the person's details. It is written down that you looked.")
def try_dry(name: str, code: str, reveal: bool) -> None:
    """Show the exact requests for a stored lead's latest enquiry. Nothing is sent."""
    office = Office()
    found = find_connection(office, name)
    enquiry = _enquiry(office, found, code)
    drafts = _drafts(office, found, enquiry, reveal)
    if reveal:
        office.setup.revealed(found.id, [enquiry.lead.code])
    for draft in drafts:
        say(f"{draft.method} {draft.url}\n{json.dumps(draft.body, indent=2, ensure_ascii=False)}\n")
    say("Nothing was sent." + ("" if reveal else " ‹…› stands for what the person gave; --reveal shows it."))


def _read(file: TextIO) -> Plan:
    """What the file says. Ends the program with a sentence for each thing that is wrong."""
    try:
        return load_plan(load_yaml(file.read()))
    except PlanError as error:
        fail("\n".join(error.sentences))
    except UnicodeDecodeError:
        fail("The file is not text in UTF-8.")
    except YamlError as error:
        fail(str(error))


def _compared(office: Office, found: Connection, plan: Plan) -> list[Finding]:
    for what in health_data(plan):
        say(f"note  Health data goes into the CRM: {what}.")
    return examine(plan, ask_fields(office.setup.connector(found)))


def _show_changes(office: Office, found: Connection, plan: Plan) -> None:
    before = plan_of(found)
    say("\n".join(changes(before, plan) or ["Nothing changes: it is in use like this already."]))
    with office.database.read() as session:
        enquiries = latest_enquiries(session, found.site_id)
    for one in differences(office.vault, before, plan, enquiries):
        for line in one.lines:
            say(f"{one.enquiry.lead.code}  {line.field}: {line.before} → {line.after}")


def _enquiry(office: Office, found: Connection, code: str) -> Stored:
    with office.database.read() as session:
        lead = lead_by_code(session, code)
        enquiry = latest_enquiry(session, lead) if lead and lead.site_id == found.site_id else None
    return enquiry or fail(f"{found.name} gets no enquiry of a lead with the code {code}.")


def _drafts(office: Office, found: Connection, enquiry: Stored, reveal: bool) -> Sequence[Draft]:
    connector = office.setup.connector(found)
    if connector is None:
        fail(f"There is no connector for {found.kind} any more.")
    try:
        return dry_run(office.vault, plan_of(found), connector, enquiry, reveal=reveal)
    except DeliveryError as error:
        fail(error.sentence)
    except VaultError:
        fail("This enquiry cannot be read any more.")
