"""The samples of the documentation, run as they stand against a demo that was started as the tutorial says."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.webhook import sign
from tests.programs import ROOT, free_port, wait_for

PAGES = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_CONSOLE = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def _commands(page: Path) -> list[tuple[str, str]]:
    """(command, what it should print) of a page's console blocks; `...` stands for anything."""
    found: list[tuple[str, str]] = []
    for block in _CONSOLE.findall((ROOT / page).read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], ""))
            elif found:
                found[-1] = (found[-1][0], found[-1][1] + line + "\n")
    return found


WITH_SAMPLES = [page for page in PAGES if _commands(page)]


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A running demo, and the environment in which its commands find it."""
    folder = tmp_path_factory.mktemp("docs")
    settings = {
        "FRONTDESK_PORT": str(free_port()),
        "FRONTDESK_SANDBOX_PORT": str(free_port()),
        "FRONTDESK_DATA_DIR": str(folder / "data"),
    }
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FRONTDESK_")} | settings
    printed = folder / "printed.log"
    with printed.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "leads", "serve", "--demo"], cwd=ROOT, env=environ, stdout=log, stderr=log
        )
    try:
        wait_for(lambda: "Frontdesk is up" in printed.read_text(), 60)
        yield environ
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


@pytest.mark.parametrize("page", WITH_SAMPLES, ids=str)
def test_samples_do_what_the_page_says(page: Path, environ: dict[str, str]) -> None:
    here = f"127.0.0.1:{environ['FRONTDESK_PORT']}"
    frontdesk = f'frontdesk() {{ {shlex.quote(sys.executable)} -m leads "$@"; }}; '
    for command, expected in _commands(page):
        script = frontdesk + command.replace("127.0.0.1:8000", here)
        done = subprocess.run(
            ["bash", "-c", script], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        wanted = ".*".join(map(re.escape, expected.strip().replace("127.0.0.1:8000", here).split("...")))
        assert re.fullmatch(wanted, done.stdout.strip(), re.DOTALL), f"{command} printed {done.stdout}"


def test_there_are_samples_in_the_tutorial() -> None:
    assert len(_commands(Path("docs/tutorial.md"))) > 5


def test_commands_on_a_server_have_the_settings_of_the_service(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "install.md").read_text(encoding="utf-8")
    script = page.partition("```sh\n")[2].partition("```")[0]
    example = (ROOT / "config" / "env.example").read_text(encoding="utf-8")
    file = tmp_path / "frontdesk.env"
    file.write_text(f'{example}# The clinic\'s own:\nFRONTDESK_ALLOWED_PRIVATE_HOSTS="one.lan, two.lan"\n')
    as_user = "/usr/sbin/runuser -u frontdesk -- /usr/local/bin/frontdesk"
    assert as_user in script
    here = script.replace("/etc/frontdesk.env", str(file)).replace(as_user, f"{shlex.quote(sys.executable)} -m leads")
    done = subprocess.run(
        ["sh", "-c", here, "frontdesk-as", "config", "show"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "FRONTDESK_ALLOWED_PRIVATE_HOSTS=one.lan,two.lan\n" in done.stdout, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall((ROOT / page).read_text(encoding="utf-8")):
        assert ((ROOT / page).parent / target).exists(), target


def test_the_reference_is_what_the_code_says() -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]
    stale = [str(path) for path, text in pages().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run: make reference"


def test_the_receiver_in_the_webhook_page_works() -> None:
    page = (ROOT / "docs" / "crm" / "webhook.md").read_text(encoding="utf-8")
    sample = page.partition("```python\n")[2].partition("```")[0]
    room: dict[str, object] = {}
    exec(compile(sample, "webhook.md", "exec"), room)  # noqa: S102 - our own page
    receive = room["receive"]
    secret, body = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", b'{"data": {"lead": {}}}'
    now = int(time.time())
    headers = {
        "webhook-id": "one",
        "webhook-timestamp": str(now),
        "webhook-signature": sign(secret, "one", now, body),
    }
    assert callable(receive)
    assert receive(secret, headers, body) == {"lead": {}}
    assert receive(secret, headers, body) is None, "a repeat counts once"
