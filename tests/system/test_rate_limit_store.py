"""A limit that several web hosts count together in a real Redis, and what happens when that is gone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from structlog.testing import capture_logs

from leads.intake import limit
from leads.intake.limit import Limiter
from leads.intake.spam import SpamCheck
from tests.needs import REDIS
from tests.programs import wait_for

VISITOR = "203.0.113.9"


class Server:
    """A Redis of our own, reached by a socket in a folder."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "redis.sock"
        self.url = f"redis+unix://{self._socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = REDIS.find()
        assert program, "run: python -m tests.needs"
        options = ["--port", "0", "--unixsocket", str(self._socket), "--save", "", "--dir", str(self._socket.parent)]
        self._process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        wait_for(lambda: limit.examine(self.url)[0])

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def content(self) -> bytes:
        """All that it holds, as it would lie on a disk."""
        with redis.Redis(unix_socket_path=str(self._socket)) as client:
            keys = client.keys()
            assert isinstance(keys, list)
            return b" ".join(keys + [client.dump(key) or b"" for key in keys])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(limit, "_PATIENCE", 30.0)  # on a busy machine an answer may take longer than in earnest
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


def web_host(server: Server) -> SpamCheck:
    return SpamCheck(b"k" * 32, 1, Limiter(3, server.url), frozenset())


def test_two_web_hosts_count_together_and_the_store_holds_no_address(server: Server) -> None:
    one, other = web_host(server), web_host(server)
    assert [host.too_many("demo", VISITOR) for host in (one, other, one, other)] == [False, False, False, True]
    assert not other.too_many("demo", "203.0.113.10")
    content = server.content()
    assert content.count(b"frontdesk:") == 2
    assert not any(part in content for part in (b"203.0", b"demo"))


def test_without_the_store_each_counts_for_itself_and_says_so_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit, "_PAUSE", 0.0)
    one, other = web_host(server), web_host(server)
    assert not one.too_many("demo", VISITOR)
    server.stop()
    with capture_logs() as lines:
        assert [one.too_many("demo", VISITOR) for _ in range(4)] == [False, False, False, True]
        assert not other.too_many("demo", VISITOR)
    assert [line["log_level"] for line in lines] == ["warning", "warning"], "one line for each host"
    assert limit.examine(server.url) == (
        False,
        "The store of rate limits does not answer: each web process counts for itself.",
    )
    server.start()
    with capture_logs() as lines:
        assert [host.too_many("demo", VISITOR) for host in (one, other, one, other)] == [False, False, False, True]
    assert [line["event"] for line in lines] == ["the store of rate limits is back"] * 2


def test_a_store_that_is_down_is_not_asked_each_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit, "_PAUSE", 600.0)
    host = web_host(server)
    server.stop()
    host.too_many("demo", VISITOR)
    server.start()
    host.too_many("demo", VISITOR)
    assert not server.content(), "it is left alone for a while"
    monkeypatch.setattr(limit.time, "monotonic", lambda: float("inf"))
    host.too_many("demo", VISITOR)
    assert server.content()


def test_a_missing_package_is_told_and_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_redis(*_: object, **__: object) -> None:
        raise limit.ConfigurationError("the package is not here")

    monkeypatch.setattr(limit, "RedisStorage", without_redis)
    with capture_logs() as lines:
        limiter = Limiter(1, "redis://127.0.0.1:1")
    assert "frontdesk[redis]" in lines[0]["event"]
    assert [limiter.hit("somebody") for _ in range(2)] == [True, False]
    assert limit.examine("redis://127.0.0.1:1")[1] == lines[0]["event"]
