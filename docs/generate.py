"""`make reference`: writes the pages of docs/reference that are drawn from the code. A test compares them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from inspect import get_annotations
from pathlib import Path

import click

from config.settings import PREFIX, SettingsSchema, render_example, shown
from integrations.core.base import Connector
from integrations.core.registry import kinds
from leads.cli import main as frontdesk
from leads.intake.openapi import document
from leads.sync.mapping import SOURCES, default_rules

ROOT = Path(__file__).parent.parent
_NOTE = "<!-- Drawn from the code by `make reference`. Change the code instead. -->\n"


def pages() -> dict[Path, str]:
    """Every generated file and what should stand in it."""
    reference = ROOT / "docs" / "reference"
    return {
        ROOT / "config" / "env.example": render_example(),
        reference / "settings.md": _settings(),
        reference / "commands.md": _commands(),
        reference / "connectors.md": _connectors(),
        reference / "openapi.json": json.dumps(document(), indent=2) + "\n",
    }


def _settings() -> str:
    rows = [
        f"| `{PREFIX}{name.upper()}` | {setting.metadata['help']} | `{shown(setting.load_default)}` |"
        for name, setting in SettingsSchema().fields.items()
    ]
    head = [
        "# Settings",
        _NOTE,
        "Every setting is an environment variable. `NAME_FILE` names a file that holds the value, for secrets.",
        "All mistakes are told at once when a program starts.",
        "",
        "| variable | meaning | default |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


def _commands() -> str:
    parts = ["# Commands", _NOTE]
    for path, command in _walk(frontdesk, "frontdesk"):
        with click.Context(command, info_name=path) as context:
            parts += [f"## `{path}`", "```text", command.get_help(context), "```", ""]
    return "\n".join(parts)


def _walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from _walk(child, f"{path} {name}")


def _connectors() -> str:
    parts = ["# Connectors", _NOTE, "What *tier* means: [How it works](../explanation/overview.md).", ""]
    for kind, connector in kinds().items():
        parts += [f"## {connector.label} (`{kind}`)", "", *_habits(connector), ""]
        parts += ["| option | meaning | secret |", "|---|---|---|"]
        for name, option in connector.options().fields.items():
            secret = "yes" if option.metadata.get("secret") else ""
            parts.append(f"| `{name}` | {option.metadata.get('help', '')} | {secret} |")
        parts += ["", "A new connection writes:", "", "| in the CRM | what |", "|---|---|", *_mapping(connector), ""]
    return "\n".join(parts)


def _habits(connector: type[Connector]) -> list[str]:
    """How it treats its CRM, as a list."""
    pace = f"at most {connector.pace:g} a second" if connector.pace else "as many as the CRM takes"
    signs_in = connector.oauth.__func__ is not Connector.oauth.__func__  # type: ignore[attr-defined]  # they are bound
    differs = "tier" in get_annotations(connector)  # as `tier: Tier`: each connection has its own
    tier = f"tier {connector.tier}" + (", or as its options say" if differs else "")
    wait = f"; a write can be read back after {connector.settle:g} s" if connector.settle else ""
    proof = "read back" if connector.readable else "what it answers: it cannot be asked"
    return [
        f"- Safe to repeat: {tier}{wait}",
        f"- Proof: {proof}",
        f"- Records per call: {connector.batch_size}",
        f"- Calls: {pace}",
        f"- Sign-in: {'OAuth, unless its options hold a key' if signs_in else 'a key among its options'}",
    ]


def _mapping(connector: type[Connector]) -> list[str]:
    """The rules that a new connection starts with, as rows."""
    rows = []
    for rule in default_rules(connector):
        what = f"“{rule['value']}”" if "value" in rule else SOURCES[rule["from"]].lower()
        if "otherwise" in rule:
            what += f", or “{rule['otherwise']}”"
        rows.append(f"| `{rule['to']}` | {what} |")
    return rows


def main() -> None:
    """Write them; with `--check` only say which are out of date."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        sys.exit("\n".join(f"{path.relative_to(ROOT)} is out of date: make reference" for path in stale))
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages()[path], encoding="utf-8")


if __name__ == "__main__":
    main()
