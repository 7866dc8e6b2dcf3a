"""Log lines hold nobody up: not a reader who stands still, not a full disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import structlog, time
from leads.upkeep import logs
logs.configure("info")
log = structlog.get_logger()
for number in range({lines}):
    log.info("something happened", number=number, filler="x" * 200)
print("done", flush=True)
{then}
"""


def program(lines: int, then: str = "") -> list[str]:
    return [sys.executable, "-c", PROGRAM.format(lines=lines, then=then)]


def test_a_reader_who_stands_still_blocks_nobody() -> None:
    reading, writing = os.pipe()  # nobody reads, and it holds 64 KiB; the lines are ten times as much
    try:
        done = subprocess.run(program(3000), stdout=subprocess.PIPE, stderr=writing, timeout=120, check=False)
        assert (done.stdout, done.returncode) == (b"done\n", 0)
    finally:
        os.close(reading)
        os.close(writing)


def test_a_full_disk_under_the_log_hurts_nobody() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(program(10), stdout=subprocess.PIPE, stderr=full, timeout=120, check=False)
    assert (done.stdout, done.returncode) == (b"done\n", 0)


def test_a_reader_who_reads_gets_every_line_also_the_last() -> None:
    # Twice what the pipe holds, and no more: at the program's end there is one second to write what still waits.
    done = subprocess.run(program(400), capture_output=True, timeout=120, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["number"] for line in lines] == list(range(400))
    assert lines[-1]["event"] == "something happened"


def test_lines_that_are_lost_are_told() -> None:
    reading, writing = os.pipe()
    staying = program(12_000, then="input()")  # the end would not wait long for a reader who comes late
    process = subprocess.Popen(staying, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writing)
    os.close(writing)
    try:
        assert process.stdout
        assert process.stdout.readline() == b"done\n"  # by now more were logged than may wait
        with os.fdopen(reading, "rb") as reader:
            assert any(b'"event": "log lines lost"' in line for line in reader)
    finally:
        process.communicate(b"\n", timeout=60)


CALL_WITH_A_BROKEN_HEADER = """
import socket, threading
from integrations.core.http import Http
from leads.upkeep import logs
logs.configure("debug")
server = socket.create_server(("127.0.0.1", 0))
def answer():
    peer, _ = server.accept()
    peer.recv(65536)
    peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nAnn Canary\\r\\n\\r\\n{}")
    peer.close()
threading.Thread(target=answer).start()
host = f"127.0.0.1:{server.getsockname()[1]}"
print(Http(allowed_private_hosts=frozenset([host])).request("GET", f"http://{host}/secret-hook-token").status)
"""


def test_an_answer_with_a_broken_header_stands_in_no_log() -> None:
    command = [sys.executable, "-c", CALL_WITH_A_BROKEN_HEADER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "200\n"
    assert "secret-hook-token" not in done.stderr
    assert "Canary" not in done.stderr
