"""The wheel that the tests look into."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.wheels import make_wheel
from tests.programs import ROOT


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sources as they are."""
    return make_wheel(ROOT, tmp_path_factory.mktemp("wheel"))
