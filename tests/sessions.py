"""HTTP sessions of visitors who come in many threads."""

from __future__ import annotations

import threading

import requests


class ThreadSessions:
    """A session for each thread, which keeps its connections and heeds no setting of this machine."""

    def __init__(self) -> None:
        self._local = threading.local()

    def mine(self) -> requests.Session:
        """This thread's own."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.trust_env = False
        session: requests.Session = self._local.session
        return session
