"""Who may sign in to the desk, and what they did there."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from leads.store.models import ACTION_KINDS, ROLES, Action, Site, User, new_id
from leads.store.passwords import holds, is_easy
from leads.store.session import NO_DATABASE, Database
from leads.store.vault import Vault

log = structlog.get_logger()

SHORTEST_PASSWORD = 12  # characters (NIST SP 800-63B asks for length, not for special signs)
_LONGEST_PASSWORD = 200
VIEWED_ANEW = timedelta(hours=1)
LEFT_OPEN = timedelta(days=1)  # for so long a page that refreshes itself counts as the look with which it was opened
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_hasher = PasswordHasher()
_NOBODY = _hasher.hash(secrets.token_hex(16))


class StaffError(ValueError):
    """A user or password cannot be like this. The text says why."""


def add_user(
    session: Session, name: str, role: str, now: datetime, sites: Collection[Site] | None = None
) -> tuple[User, str]:
    """Store a new user. Returns them with the one-time password, which is shown once and never again.

    sites: as for `change_sites`. Raises StaffError when the name, role or websites cannot be.
    """
    name = name.strip().lower()
    if not re.fullmatch(r"[a-z0-9][a-z0-9.@_+-]{1,99}", name):
        raise StaffError("A user's name may have letters, digits and . @ _ + -, 2 to 100 of them.")
    _require_role(role)
    if find_user(session, name) is not None:
        raise StaffError(f"There is already a user called {name}.")
    user = User(id=new_id(), name=name, role=role, created_at=now)
    change_sites(user, sites)
    session.add(user)
    return user, reset_password(user)


def find_user(session: Session, name: str) -> User | None:
    """The user of this name."""
    return session.scalar(select(User).where(User.name == name.strip().lower()))


def _require_role(role: str) -> None:
    if role not in ROLES:
        raise StaffError(f"The role must be {' or '.join(ROLES)}.")


def remove_user(session: Session, user: User) -> None:
    """Let a user sign in no more. Raises StaffError for the last admin."""
    _require_another_admin(session, user)
    session.delete(user)


def change_role(session: Session, user: User, role: str) -> str:
    """Give a user another role, from their next click on. Returns what was done, to be written down; empty: they had
    it. Raises StaffError for the last admin, and for what is no role. Which websites were chosen for them stays known:
    they count again once they are staff again."""
    _require_role(role)
    if role != "admin":
        _require_another_admin(session, user)
    if user.role == role:
        return ""
    user.role = role
    return f"{user.name} the role {role}"


def change_sites(user: User, sites: Collection[Site] | None) -> str:
    """Let a user look after these websites alone, from their next click on. None: after all, also those to come.

    Returns what was done, to be written down; empty: it was so. Raises StaffError for an admin, and for no website.
    """
    if sites is not None and user.role == "admin":
        raise StaffError("An admin looks after all websites. Give the role staff to whoever shall see only some.")
    if sites is not None and not sites:
        raise StaffError("Choose at least one website, or all of them.")
    wanted = None if sites is None else sorted(str(site.id) for site in sites)
    if user.only_sites == wanted:
        return ""
    user.only_sites = wanted
    return f"{user.name} look after {', '.join(sorted(site.name for site in sites)) if sites else 'all websites'}"


def _require_another_admin(session: Session, user: User) -> None:
    # Two admins who remove each other, or each other's role, at the same moment have to queue.
    admins = session.scalars(select(User.id).where(User.role == "admin").order_by(User.id).with_for_update()).all()
    name = user.name
    if session.get(User, user.id, populate_existing=True, with_for_update=True) is None:
        raise StaffError(f"{name} was removed meanwhile.")
    if user.role == "admin" and not set(admins) - {user.id}:
        raise StaffError(
            f"{name} is the last admin, so nobody could add users or connections any more. Nothing was done."
        )


def reset_password(user: User) -> str:
    """Give a user a one-time password, which is returned, and end all their sessions."""
    password = "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(4))
    user.password_hash, user.one_time, user.session = _hasher.hash(password), True, new_id()
    return password


def change_password(user: User, password: str) -> None:
    """Set the user's own password and end all their sessions. Raises StaffError when it is too weak.

    Blanks around it do not count, as in `is_password`: they come with what is pasted.
    """
    password = password.strip()
    if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
        raise StaffError(f"A password needs {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters.")
    if holds(password, user.name):
        named = f"Your name, “{user.name}”, stands in this password, and others would try it first."
        raise StaffError(f"{named} Leave it out.")
    if is_easy(password):
        raise StaffError("This password is too easy to guess. Take a few words that do not belong together.")
    user.password_hash, user.one_time, user.session = _hasher.hash(password), False, new_id()


def is_password(user: User | None, typed: str) -> bool:
    """Whether this is the user's password, blanks around it aside. Takes as long for a user that does not exist."""
    password_hash = user.password_hash if user else _NOBODY
    # As it was typed too: in a password that was set before they were left out, blanks count.
    matches = [_matches(password_hash, password) for password in dict.fromkeys((typed.strip(), typed))]
    return any(matches) and user is not None


def _matches(password_hash: str, password: str) -> bool:
    try:
        _hasher.verify(password_hash, password[: _LONGEST_PASSWORD + 1])
    except (VerificationError, InvalidHashError):
        return False
    return True


def note_sign_in(session: Session, user: User, now: datetime) -> None:
    """Write down that a user has signed in."""
    user.signed_in_at = now
    record(session, user.name, "signed_in", now)


def record(
    session: Session,
    user_name: str,
    what: str,
    now: datetime,
    *,
    delivery_id: UUID | None = None,
    connection_id: UUID | None = None,
    lead_id: UUID | None = None,
    vault: Vault | None = None,
    note: str | None = None,
) -> None:
    """Write down who did what, one of ACTION_KINDS. note: free text, kept encrypted; it needs the vault."""
    if what not in ACTION_KINDS:
        raise ValueError(f"no such kind of action: {what}")
    action = Action(
        id=new_id(),
        at=now,
        user_name=user_name,
        what=what,
        delivery_id=delivery_id,
        connection_id=connection_id,
        lead_id=lead_id,
    )
    if vault and note:
        action.note_sealed = vault.seal(note, "action", "note", action.id)
    session.add(action)


def note_of(vault: Vault, action: Action) -> str | None:
    """The note of what was done, decrypted; None when there is none."""
    return vault.open(action.note_sealed, "action", "note", action.id) if action.note_sealed else None


def note_view(
    database: Database,
    user_name: str,
    lead_id: UUID | None,
    now: datetime,
    once_in: timedelta = VIEWED_ANEW,
    what: str = "viewed",
) -> None:
    """Write down that somebody looks at a lead, or (`what`, None) at a list with details, once in so long.

    When it cannot be written, the page is shown all the same: a full disk must not keep staff from an enquiry.
    """
    lately = (Action.what == what, Action.at > now - once_in, *([Action.lead_id == lead_id] if lead_id else []))
    mine = exists().where(*lately, Action.user_name == user_name)
    try:
        with database.glance() as connection:
            if connection.scalar(select(mine)):
                return
        with database.write() as session:
            record(session, user_name, what, now, lead_id=lead_id)
    except NO_DATABASE as error:
        log.warning("who looked at a lead could not be written down", error=type(error).__name__)
