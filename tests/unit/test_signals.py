"""A worker hears that it is to stop, whatever its main thread does at that moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from leads.sync.worker import set_by_signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_midst_of_waiting_for_it_is_heard(number: signal.Signals) -> None:
    stop = set_by_signals()
    with stop._cond:  # as inside `stop.wait()`, where the worker spends most of its time
        os.kill(os.getpid(), number)
    assert stop.wait(30)
