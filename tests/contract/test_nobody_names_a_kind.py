"""A kind of CRM is named by its own module, tests, fixtures and docs, and by nothing else: there is no list to edit."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from integrations.core.registry import kinds
from tests.programs import ROOT

# It comes with Frontdesk for demos, so the demo starts it and connects to it.
_PART_OF_THE_DEMO = "sandbox"
# Whose forms are taken is no matter of which CRM gets them, and some makers have both.
_FORM_PLUGINS = ROOT / "leads/intake/hooks/shapes.toml"
_TEXT = {".py", ".html", ".js", ".css", ".toml", ".example", ".ini", ".mako"}
_PLACES = [ROOT / "wsgi.py", ROOT / "pyproject.toml", *(ROOT / name for name in ("leads", "config", "integrations"))]


def _files() -> list[Path]:
    found = [path for place in _PLACES for path in ([place] if place.is_file() else sorted(place.rglob("*")))]
    return [path for path in found if path.suffix in _TEXT and path != _FORM_PLUGINS]


def _spoken(path: Path) -> str:
    """What a file does, in lower case: of Python without comments and docstrings, which may say whose habit it is."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text.lower()
    tree = ast.parse(text)
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, field, None), list):
                setattr(node, field, [one for one in statements if not _is_comment(one)] or [ast.Pass()])
    return ast.unparse(tree).lower()


def _is_comment(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@pytest.fixture(scope="module")
def spoken() -> dict[Path, str]:
    return {path.relative_to(ROOT): _spoken(path) for path in _files()}


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind != _PART_OF_THE_DEMO])
def test_only_its_own_module_names_it(kind: str, spoken: dict[Path, str]) -> None:
    named = re.compile(rf"(?<![a-z]){kind}(?![a-z])")
    naming = {path for path, text in spoken.items() if named.search(text)}
    own = re.compile(rf"integrations/(_?{kind}|_{kind}_\w+)\.py")
    assert Path(f"integrations/{kind}.py") in naming
    assert [path for path in naming if not own.fullmatch(path.as_posix())] == []
