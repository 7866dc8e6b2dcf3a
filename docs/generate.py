"""`make reference`: writes the pages of docs/reference that are drawn from the code. A test compares them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from config.settings import PREFIX, SettingsSchema, render_example, shown
from integrations.core.registry import kinds
from leads.cli import main as frontdesk
from leads.intake.openapi import document

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
    parts = ["# Connectors", _NOTE]
    for kind, connector in kinds().items():
        parts += [f"## {connector.label} (`{kind}`)", "", "| option | meaning | secret |", "|---|---|---|"]
        for name, option in connector.options().fields.items():
            secret = "yes" if option.metadata.get("secret") else ""
            parts.append(f"| `{name}` | {option.metadata.get('help', '')} | {secret} |")
        parts += ["", f"Safe to repeat: tier {connector.tier}. Records per call: {connector.batch_size}.", ""]
    return "\n".join(parts)


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
