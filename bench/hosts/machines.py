"""Frontdesk installed on several hosts: the same key file and the same database address, nothing else shared."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import requests

from bench.hosts.network import Host

ROOT = Path(__file__).parent.parent.parent
PORT, CRM_PORTS, CRM_KEY = 8000, (9001, 9002, 9003), "sandbox-key"
SITES = ("north", "south", "west")
PACE = 10.0  # calls per second to each connection, all workers together
LEASE, TIMEOUT = 10.0, 3.0  # seconds; shorter than the defaults (120, 20), so that the run is
_START = 30.0  # seconds a program may take to start, on a machine that has much to do
_STOP = 20.0
_PYTHON = (sys.executable, "-m")


class Fleet:
    """The programs on the hosts. database_url: the same for all. version: the folder of the code that starts next."""

    def __init__(self, hosts: Mapping[str, Host], folder: Path, database_url: str, version: Path) -> None:
        self.hosts, self.folder, self.version = hosts, folder, version
        self.webs = [host for name, host in hosts.items() if name.startswith("web")]
        self.workers = [host for name, host in hosts.items() if name.startswith("worker")]
        self._database_url = database_url
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def install(self) -> None:
        """Make the database, the sites and their connections on the first host, and give every host its key file."""
        first = self.webs[0]
        self.run(first, "db", "upgrade")
        for site, port in zip(SITES, CRM_PORTS, strict=True):
            self.run(first, "site", "add", site, "--name", site.title(), "--region", "US", "--time-zone", "UTC")
            options = ("--set", f"url=http://{self.hosts['crm'].address}:{port}", "--file", "key=-")
            self.run(first, "connection", "add", "sandbox", "--site", site, *options, typed=CRM_KEY)
        for host in self.hosts.values():
            if host is not first:
                shutil.copy(self._home(first) / "keys.json", self._home(host) / "keys.json")

    def run(self, host: Host, *command: str, typed: str = "") -> str:
        """One `frontdesk` command on a host, to its end."""
        whole = host.command([*_PYTHON, "leads", *command])
        environ = self._environ(host)
        done = subprocess.run(
            whole, env=environ, cwd=self.version, input=typed, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"frontdesk {' '.join(command)}: {done.stdout} {done.stderr[-500:]}")
        return done.stdout

    def start_crm(self) -> None:
        host = self.hosts["crm"]
        command = [*_PYTHON, "bench.hosts.crm", CRM_KEY, *map(str, CRM_PORTS)]
        self._running[host.name] = host.start(command, dict(os.environ), ROOT, self._log(host))
        urls = [f"http://{host.address}:{port}/healthz" for port in CRM_PORTS]
        _until(lambda: all(map(_answers, urls)), "the CRM answers")

    def start(self, host: Host, program: str = "") -> None:
        """Start what belongs on this host, and wait until it is at work. program: web or worker, whatever its name."""
        program = program or host.name.rstrip("0123456789")
        log, before = self._log(host), self._said_started(host)
        command = [*_PYTHON, "leads", program]
        self._running[host.name] = host.start(command, self._environ(host), self.version, log)
        if program == "worker":
            _until(lambda: self._said_started(host) > before, f"{host.name} starts")
            return
        with host.inside():
            _until(lambda: _answers(f"{self.url(host)}/healthz"), f"{host.name} answers")

    def stop(self, host: Host) -> None:
        """SIGTERM, and wait until it has finished what it holds."""
        process = self._running.pop(host.name)
        process.send_signal(signal.SIGTERM)
        process.wait(_STOP)

    def lose_power(self, host: Host) -> None:
        """SIGKILL for all that runs on this host."""
        host.lose_power()
        self._running.pop(host.name).wait()

    def url(self, host: Host) -> str:
        return f"http://{host.address}:{PORT}"

    def host_of(self, worker: str) -> Host | None:
        """Where the worker of this name runs: its process id stands in it."""
        pids = {str(process.pid): name for name, process in self._running.items()}
        return next((self.hosts[pids[part]] for part in worker.split("-") if part in pids), None)

    def ended(self) -> list[str]:
        """Hosts whose program ended by itself."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def _said_started(self, host: Host) -> int:
        log = self._log(host)
        return log.read_text(errors="replace").count("worker started") if log.exists() else 0

    def _log(self, host: Host) -> Path:
        return self.folder / f"{host.name}.log"

    def _home(self, host: Host) -> Path:
        home = self.folder / host.name
        home.mkdir(exist_ok=True)
        return home

    def _environ(self, host: Host) -> dict[str, str]:
        settings = {
            "HOST": "0.0.0.0",  # noqa: S104 - of a namespace
            "PORT": str(PORT),
            "DATA_DIR": str(self._home(host)),
            "DATABASE_URL": self._database_url,
            "ALLOWED_PRIVATE_HOSTS": self.hosts["crm"].address,
            "RATE_LIMIT_EXEMPT": "10.77.0.0/24",  # every visitor of this run comes from one address
            "FORM_MIN_SECONDS": "0",
            "MIN_FREE_MB": "0",
            "CRM_TIMEOUT": str(TIMEOUT),
            "LEASE_SECONDS": str(LEASE),
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FRONTDESK_")}
        return clean | {f"FRONTDESK_{name}": value for name, value in settings.items()} | {"HOSTNAME": host.name}


def previous_version(folder: Path) -> Path | None:
    """The code as it was before the newest migration, from git; None where this is no checkout."""
    git = ["git", "-C", str(ROOT)]
    newest = [*git, "log", "-1", "--format=%H", "--diff-filter=A", "--", "leads/store/migrations/versions"]
    found = subprocess.run(newest, capture_output=True, text=True, check=False)
    if found.returncode or not found.stdout:
        return None
    folder.mkdir()
    archive = subprocess.run([*git, "archive", f"{found.stdout.strip()}^"], capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def _answers(url: str) -> bool:
    try:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def _until(what: Callable[[], bool], name: str) -> None:
    until = time.monotonic() + _START
    while not what():
        if time.monotonic() > until:
            raise RuntimeError(f"not within {_START:g} s: {name}")
        time.sleep(0.1)
