"""PostgreSQL on hosts of their own: a primary, a synchronous standby, and a host in reserve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.hosts.network import Host
from tests.chaos.postgres import Cluster

OWNER = "pgserver"  # PostgreSQL refuses root
_SETTINGS = """
listen_addresses = '*'
wal_sender_timeout = 5s
wal_receiver_timeout = 5s
"""


class Server(Cluster):
    """A cluster that runs on a host. Its socket is the machine's own console: it answers whatever became of the net."""

    def __init__(self, base: Path, host: Host) -> None:
        super().__init__(base, host.name)
        self.host = host
        self.enter = tuple(host.command([], OWNER))

    def init(self) -> None:
        super().init()
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS)
        with (self.data / "pg_hba.conf").open("a") as access:
            access.write("host all all 10.77.0.0/24 trust\nhost replication all 10.77.0.0/24 trust\n")

    @property
    def where(self) -> str:
        return self.host.address

    def commits_that_wait(self) -> int:
        """How many transactions are durable here and wait for a standby before anybody hears of them."""
        return int(self.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"))


def url_of(servers: Sequence[Server]) -> str:
    """The address of whichever of these is the primary."""
    hosts = "&".join(f"host={server.host.address}:5432" for server in servers)
    return f"postgresql+psycopg://postgres@/frontdesk?{hosts}&target_session_attrs=read-write"
