"""`python -m bench.scaling`: how Frontdesk would do with 10, 1,000 and 100,000 clinics: reckoned, not measured.

Fed with what one enquiry costs (bench/costs.json, measured), how enquiries come (assumed, below) and how long CRMs take
(assumed, below), it plays ten minutes of the busiest hour of the week, and prints the tables that stand in
docs/explanation/scaling.md. `--write` puts them there; a test holds that they are the same.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from bench.costs import Costs, load

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "scaling.md"
_PLACE = "<!-- {name}: python -m bench.scaling --write -->\n{table}<!-- end -->\n"

# Assumed. A clinic that advertises gets about a hundred leads a month; a tap on “Call us” is counted as one as well.
A_DAY = 10.0  # enquiries and call clicks per clinic, averaged over the week
WEEKDAYS = (1.5, 1.2, 1.1, 1.1, 1.0, 0.6, 0.5)  # Monday to Sunday, relative to the average day
HOURS = (1, 1, 0, 0, 0, 1, 2, 4, 8, 11, 11, 10, 8, 8, 8, 7, 6, 5, 4, 3, 3, 2, 2, 1)  # of a day, relative
CALLS = 3  # to the CRM for an enquiry that comes alone: the person, what he asked, and the look whether both are there
ANSWER, SPREAD = 0.3, 0.5  # seconds in which a CRM answers (median), and the sigma of the logarithm
SWEEP_DAYS, SWEEP_HOURS, LOOKED_AT = 30, 8.0, 50  # nights an enquiry is looked at again; records per call
QUOTA = 250_000  # HubSpot's calls a day for the smallest account: developers.hubspot.com, usage guidelines
DOLLARS_CORE, DOLLARS_GB = 20.0, 0.15  # a month: a virtual core with 4 GB, and a replicated gigabyte, at list prices
MINUTES = 10.0


@dataclass(frozen=True, slots=True)
class Step:
    """clinics, and what serves them: web processes, worker processes, lanes of each, cores of the database. cores: that
    are paid for, of all hosts. copies: of the database. sweep_days: FRONTDESK_SWEEP_DAYS."""

    clinics: int
    hosts: str
    cores: int
    webs: int
    workers: int
    lanes: int
    database: int
    copies: int
    sweep_days: int = SWEEP_DAYS


STEPS = (
    Step(10, "1", 2, 1, 1, 8, 2, 1),
    Step(1_000, "2, and 2 for the database", 8, 2, 2, 8, 2, 2),
    Step(100_000, "the same", 8, 2, 2, 8, 2, 2),
    Step(100_000, "2 web, 6 worker, 3 database", 64, 2, 6, 32, 16, 3, sweep_days=7),
)
_BUSY, _LONG = 0.7, 1.0  # the share of a processor, and the seconds of waiting, that are too much


@dataclass(frozen=True, slots=True)
class Figures:
    """What came out. peak: enquiries per second in the busiest hour. web, worker, database, night_worker,
    night_database: share of their cores that is at work, in that hour and at night. web_wait, lane_wait: seconds that
    one in a hundred waits for its turn. calls: to the CRM per clinic and day, the sweep included."""

    peak: float
    web: float
    web_wait: float
    worker: float
    lanes: float
    lane_wait: float
    database: float
    night_worker: float
    night_database: float
    calls: float
    bytes_a_year: float
    dollars: float

    @property
    def holds(self) -> bool:
        """Whether nothing is too busy and nobody waits long."""
        shares = (self.web, self.worker, self.lanes, self.database, self.night_worker, self.night_database)
        return max(shares) <= _BUSY and max(self.web_wait, self.lane_wait) <= _LONG


def busiest(clinics: int) -> float:
    """Enquiries per second from ten to eleven on a Monday."""
    monday = WEEKDAYS[0] * 7 / sum(WEEKDAYS)
    return clinics * A_DAY * monday * max(HOURS) / sum(HOURS) / 3600


def play(step: Step, costs: Costs, seed: int = 1) -> Figures:
    """Ten minutes of the busiest hour, and a night."""
    dice, peak, night = Random(seed), busiest(step.clinics), SWEEP_HOURS * 3600
    a_day = step.clinics * A_DAY
    swept = a_day * step.sweep_days / night  # looked at again, per second
    arrivals = list(_arrivals(dice, peak))
    worker = peak * costs.worker / step.workers + costs.idle_worker
    web_waits = _queue(arrivals, step.webs, lambda: _lognormal(dice, costs.web, 0.5))
    hold = costs.worker / max(1 - worker, 0.05)  # its own work, stretched by what the process does for other lanes
    lane_waits = _queue(
        arrivals,
        step.workers * step.lanes,
        lambda: hold + sum(ANSWER * math.exp(dice.gauss(0, SPREAD)) for _ in range(CALLS)),
    )
    return Figures(
        peak=peak,
        web=peak * costs.web / step.webs,
        web_wait=_high(web_waits),
        worker=worker,
        lanes=peak * (hold + _calling()) / (step.workers * step.lanes),
        lane_wait=_high(lane_waits),
        database=(peak * costs.database + step.workers * _looking(step, costs, peak)) / step.database,
        night_worker=swept * costs.sweep_worker / step.workers,
        night_database=swept * costs.sweep_database / step.database,
        calls=A_DAY * CALLS + math.ceil(A_DAY * step.sweep_days / LOOKED_AT),
        bytes_a_year=a_day * 365 * costs.bytes,
        dollars=_dollars(step, a_day * 365 * costs.bytes),
    )


def _arrivals(dice: Random, rate: float) -> Iterator[float]:
    """At random, at this rate."""
    now = dice.expovariate(rate)
    while now < MINUTES * 60:
        yield now
        now += dice.expovariate(rate)


def _queue(arrivals: Sequence[float], servers: int, service: Callable[[], float]) -> list[float]:
    """First come, first served. Returns how long each waited for its turn."""
    free, waits = [0.0] * servers, []
    for at in arrivals:
        start = max(at, free[0])
        waits.append(start - at)
        heapq.heapreplace(free, start + service())
    return waits


def _lognormal(dice: Random, mean: float, sigma: float) -> float:
    return mean * math.exp(dice.gauss(-(sigma**2) / 2, sigma))


def _high(waits: Sequence[float]) -> float:
    """The 99th percentile."""
    return sorted(waits)[int(len(waits) * 0.99)] if waits else 0.0


def _looking(step: Step, costs: Costs, peak: float) -> float:
    """The share of one core of the database that one worker uses to find what is due, each second and at each nudge."""
    slope = (costs.look_large - costs.look_small) / 99_000
    one = max(costs.look_small + slope * (step.clinics - 1_000), 0.0005)
    return min((1 + peak) * one, 1.0)


def _dollars(step: Step, size: float) -> float:
    """A month, with one year's data."""
    return step.cores * DOLLARS_CORE + size / 1e9 * step.copies * DOLLARS_GB


