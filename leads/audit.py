"""What people did, a sentence for each kind, for the page and the command that show all of it. Nobody's details."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from leads.store.queries.audit import AuditEntry


class Group(NamedTuple):
    """What belongs together in the filter. sentences: by the kind, as `Action.what` names it."""

    name: str
    sentences: Mapping[str, str]


GROUPS = {
    "enquiries": Group(
        "Decisions about enquiries",
        {
            "send_again": "{who} sent {lead} to {connection} again.",
            "sent_elsewhere": "{who} sent {lead} to {note} instead of {connection}.",
            "corrected": "{who} corrected {lead} and sent it to {connection} again.",
            "handled": "{who} took care of {lead}.",
            "not_spam": "{who} said of {lead} that it is not spam.",
            "consent_given": "{who} said of {lead} that consent was given.",
            "drift_right": "{who} said of {lead} that it is right as it is in {connection}.",
            "erased": "{who} erased the personal data of {lead} on request.",
            "erase_again": "{who} wanted {lead} to be erased in {connection} again.",
            "erase_by_hand": "{who} erased {lead} in {connection} by hand.",
            "put_aside": "{who} put {lead} aside as spam.",
            "put_aside_started": "{who} had all that looks like spam put aside: {note}.",
            "put_aside_stopped": "{who} stopped the putting aside of what looks like spam.",
            "resubmission_seen": "{who} looked at what was sent again with other answers.",
            "unreadable_seen": "{who} looked at what could not be read.",
            "replay_started": "{who} had many enquiries sent again.",
            "replay_stopped": "{who} stopped the sending again of many enquiries.",
            "purged": "{who} had old enquiries forgotten: {note}.",
        },
    ),
    "views": Group(
        "Looks at enquiries",
        {
            "viewed": "{who} looked at {lead}.",
            "unasked_viewed": "{who} looked at the list of those whose consent is missing.",
            "suspected_viewed": "{who} looked at the list of what looks like spam.",
            "unreadable_viewed": "{who} looked at the messages that could not be read.",
            "details_revealed": "{who} looked at what goes into {connection}, with the details of {note}.",
            "exported": "{who} wrote the enquiries {note} into a file.",
        },
    ),
    "connections": Group(
        "Connections",
        {
            "connection_added": "{who} added {connection}.",
            "connection_replaced": "{who} changed the name, key or options of {connection}.",
            "connection_paused": "{who} paused {connection}.",
            "connection_resumed": "{who} started {connection} again.",
            "connection_removed": "{who} removed {connection}.",
            "connection_signed_in": "{who} signed in at the CRM for {connection}.",
            "connection_check_all": "{who} had everything in {connection} checked.",
            "connection_changed": "{who} changed how {connection} is used.",
            "mapping_changed": "{who} changed what goes into {connection}.",
        },
    ),
    "sign_ins": Group(
        "Sign-ins",
        {
            "signed_in": "{who} signed in.",
            "signed_out": "{who} signed out.",
            "password_changed": "{who} chose a new password.",
            "sign_in_failed": "A wrong password was given for {who}, from {note}.",
            "code_failed": "The right password and then a wrong code were given for {who}, from {note}.",
            "recovery_code_used": "{who} signed in with a recovery code. Left: {note}.",
            "recovery_codes_made": "{who} had new recovery codes made.",
            "second_factor_on": "{who} set up a second factor.",
            "second_factor_off": "{who} turned the second factor off.",
            "sign_in_unknown": "Somebody tried to sign in with a name that nobody here has, from {note}.",
        },
    ),
    "setup": Group(
        "Users, websites and keys",
        {
            "user_added": "{who} added the user {note}.",
            "user_removed": "{who} removed the user {note}.",
            "password_reset": "{who} gave {note} a new one-time password.",
            "role_changed": "{who} gave {note}.",
            "user_sites_changed": "{who} had {note}.",
            "second_factor_reset": "{who} took the second factor of {note} away.",
            "site_added": "{who} added the website {note}.",
            "site_changed": "{who} changed the website {note}.",
            "hook_address_changed": "{who} gave the website {note} a new address for form plugins.",
            "site_closed": "{who} closed the website {note}: it takes no more enquiries.",
            "site_opened": "{who} opened the website {note} again.",
            "site_removed": "{who} removed the website {note}.",
            "site_forgotten": "{who} had all forgotten that came from the website {note}.",
            "keys_rotated": "{who} had everything sealed with the new key {note}.",
            "key_dropped": "{who} took the old key {note} out of the key file.",
            "restored": "{who} put back a copy of the database, with {note} that had not arrived then.",
        },
    ),
}
_SENTENCES = {what: sentence for group in GROUPS.values() for what, sentence in group.sentences.items()}


def describe(entry: AuditEntry) -> str:
    """What was done, in a sentence. A lead is named by its reference code alone."""
    return _SENTENCES[entry.action.what].format(
        who=entry.action.user_name,
        lead=f"the enquiry {entry.lead.code}" if entry.lead else "an enquiry",
        connection=entry.connection.name if entry.connection else "a connection",
        note=entry.note or "—",
    )
