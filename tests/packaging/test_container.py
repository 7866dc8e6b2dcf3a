"""The image: what is sent to its builder makes the whole wheel, and what it sets are settings."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from config.settings import SettingsSchema
from tests.packaging.wheels import make_wheel, names_in
from tests.programs import ROOT

SENT = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[0] == "!"}


def test_what_the_builder_is_sent_makes_the_whole_wheel(wheel: Path, tmp_path: Path) -> None:
    sources = tmp_path / "src"
    for name in SENT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (sources / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, sources / name)
    assert names_in(make_wheel(sources, tmp_path)) == names_in(wheel)


def test_neither_data_nor_history_are_sent() -> None:
    assert {name.split("/")[0] for name in SENT}.isdisjoint({"data", "data-sandbox", ".git", ".env"})


@pytest.mark.parametrize("file", ["Containerfile", "compose.yaml"])
def test_what_is_set_are_settings(file: str) -> None:
    named = set(re.findall(r"FRONTDESK_(\w+)", (ROOT / file).read_text(encoding="utf-8")))
    assert named
    assert {name.lower() for name in named} <= SettingsSchema().fields.keys()


def test_only_the_proxy_can_be_reached_from_outside() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["caddy"]
    assert services["frontdesk"]["environment"]["FRONTDESK_TRUSTED_PROXIES"] == "1"
