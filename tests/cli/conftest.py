"""The `frontdesk` command as ops call it, on a fresh database of each kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from leads.cli import main
from leads.store.vault import Vault

Frontdesk = Callable[..., Result]


@pytest.fixture
def frontdesk(database_url: str, vault: Vault, tmp_path: Path) -> Frontdesk:
    """Runs one command. vault: its keys have to be there first. code: the exit code it must end with."""
    environ = {"FRONTDESK_DATABASE_URL": database_url, "FRONTDESK_DATA_DIR": str(tmp_path)}

    def run(*arguments: str, code: int = 0, stdin: str = "", **settings: str) -> Result:
        given = environ | {f"FRONTDESK_{name.upper()}": value for name, value in settings.items()}
        result = CliRunner().invoke(main, arguments, input=stdin, env=given)
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


def as_json(result: Result) -> Any:
    """What a command that reads prints with --json."""
    return json.loads(result.stdout)
