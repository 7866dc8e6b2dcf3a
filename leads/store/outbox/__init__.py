"""The outbox: the only writer of Delivery. accept → claim → finish, and requeue for a person's decision.

`accept` stores event, lead and deliveries in one commit. `lease` gives a worker one connection, `claim` gives it due
deliveries with a token, and `finish` writes down what became of them, for the holder of the token only.
(`leads/store/callers.py` moves the deliveries of a caller who became known.)
"""

from leads.store.holds import is_by_hand
from leads.store.outbox.arrivals import Accepted, NewEvent, accept, client_digest
from leads.store.outbox.claimed import Claimed, EventRow, LeadRow, SiteRow
from leads.store.outbox.decisions import (
    CAN_BE_HANDLED,
    CAN_SEND_AGAIN,
    doubt_all,
    handled,
    let_go,
    may_go_after_all,
    may_send_again,
    pause,
    release_hold,
    remove,
    requeue,
    requeue_all_of,
    resume,
    send_after_all,
    send_again,
    start_failing,
    take_care,
    to_release,
    try_now,
    wait_for_sign_in,
)
from leads.store.outbox.drift import settle
from leads.store.outbox.erasing import also_of, end, erased, not_erased, to_erase, try_again
from leads.store.outbox.erasure import erase
from leads.store.outbox.lanes import Lane, claim, holds, lease, ready, release, was_set_up_anew
from leads.store.outbox.outcomes import (
    Health,
    Outcome,
    bring_forward,
    finish,
    finish_and_claim,
    give_back,
    last_in_doubt,
)
from leads.store.outbox.proof import (
    Look,
    Retiring,
    check_all,
    checked,
    left_to_staff,
    not_retired,
    retired,
    to_check,
    to_retire,
)
from leads.store.outbox.takeover import is_left, send_elsewhere, take_over, taking_over

__all__ = [
    "CAN_BE_HANDLED",
    "CAN_SEND_AGAIN",
    "Accepted",
    "Claimed",
    "EventRow",
    "Health",
    "Lane",
    "LeadRow",
    "Look",
    "NewEvent",
    "Outcome",
    "Retiring",
    "SiteRow",
    "accept",
    "also_of",
    "bring_forward",
    "check_all",
    "checked",
    "claim",
    "client_digest",
    "doubt_all",
    "end",
    "erase",
    "erased",
    "finish",
    "finish_and_claim",
    "give_back",
    "handled",
    "holds",
    "is_by_hand",
    "is_left",
    "last_in_doubt",
    "lease",
    "left_to_staff",
    "let_go",
    "may_go_after_all",
    "may_send_again",
    "not_erased",
    "not_retired",
    "pause",
    "ready",
    "release",
    "release_hold",
    "remove",
    "requeue",
    "requeue_all_of",
    "resume",
    "retired",
    "send_after_all",
    "send_again",
    "send_elsewhere",
    "settle",
    "start_failing",
    "take_care",
    "take_over",
    "taking_over",
    "to_check",
    "to_erase",
    "to_release",
    "to_retire",
    "try_again",
    "try_now",
    "wait_for_sign_in",
    "was_set_up_anew",
]
