"""What all routes of the desk share."""

from __future__ import annotations

from dataclasses import dataclass

from flask_login import current_user

from leads.store.session import Database
from leads.store.vault import Vault
from leads.sync.connect import Limits
from leads.sync.setup import Setup


@dataclass(frozen=True, slots=True)
class Room:
    """limits: what a call to a CRM may cost when somebody tests a connection."""

    database: Database
    vault: Vault
    limits: Limits

    def setup(self) -> Setup:
        """Changes to connections, in the name of the person who is signed in."""
        return Setup(self.database, self.vault, self.limits, by=current_user.name)
