"""`frontdesk site`: the websites whose enquiries come here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from leads.commands.alerts import nobody_told_of_a_website
from leads.commands.office import Office, as_json, as_rows, fail, in_words, json_option, say, site_named
from leads.languages import ENGLISH, LANGUAGES
from leads.plain import number_of
from leads.snippet import for_pages, for_plugins, is_of_this_machine
from leads.store.departure import Kept, forget_all_of, kept_of
from leads.store.models import Site, User
from leads.store.queries.lists import connections_in_use
from leads.store.sites import (
    LISTS,
    Details,
    SiteError,
    add_site,
    change_hook_token,
    change_site,
    close_site,
    consent_text,
    open_site,
    origin_of,
    remove_site,
)

Command = TypeVar("Command", bound=Callable[..., Any])
_TOLD = "Who is told by e-mail of what is wrong with this website, besides those told of all"
_PRIVACY, _IMPRINT = "Page of the privacy notice; the form links it", "Page of the imprint; the form links it"
_LANGUAGE = "Of our form, and of what it says to visitors."


def _token_option(*, default: bool | None) -> Callable[[Command], Command]:
    help_text = (
        "Hold as spam what comes without our form's hidden fields; only where all of the website's forms have them."
    )
    return click.option("--require-token/--no-require-token", default=default, help=help_text)


@click.group()
def site() -> None:
    """Websites whose enquiries come here."""


@site.command("add")
@click.argument("key")
@click.option("--name", required=True, help="The clinic's name, as visitors see it.")
@click.option("--region", required=True, help="Country of phone numbers typed without a code, such as US.")
@click.option("--time-zone", required=True, help="Such as America/New_York.")
@click.option("--language", type=click.Choice(LANGUAGES), default=ENGLISH, show_default=True, help=_LANGUAGE)
@click.option("--origin", "origins", multiple=True, help="Address of the website; may be given again.")
@click.option("--thank-you", "thank_you_urls", multiple=True, help="Page shown after the form; may be given again.")
@click.option("--alert-email", "alert_emails", multiple=True, help=f"{_TOLD}; may be given again.")
@click.option("--privacy-url", default="", help=f"{_PRIVACY}.")
@click.option("--imprint-url", default="", help=f"{_IMPRINT}.")
@click.option("--consent", help="What visitors are asked to agree to; without it, our own wording in their language.")
@_token_option(default=False)
def add(key: str, region: str, **options: Any) -> None:
    """Add a website. KEY stands in its pages: small letters, digits and hyphens."""
    office = Office()
    try:
        with office.database.write() as session:
            add_site(
                session,
                key=key,
                region=region.upper(),
                now=office.database.now(session),
                **options | {name: list(options[name]) for name in LISTS},
            )
            office.record(session, "site_added", key)
    except SiteError as error:
        fail(str(error))
    say(f"Added. Next: frontdesk site snippet {key}, and frontdesk connection add KIND --site {key}")
    _say_what_is_kept(options["origins"])
    _say_who_is_told(office, options)


@site.command("change")
@click.argument("key")
@click.option("--name", help="The clinic's name, as visitors see it.")
@click.option("--region", help="Country of phone numbers typed without a code, such as US.")
@click.option("--time-zone", help="Such as America/New_York.")
@click.option("--language", type=click.Choice(LANGUAGES), help=_LANGUAGE)
@click.option("--origin", "origins", multiple=True, help="Address of the website, in place of all before; '' for none.")
@click.option("--thank-you", "thank_you_urls", multiple=True, help="Page shown after the form; as --origin.")
@click.option("--alert-email", "alert_emails", multiple=True, help=f"{_TOLD}; as --origin.")
@click.option("--privacy-url", help=f"{_PRIVACY}; '' for none.")
@click.option("--imprint-url", help=f"{_IMPRINT}; '' for none.")
@click.option("--consent", help="What visitors are asked to agree to from now on.")
@_token_option(default=None)
@click.option("--new-hook-address", is_flag=True, help="A new address for form plugins. The old one stops at once.")
@click.option("--yes", is_flag=True, help="With --new-hook-address: do not ask.")
def change(key: str, new_hook_address: bool, yes: bool, **options: Any) -> None:
    """Change what is given of a website, and nothing else. It holds within a second, without a restart."""
    given = _given(options)
    if not given and not new_hook_address:
        raise click.UsageError("Say what to change, such as --name.")
    office = Office()
    if new_hook_address and not yes:
        _warn_of_the_old_address(office, key)
    try:
        with office.database.write() as session:
            found = site_named(session, key)
            if given:
                change_site(session, found, cast(Details, given), office.database.now(session))
                office.record(session, "site_changed", key)
            if new_hook_address:
                change_hook_token(found)
                office.record(session, "hook_address_changed", key)
    except SiteError as error:
        fail(str(error))
    say("Changed.")
    if new_hook_address:
        say(f"Paste the new address into the form plugin's settings now: {_hook_address(office, found)}")
    _say_what_is_kept(given.get("origins", ()))
    _say_who_is_told(office, given)
    if given.keys() & {"consent", "language"}:
        say(f"A form on the website's own pages needs the new wording too: frontdesk site snippet {key}")
        say("So does a box of a form plugin: until then it is not known which wording its visitors agreed to.")


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value not in (None, ())}
    given |= {name: [url for url in given[name] if url] for name in LISTS if name in given}
    if "region" in given:
        given["region"] = given["region"].upper()
    return given


def _warn_of_the_old_address(office: Office, key: str) -> None:
    with office.database.read() as session:
        name = site_named(session, key).name
    click.confirm(
        f"Form plugins of {name} get a new address, and the old one stops at once: until you have pasted the new one, "
        "what they send is kept at the desk under “could not be understood”, for a person to read. Change it now?",
        abort=True,
    )


@site.command("close")
@click.argument("key")
def close(key: str) -> None:
    """Take no more enquiries of a website. Its visitors are told so; what is here still goes to its CRM."""
    office = Office()
    _end(office, key, "site_closed", lambda session, row: close_site(session, row, office.database.now(session)))
    say("Closed. Take its forms and scripts off its pages, and our address out of its form plugin.")
    say("What the plugin still sends is kept at the desk, under “could not be understood”.")
    _say_what_is_left(office, key)
    say(f"To take enquiries again: frontdesk site open {key}")


@site.command("open")
@click.argument("key")
def open_again(key: str) -> None:
    """Take enquiries of a closed website again."""
    _end(Office(), key, "site_opened", open_site)
    say("Open again: it takes enquiries.")


@site.command("remove")
@click.argument("key")
def remove(key: str) -> None:
    """Remove a website that has no enquiries, such as one with a mistake in its key."""
    _end(Office(), key, "site_removed", remove_site)
    say(f"Removed. Take its forms and scripts off the website's pages: {key} is not known here any more.")


@site.command("forget")
@click.argument("key")
@click.option("--dry-run", is_flag=True, help="Only say how much it would be.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(key: str, dry_run: bool, yes: bool) -> None:
    """Forget a clinic that has left: all that came from its website, its connections, and the website itself.

    First close it and remove its connections. CRMs keep what they have. If it is ended midway, begin it again.
    """
    office = Office()
    try:
        with office.database.read() as session:
            found = site_named(session, key)
            kept = kept_of(session, found)
            alone = _looked_after_by(session, found)
        _say_what_is_kept_of(kept)
        if dry_run:
            return
        if not yes:
            click.confirm(f"Delete all of {found.name} here for good? The CRM keeps what it has.", abort=True)
        with click.progressbar(length=kept.people, label="Forgetting") as bar:
            for people in forget_all_of(office.database, found.id):
                bar.update(people)
    except SiteError as error:
        fail(str(error))
    with office.database.write() as session:
        office.record(session, "site_forgotten", f"{key}: {number_of(kept.people, 'person', 'people')}")
    say(f"Forgotten, and {key} is not known here any more. Copies of the database keep it until you delete them.")
    for name in alone:
        say(f"{name} looked after this website alone. To let them sign in no more: frontdesk user remove {name}")


def _say_what_is_kept_of(kept: Kept) -> None:
    say(f"People: {kept.people}. Enquiries: {kept.enquiries}. Could not be understood: {kept.unreadable}.")
    if kept.not_arrived:
        say(f"Not in a CRM, or not known to be: {kept.not_arrived}. To keep them: frontdesk lead export")
    if kept.to_erase:
        say(f"Records of erased people that still stand in a CRM: {kept.to_erase}. Nobody here will know of them.")


def _say_what_is_left(office: Office, key: str) -> None:
    with office.database.read() as session:
        found = site_named(session, key)
        connections = [row.name for row in connections_in_use(session) if row.site_id == found.id]
        alone = _looked_after_by(session, found)
    for name in connections:
        say(f"“{name}” goes on, with its key, until all has arrived. Then: frontdesk connection remove “{name}”")
    for name in alone:
        say(f"{name} looks after this website alone, and may still sign in. See: frontdesk user remove --help")


def _looked_after_by(session: Session, found: Site) -> list[str]:
    """Who looks after this website and no other one."""
    users = session.scalars(select(User).order_by(User.name)).all()
    return [user.name for user in users if user.sites == frozenset({found.id})]


def _end(office: Office, key: str, what: str, change: Callable[[Session, Site], None]) -> None:
    """Do it and write it down as `what`. Ends the program where it cannot be."""
    try:
        with office.database.write() as session:
            change(session, site_named(session, key))
            office.record(session, what, key)
    except SiteError as error:
        fail(str(error))


@site.command("show")
@click.argument("key")
@json_option
def show(key: str, json_: bool) -> None:
    """Show all that is set of a website, and the address that form plugins send to."""
    office = Office()
    with office.database.read() as session:
        found = site_named(session, key)
        facts = _facts(found) | {
            "thank_you_urls": list(found.thank_you_urls),
            "alert_emails": list(found.alert_emails),
            "privacy_url": found.privacy_url,
            "imprint_url": found.imprint_url,
            "consent": consent_text(session, found),
            "consent_version": found.consent_version,
            "require_token": found.require_token,
        }
    facts["form_plugins"] = _hook_address(office, found)
    if json_:
        as_json(facts)
        return
    for name, value in facts.items():
        say(f"{name.replace('_', ' ').capitalize()}: {in_words(value)}")


@site.command("list")
@json_option
def list_sites(json_: bool) -> None:
    """Show the websites."""
    with Office().database.read() as session:
        rows = [_facts(row) for row in session.scalars(select(Site).order_by(Site.key))]
    empty = "There are no websites yet. Add one: frontdesk site add KEY --name NAME --region US --time-zone ZONE"
    as_rows(["key", "name", "region", "language", "time_zone", "origins", "closed_at"], rows, empty, json_=json_)


@site.command("snippet")
@click.argument("key")
def snippet(key: str) -> None:
    """Print what to put into the website's pages."""
    office = Office()
    with office.database.read() as session:
        found = site_named(session, key)
        consent = consent_text(session, found)
    if is_of_this_machine(office.settings.public_url):
        warning = "These addresses are of this machine alone. Set FRONTDESK_PUBLIC_URL, as the service has it."
        say(warning, err=True)
    # Not among what is put into pages: whoever reads it there can send whatever they like.
    say(f"Does a form plugin send your form? Its address: frontdesk site show {key}", err=True)
    say(for_pages(office.settings.public_url, found, consent))


def _hook_address(office: Office, row: Site) -> str:
    return for_plugins(office.settings.public_url, row, office.vault)


def _say_what_is_kept(origins: Iterable[str]) -> None:
    for url in origins:
        if (kept := origin_of(url)) != url.lower().removesuffix("/"):
            say(f"{url} is kept as {kept}: browsers tell no more of the page that a form is sent from.")


def _say_who_is_told(office: Office, given: Mapping[str, Any]) -> None:
    if given.get("alert_emails") and (reason := nobody_told_of_a_website(office.settings)):
        say(reason, err=True)


def _facts(row: Site) -> dict[str, Any]:
    return {
        "key": row.key,
        "name": row.name,
        "region": row.region,
        "language": row.language,
        "time_zone": row.time_zone,
        "origins": list(row.origins),
        "closed_at": row.closed_at,
    }
