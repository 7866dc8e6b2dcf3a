"""What the pages load: nothing from elsewhere, and vendored files exactly as their makers published them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest
from flask import Flask

from leads.store.session import Database
from tests.web.desk import signed_in

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "leads/desk/static/vendor", ROOT / "tests/browser/vendor")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.parent.name)
def test_vendored_files_are_as_published(folder: Path) -> None:
    files = json.loads((folder / "vendor.json").read_text(encoding="utf-8"))
    for file in files:
        digest = hashlib.sha384((folder / file["file"]).read_bytes()).digest()
        assert file["integrity"] == "sha384-" + base64.b64encode(digest).decode(), file["name"]
        assert (folder / file["license_file"]).read_text(encoding="utf-8").strip()
    named = {name for file in files for name in (file["file"], file["license_file"])}
    assert {path.name for path in folder.iterdir()} == named | {"vendor.json"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_pages_load_only_our_own_files_and_check_the_vendored_ones(app: Flask, database: Database) -> None:
    anna = signed_in(app, database)
    page = anna.get("/desk/")
    loaded = re.findall(r'<(?:link|script)[^>]* (?:href|src)="([^"]+)"([^>]*)', page)
    assert len(loaded) == 5
    for path, rest in loaded:
        assert path.startswith("/desk/static/")
        with anna.client.get(path) as answer:
            assert answer.status_code == 200
        assert ("integrity=" in rest) == ("/vendor/" in path)


def test_no_page_needs_inline_script_or_style() -> None:
    for template in (ROOT / "leads/desk/templates").rglob("*.html"):
        text = template.read_text(encoding="utf-8")
        assert not re.search(r"\sstyle=|\son\w+=|<style|<script>|javascript:|hx-on|\bjs:", text), template.name
