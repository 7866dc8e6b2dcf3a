"""The table of recoveries, and the page bench/hosts.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

from bench.hosts.judge import Recovery, Verdict
from bench.hosts.machines import LEASE, PACE, TIMEOUT

_HEAD = (
    "fault",
    "made well by",
    "next enquiry acknowledged",
    "every connection delivers",
    "longest wait for thanks",
    "longest from click to CRM",
    "most calls in a second",
)


def table(felt: Sequence[Recovery]) -> str:
    """One line per fault, times in seconds."""
    rows = [
        [
            one.fault.name,
            one.fault.healed_by,
            *map(_seconds, (one.thanked, one.delivered, one.wait, one.on_the_way)),
            str(one.calls),
        ]
        for one in felt
    ]
    lines = [_HEAD, ["---"] * 2 + ["---:"] * 5, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page(seed: int, felt: Sequence[Recovery], verdict: Verdict) -> str:
    """The whole page."""
    numbers = "\n".join(f"| {name} | {number:g} |" for name, number in verdict.numbers.items())
    broken = "\n".join(f"- **{sentence}**" for sentence in verdict.broken) or "None: nothing lost, nothing twice."
    return f"""# Several hosts

Written by `python -m bench.hosts`: two web hosts, three worker hosts, a primary with a synchronous standby and a host
in reserve, the CRMs' host, and visitors outside; each a network namespace on {os.cpu_count()} cores of one machine
({platform.machine()}, Linux {platform.release().split("-")[0]}, Python {platform.python_version()}). Seed {seed}.
Leases of {LEASE:g} s and CRM calls of at most {TIMEOUT:g} s (the defaults are 120 and 20), {PACE:g} calls a second to
each of three connections.

## Time to recover, in seconds

Counted from the fault, or, where it cannot heal before, from its end (the CRM's cable, the new primary in step with a
standby, the old one stopped). Work of the host that was lost does not count.

{table(felt)}

## What was promised and what arrived

A call counts from the moment that the kernel of the CRMs' host had it. Until the end of the rolling upgrade workers of
the version before are among those that call. Where the CRM or a worker is cut off, a call waits in the network, and
comes beside those whose turn it is by then.

| | |
|---|---:|
{numbers}

## Invariants broken

{broken}
"""


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f}"
