"""What a long run is asked for, by the environment."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Collection
from typing import NamedTuple


class Asked(NamedTuple):
    """seconds: of the whole run. parts: names."""

    seed: int
    seconds: float
    parts: list[str]


def seed() -> int:
    """SEED, or a new one."""
    return int(os.environ.get("SEED") or secrets.randbelow(10**6))


def asked(whole: float, parts: Collection[str]) -> Asked:
    """SEED, SECONDS and PARTS, printed so that the same run can be asked for again. whole: seconds, parts: all that
    there are. Ends the program with 2 when a part is not there."""
    seconds = float(os.environ.get("SECONDS") or whole)
    names = [name for name in (os.environ.get("PARTS") or ",".join(parts)).split(",") if name]
    if unknown := set(names) - set(parts):
        print(f"There is no part {', '.join(sorted(unknown))}. The parts are: {', '.join(parts)}.")
        sys.exit(2)
    run = Asked(seed(), seconds, names)
    print(f"SEED={run.seed} SECONDS={seconds:g} PARTS={','.join(names)}", flush=True)
    return run
