"""Calls to a connector that may fail in any way: one result per item comes back, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from integrations.core.base import Connector, Item, Pushed, Result, Seen, record_id
from integrations.core.errors import DeliveryError, Misconfigured, Throttled, TryLater, Unknown

log = structlog.get_logger()
Answer = TypeVar("Answer")
Failure = TypeVar("Failure", bound=Exception)
_OF_THE_CRM = (TryLater, Throttled, Misconfigured, Unknown)  # no record's own fault: the next would fare alike
_NO_ID = Unknown("no_id", "The CRM said yes, but not which record it made.")


def for_each(built: Sequence[Item | Failure], ask: Callable[[list[Item]], list[Answer]]) -> list[Answer | Failure]:
    """What `ask` answers for each item; one that could not even be built keeps its own error."""
    whole = [item for item in built if isinstance(item, Item)]
    answers = iter(ask(whole) if whole else [])
    return [next(answers) if isinstance(item, Item) else item for item in built]


def push(connector: Connector, items: Sequence[Item], doubtful: Collection[str]) -> list[Result | Exception]:
    """Write items to the CRM. doubtful: ids of events that may be there already: looked up first."""
    found: dict[str, Result | Exception] = {}
    if connector.readable and (unsure := [item for item in items if item.event_id in doubtful]):
        answers = zip(unsure, look_up(connector, unsure), strict=True)
        found = {item.event_id: answer for item, answer in answers if answer and not is_partial(answer)}
    rest = [item for item in items if item.event_id not in found]
    quiet = _quiet(found.values())
    pushed = [quiet] * len(rest) if quiet else _write(connector, rest, doubtful)
    found |= dict(zip((item.event_id for item in rest), pushed, strict=True))
    return [found[item.event_id] for item in items]


def _write(connector: Connector, items: Sequence[Item], doubtful: Collection[str]) -> list[Result | Exception]:
    """Push, once it is known which fields the CRM's own records leave empty: the rest is the clinic's."""
    there = [item for item in items if item.fill and (item.remote_id or item.event_id in doubtful)]
    found = dict(zip((item.event_id for item in there), current(connector, there), strict=True))
    ready = [_settled(item, found.get(item.event_id)) for item in items]
    if quiet := _quiet(found.values()):
        return [quiet] * len(items)
    if connector.tier == "A":
        return for_each(ready, lambda some: _ask(connector.push, some))
    return for_each(ready, lambda some: _push_once(connector, some, doubtful))


def _push_once(connector: Connector, items: Sequence[Item], doubtful: Collection[str]) -> list[Result | Exception]:
    """Where what is written again may come to stand twice. Those of an earlier try that broke off go one by one, so
    that whichever breaks the connector takes the others along no more than once."""
    fresh = [item for item in items if item.event_id not in doubtful]
    pushes = [fresh, *([item] for item in items if item.event_id in doubtful)]
    answers: dict[str, Result | Exception] = {}
    for some in pushes:
        ailing = next((answer for answer in answers.values() if isinstance(answer, _OF_THE_CRM)), None)
        said = [ailing] * len(some) if ailing else _ask(connector.push, some, splits_bugs=False)
        answers |= dict(zip((item.event_id for item in some), said, strict=True))
    return [answers[item.event_id] for item in items]


def _settled(item: Item, held: Mapping[str, str] | Exception | None) -> Item | Exception:
    """The item with only those of its optional fields that are empty in the CRM."""
    if isinstance(held, Exception):
        return held
    if not held:
        return item.in_full()
    stopgaps = item.stopgaps()
    empty = {name: value for name, value in item.fill.items() if held.get(name, "") in ("", *stopgaps.get(name, ()))}
    return replace(item, record={**empty, **item.record}, fill={})


def is_partial(answer: Seen | Exception | None) -> bool:
    """Whether the CRM kept only some of what was written."""
    return isinstance(answer, Seen) and not answer.whole


def look_up(connector: Connector, items: Sequence[Item]) -> list[Seen | Exception | None]:
    """Read items back. None: the CRM does not hold it. An error: it cannot be told."""
    return _ask(connector.find, [item.in_full() for item in items])


def current(connector: Connector, items: Sequence[Item]) -> list[Mapping[str, str] | Exception | None]:
    """What the records of these people hold now, as `Connector.current` tells."""
    return _ask(connector.current, items)


def worked_on(connector: Connector, items: Sequence[Item]) -> list[bool | Exception]:
    """Whether staff made more of these records, as `Connector.worked_on` tells."""
    return _ask(connector.worked_on, items)


def _ask(
    call: Callable[[Sequence[Item]], Sequence[Any]], items: Sequence[Item], *, splits_bugs: bool = True
) -> list[Any]:
    """One answer per item. What is wrong with the batch as a whole, is split until the guilty record stands alone.
    splits_bugs: also where some of it may have been done already, which a refusal of the whole rules out."""
    if not items:
        return []
    try:
        answers = [_sound(answer) for answer in call(items)]
        if len(answers) != len(items):
            raise ValueError("a connector must answer once per item")
    except _OF_THE_CRM as error:
        return [error] * len(items)
    except Exception as error:  # noqa: BLE001 - neither a refusal nor a bug of ours may take the others with it
        if len(items) > 1 and (splits_bugs or isinstance(error, DeliveryError)):
            middle = len(items) // 2
            first, rest = _ask(call, items[:middle], splits_bugs=splits_bugs), items[middle:]
            quiet = _quiet(first)
            return first + ([quiet] * len(rest) if quiet else _ask(call, rest, splits_bugs=splits_bugs))
        if not isinstance(error, DeliveryError):
            log_bug(error)
        return [error] * len(items)
    return answers


def _quiet(answers: Iterable[Any]) -> Throttled | None:
    """What the CRM said if it wants no further call for now: the rest of a batch heeds it as well."""
    return next((answer for answer in answers if isinstance(answer, Throttled)), None)


def _sound(answer: Any) -> Any:
    """A yes without the id of a record is no success: nothing could be found again by it. A bad address is left out."""
    if not isinstance(answer, Pushed):
        return answer
    if record_id(answer.remote_id) is None:
        return _NO_ID
    return answer if answer.url is None or answer.url.isprintable() else replace(answer, url=None)


def log_bug(error: Exception) -> None:
    """Type and place only: the message of an exception may quote a patient."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "unknown"
    log.error("bug", type=type(error).__name__, place=place)
