"""A web server and visitors on the wrong side of a cut network, together with the old primary.

What stops it from thanking them for enquiries that will be gone? Not a fence around it: a commit that no standby has
confirmed is not acknowledged, and no standby can be reached from there.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import requests

from bench.hosts.database import Server
from bench.hosts.machines import SITES, Fleet

_PATIENCE = 4.5  # seconds that they wait for an answer
_VISITORS = 3


class Island:
    """thanked: when somebody there was thanked, which must not be. waiting: commits that were durable on the old
    primary and acknowledged to nobody, as it said itself; without any, the run proves nothing."""

    def __init__(self, fleet: Fleet, primary: Server) -> None:
        self._fleet, self._primary = fleet, primary
        self.thanked: list[str] = []
        self.posts = self.waiting = 0

    def settle(self) -> None:
        """A web server on the primary's own host, so that the cut leaves both on one side."""
        self._fleet.start(self._primary.host, "web")

    def visit(self, when: str) -> None:
        """The same visitors each time: they send again, with the same ids, until they are thanked."""
        with ThreadPoolExecutor(_VISITORS, initializer=self._primary.host.enter) as visitors:
            self.thanked += [when for thanked in visitors.map(self._post, range(_VISITORS)) if thanked]
        self.posts += _VISITORS
        self.waiting = max(self.waiting, self._primary.commits_that_wait())

    def _post(self, number: int) -> bool:
        person = {"first_name": "Islander", "email": f"island{number}@example.com", "consent": True}
        body = person | {"site": SITES[0], "id": f"island-{number}"}
        url = f"{self._fleet.url(self._primary.host)}/api/v1/consultations"
        try:
            with requests.Session() as session:
                session.trust_env = False
                return session.post(url, json=body, timeout=_PATIENCE).status_code == 201
        except requests.RequestException:
            return False

    def leave(self) -> None:
        self._fleet.stop(self._primary.host)