def table(steps: Sequence[Step], figures: Sequence[Figures]) -> str:
    """One column per step."""
    rows = [
        ("enquiries and call clicks a day", [f"{step.clinics * A_DAY:,.0f}" for step in steps]),
        ("per second in the busiest hour", [f"{one.peak:.2g}" for one in figures]),
        ("hosts", [step.hosts for step in steps]),
        (
            "web: processes; at work; one in 100 waits",
            [_web(step, one) for step, one in zip(steps, figures, strict=True)],
        ),
        ("workers × lanes; processors at work", [_work(step, one) for step, one in zip(steps, figures, strict=True)]),
        ("lanes taken; one in 100 waits", [f"{_share(one.lanes)}; {_time(one.lane_wait)}" for one in figures]),
        (
            "database: cores; at work",
            [f"{s.database}; {_share(one.database)}" for s, one in zip(steps, figures, strict=True)],
        ),
        ("nights of the sweep", [str(step.sweep_days) for step in steps]),
        (
            "at night: workers, database at work",
            [f"{_share(o.night_worker)}, {_share(o.night_database)}" for o in figures],
        ),
        ("calls to a clinic's CRM a day", [f"{one.calls:.0f}" for one in figures]),
        ("of the smallest HubSpot quota", [f"{one.calls / QUOTA:.2%}" for one in figures]),
        ("storage for a year's enquiries", [_size(one.bytes_a_year) for one in figures]),
        ("it holds", ["yes" if one.holds else "**no**" for one in figures]),
        ("dollars a month; per clinic", [_cost(step, one) for step, one in zip(steps, figures, strict=True)]),
    ]
    head = ["clinics", *(f"{step.clinics:,}" for step in steps)]
    lines = [head, ["---"] + ["---:"] * len(steps), *([name, *cells] for name, cells in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _web(step: Step, one: Figures) -> str:
    return f"{step.webs}; {_share(one.web)}; {_time(one.web_wait)}"


def _work(step: Step, one: Figures) -> str:
    return f"{step.workers} × {step.lanes}; {_share(one.worker)}"


def _cost(step: Step, one: Figures) -> str:
    return f"{one.dollars:,.0f}; {one.dollars / step.clinics:.2f}"


def _share(share: float) -> str:
    """Of what is there; more than all of it cannot be had."""
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.0f} s and more"


def _size(size: float) -> str:
    return f"{size / 1e9:,.2g} GB" if size < 1e12 else f"{size / 1e12:.1f} TB"


def prices(costs: Costs) -> str:
    """What was measured, and how far one host or one pair of workers would go with it."""
    one, hold = costs.web + costs.worker + costs.database, costs.worker + _calling()
    night = _BUSY * 2 * SWEEP_HOURS * 3600 / (A_DAY * SWEEP_DAYS * costs.sweep_worker)
    rows = [
        ("web: decode, validate, join, encrypt, commit", f"{costs.web * 1000:.1f} ms"),
        ("worker: lease, claim, push, read back, write down", f"{costs.worker * 1000:.1f} ms"),
        (f"PostgreSQL, in {costs.transactions:.0f} transactions", f"{costs.database * 1000:.1f} ms"),
        ("each night, to look whether the CRM still holds it: worker", f"{costs.sweep_worker * 1000:.1f} ms"),
        ("the same: PostgreSQL", f"{costs.sweep_database * 1000:.1f} ms"),
        ("to look what is due among 1,000 connections, each time", f"{costs.look_small * 1000:.1f} ms"),
        ("among 100,000", f"{costs.look_large * 1000:.0f} ms"),
        ("room in the database, indexes included", f"{costs.bytes / 1000:.1f} kB"),
        ("reckoned: one host of two cores, busy to 70 %, carries", f"{2 * _BUSY / one:.0f} a second"),
        ("reckoned: 16 lanes carry", f"{16 / hold:.0f} a second"),
        ("reckoned: two workers look again at night for", f"{round(night, -3):,.0f} clinics"),
    ]
    return "".join(f"| {name} | {value} |\n" for name, value in [("one enquiry", ""), ("---", "---:"), *rows])


def _calling() -> float:
    """How long an enquiry waits for its CRM, on average."""
    return CALLS * ANSWER * math.exp(SPREAD**2 / 2)


def tables() -> dict[str, str]:
    """Name → table, from the costs that were measured last."""
    costs = load()
    return {"costs": prices(costs), "sizes": table(STEPS, [play(step, costs) for step in STEPS])}


def filled(page: str) -> str:
    """The page with these tables in their places."""
    for name, text in tables().items():
        begin, end = _PLACE.format(name=name, table="\0").split("\0")
        before, rest = page.split(begin)
        page = before + begin + text + end + rest.split(end, 1)[1]
    return page


def main() -> None:
    """Print them; with --write put them into the page."""
    print("\n".join(tables().values()))
    if "--write" in sys.argv:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
