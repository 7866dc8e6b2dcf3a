"""The second factor: codes of an app on the phone (TOTP, RFC 6238) and recovery codes for when it is not at hand.

An app needs to be told only the secret: six digits, thirty seconds and SHA-1 are what all of them take for granted.
"""

from __future__ import annotations

import hmac
import re
import secrets
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import pyotp
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from leads.store.models import RecoveryCode, User, new_id
from leads.store.vault import Vault

RECOVERY_CODES = 10
_STEP = 30  # seconds that a code is shown
_RECOVERY_DIGITS = 12  # digits alone, as the app's, so that one field with a telephone's keys takes both
_DRIFT = 1  # steps that a phone's clock may be ahead or behind (RFC 6238, section 5.2)


class Passed(NamedTuple):
    """The second factor was right. codes_left: recovery codes, where one of them was used."""

    codes_left: int | None


def new_secret() -> str:
    """What the app and we shall share: 160 bits in base 32, as apps want it (RFC 4226 recommends so many)."""
    return pyotp.random_base32()


def digits_of(typed: str) -> str:
    """A code as it is meant: apps show it with a space in the middle, and so do people write."""
    return re.sub(r"[\s-]", "", typed)


def matching_step(secret: str, typed: str, now: datetime) -> int | None:
    """The time step that this code is of, the present one or a neighbour. None: the code is wrong."""
    app, present = pyotp.TOTP(secret), int(now.timestamp()) // _STEP
    code = digits_of(typed).encode("utf-8", "surrogatepass")
    steps = range(present - _DRIFT, present + _DRIFT + 1)
    right = [step for step in steps if hmac.compare_digest(app.generate_otp(step).encode(), code)]
    return right[-1] if right else None


def secret_of(vault: Vault, user_id: UUID, sealed: bytes) -> str:
    """The secret, opened. Raises VaultError when its key is gone."""
    return str(vault.open(sealed, "user", "totp", user_id))


def sealed_for(vault: Vault, user_id: UUID, secret: str) -> bytes:
    """The secret as it may be kept, good for this user alone."""
    return vault.seal(secret, "user", "totp", user_id)


def turn_on(session: Session, vault: Vault, user: User, secret: str, step: int) -> list[str]:
    """From now on the user needs a code to sign in. step: of the code that proved it, which is good no more.

    Ends all their sessions. Returns the recovery codes, which are shown once and never again.
    """
    user.totp_sealed, user.totp_step = sealed_for(vault, user.id, secret), step
    user.session = new_id()
    return new_recovery_codes(session, vault, user)


def turn_off(session: Session, user: User) -> None:
    """The password alone is enough again. Ends all the user's sessions."""
    session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))
    user.totp_sealed = user.totp_step = None
    user.session = new_id()


def new_recovery_codes(session: Session, vault: Vault, user: User) -> list[str]:
    """Codes that are good once each, instead of all there were. Only their keyed hashes are kept."""
    session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))
    codes = ["".join(secrets.choice("0123456789") for _ in range(_RECOVERY_DIGITS)) for _ in range(RECOVERY_CODES)]
    session.add_all(RecoveryCode(user_id=user.id, digest=_digest(vault, user.id, code)) for code in codes)
    return [" ".join(re.findall("....", code)) for code in codes]


def recovery_codes_left(session: Session, user_id: UUID) -> int:
    """How many were not used yet."""
    mine = select(func.count()).select_from(RecoveryCode).where(RecoveryCode.user_id == user_id)
    return session.scalar(mine) or 0


def pass_with(session: Session, vault: Vault, user: User, typed: str, now: datetime) -> Passed | None:
    """Use up a code of the app or a recovery code. None: it is wrong, or was used before, by whomever.

    The database decides which of two that come at the same moment is the first.
    """
    if user.totp_sealed is None:
        return None
    code = digits_of(typed)
    if len(code) == _RECOVERY_DIGITS:
        return _use_recovery_code(session, user, _digest(vault, user.id, code))
    step = matching_step(secret_of(vault, user.id, user.totp_sealed), code, now)
    return Passed(None) if step is not None and _use_step(session, user, step) else None


def _use_step(session: Session, user: User, step: int) -> bool:
    later = or_(User.totp_step.is_(None), User.totp_step < step)
    # The session tells whether it is still the same second factor and the same password.
    same = (User.id == user.id, User.session == user.session)
    used = update(User).where(*same, later).values(totp_step=step).returning(User.id)
    return session.scalar(used, execution_options={"synchronize_session": False}) is not None


def _use_recovery_code(session: Session, user: User, digest: bytes) -> Passed | None:
    this = (RecoveryCode.user_id == user.id, RecoveryCode.digest == digest)
    used = session.scalar(delete(RecoveryCode).where(*this).returning(RecoveryCode.user_id))
    return Passed(recovery_codes_left(session, user.id)) if used else None


def _digest(vault: Vault, user_id: UUID, code: str) -> bytes:
    return vault.digest("recovery_code", user_id, code)
