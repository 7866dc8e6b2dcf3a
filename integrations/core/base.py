"""The contract of a connector: what every kind of CRM must be able to do, and the words it uses.

A connector is pure translation. It holds no state, opens no thread, never sleeps, logs, or catches a network
error: `Http` turns those into the classes of `errors.py`, and the outbox decides what follows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, ClassVar, Literal, TypeVar

from marshmallow import RAISE, Schema

from integrations.core.errors import DeliveryError
from integrations.core.http import Answer, Http
from integrations.core.oauth import OAuth

EventKind = Literal["consultation_request", "call_click"]
Tier = Literal["A", "B", "C"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Item:
    """One event to be written: the person's record, and the event as an activity on it.

    lead_id, event_id: our external ids (UUID text), stable for ever. occurred_at: in the website's time zone, so that
    its date is the clinic's day; see `instant`. record: the CRM's field → value, as the connection's mapping says.
    fill: the same for fields that are written only where the CRM's record has nothing yet; whoever calls `push` has
    moved into `record` what is to be written, so a connector need not look at it. stopgaps: tells, of the CRM's fields,
    texts that we put there for want of better ones; they count as empty. activity: our canonical field → value,
    likewise only what is mapped. remote_id: the CRM's record for this person, when one is already known (it may have
    been adopted). taken_at: when this CRM last said that it has the event, where it did: it is sent again on purpose,
    or for another person. No try that fails or breaks off changes it.
    """

    lead_id: str
    event_id: str
    kind: EventKind
    occurred_at: datetime
    title: str
    record: Mapping[str, str]
    activity: Mapping[str, str] = field(default_factory=dict)
    remote_id: str | None = None
    taken_at: datetime | None = None
    fill: Mapping[str, str] = field(default_factory=dict)
    # Worked out only where the CRM holds something: most records are new.
    stopgaps: Callable[[], Mapping[str, Collection[str]]] = field(default=dict, compare=False, repr=False)

    def instant(self) -> str:
        """When it occurred, by ISO 8601 and in UTC."""
        return self.occurred_at.astimezone(UTC).isoformat()

    def in_full(self) -> Item:
        """With every mapped field in `record`: what a new record gets, and what is looked for."""
        return replace(self, record={**self.fill, **self.record}, fill={})


@dataclass(frozen=True, slots=True)
class Pushed:
    """The CRM holds the person and the event. remote_id: its record of the person. url: a page staff can open."""

    remote_id: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Seen(Pushed):
    """What a read-back shows. record: the CRM's field → its value now, of the fields that were sent ("" when it is
    empty there); None when this CRM does not tell. copies: ids of other records of the same person, which stand for
    none of our leads. whole: every field that was sent is there; if not, one of our writes was not kept."""

    record: Mapping[str, str] | None = field(default=None, repr=False)  # personal: never in a log
    copies: tuple[str, ...] = ()
    whole: bool = True


Result = Pushed | DeliveryError


@dataclass(frozen=True, slots=True)
class Draft:
    """One request that `push` would make for an item. body: as JSON. Ids that only the CRM can give stand as `{…}`."""

    method: str
    url: str
    body: Any


@dataclass(frozen=True, slots=True)
class RemoteField:
    """A field of the person's record in this CRM. name: as its API calls it. type: text, number, date, yes/no, choice …
    in the CRM's own word. choices: value → label, where only these are taken. required: a record needs it."""

    name: str
    label: str
    type: str = "text"
    choices: Mapping[str, str] = field(default_factory=dict)
    required: bool = False


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a CRM says of its limits beside an answer. left: calls left in the current window, which ends in `seconds`.
    left_today, of_today: of its daily quota."""

    left: int | None = None
    seconds: float | None = None
    left_today: int | None = None
    of_today: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a connection check. ok: whether it is as it should be. sentence: what is wrong and what to click."""

    ok: bool
    sentence: str


class Options(Schema):
    """Base of every connector's options. A field with metadata `secret=True` is encrypted and never shown again; one
    with `lines=True` has several lines. `label` and `help` in the metadata draw the form and the prompts."""

    class Meta:
        unknown = RAISE


def record_id(value: object) -> str | None:
    """The id that a CRM gave a record, as text; None when it is none (missing, null, empty, endless)."""
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if 0 < len(text) <= 200 and text.isprintable() and text.lower() not in ("null", "none") else None


def parts(many: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """As many at a time as one call may take."""
    for start in range(0, len(many), most):
        yield many[start : start + most]


class Connector(ABC):
    """One kind of CRM, configured for one connection.

    tier: how a repeated write is made safe. A: the CRM has a unique external id or drops repeats. B: looked up before
    it is sent again, once `settle` has passed. C: neither, an unknown outcome goes to a person. A kind whose accounts
    differ says so per connection, in `__init__`.
    batch_size: records per push. at_once: pushes that may run side by side, where one takes many records and the tier
    is A. pace: requests per second the CRM's documentation allows, None for no limit.
    readable: whether `find` can read back what was written. settle: seconds until a write, also one whose answer
    never came, can be read back.
    fields: our canonical field → the CRM's field, the mapping a new connection starts with. constants: the CRM's field
    → what it always gets, likewise. fallbacks: the CRM's field → what it gets when the visitor gave nothing.
    for_trying_out: no clinic's CRM, so it stands apart where people choose one.
    people_sign_in: somebody may have to sign in there in a browser, so the form shows our redirect address.
    """

    kind: ClassVar[str]
    label: ClassVar[str]
    tier: Tier
    options: ClassVar[type[Options]]
    fields: ClassVar[Mapping[str, str]]
    batch_size: ClassVar[int] = 1
    at_once: ClassVar[int] = 1
    pace: ClassVar[float | None] = None
    readable: ClassVar[bool] = True
    settle: float = 0.0
    constants: ClassVar[Mapping[str, str]] = {}
    fallbacks: ClassVar[Mapping[str, str]] = {}
    for_trying_out: ClassVar[bool] = False
    people_sign_in: ClassVar[bool] = False

    def __init__(self, settings: Mapping[str, Any], http: Http) -> None:
        """settings: what `options` loaded, secrets included; with OAuth also `token`, what the CRM gave beside its
        token (`OAuth.keep`): in here only by `get`, for nobody may have signed in yet. http: signs each call by
        itself where there is OAuth."""
        self.settings = settings
        self.http = http

    @abstractmethod
    def check(self) -> list[Finding]:
        """Test credentials, rights and needed properties by reading only. Raises a DeliveryError when the CRM cannot
        be reached or refuses the sign-in; what is missing in it becomes findings."""

    def prepare(self) -> list[Finding]:
        """Create what the CRM needs to hold our external ids, where its API allows it. Safe to repeat."""
        return []

    @abstractmethod
    def push(self, batch: Sequence[Item]) -> list[Result]:
        """Write each item, at most `batch_size` of them, no two of one lead. One result per item, in order. Raises
        a DeliveryError when the whole call failed."""

    @abstractmethod
    def find(self, items: Sequence[Item]) -> list[Seen | None]:
        """Read back by external id. One answer per item, in order: None when the CRM does not hold the person's
        record or not this event on it. Raises a DeliveryError when it cannot be told."""

    def merged_with(self, remote_ids: Sequence[str]) -> list[str]:
        """These records, and all that staff of the clinic made one with them since: the contact that a lead was turned
        into, the record into which another was merged. To erase a person is to erase them all, in this order. Raises a
        DeliveryError."""
        return list(remote_ids)

    def events_on(self, remote_ids: Sequence[str]) -> set[str]:
        """Our events that stand on these records, as far as this CRM tells: staff may have merged somebody else's into
        one of them. Raises a DeliveryError."""
        return set()

    @abstractmethod
    def erase(self, remote_ids: Sequence[str]) -> None:
        """Delete these very records and their activities: others that are one with them may stand for somebody else,
        see `merged_with`. A record that is not there is no error."""

    @classmethod
    def oauth(cls, settings: Mapping[str, Any]) -> OAuth | None:
        """How this connection signs in; None when a key among the options is all it needs."""
        return None

    @classmethod
    def key_ends(cls, settings: Mapping[str, Any]) -> date | None:
        """The day from which the key is no longer valid, where the options tell it."""
        return None

    @classmethod
    def allowance(cls, answer: Answer) -> Allowance | None:
        """What the headers of an answer say of the CRM's limits."""
        return None

    def current(self, items: Sequence[Item]) -> list[Mapping[str, str] | None]:
        """What the CRM's record of each person holds now in the fields that the item maps (`in_full`): field → value,
        "" when it is empty. None: there is no such record, or this CRM cannot be asked. Raises a DeliveryError."""
        return [None for _ in items]

    def worked_on(self, items: Sequence[Item]) -> list[bool]:
        """Whether the clinic's staff made more of each record than its mapped fields show: turned it into another kind
        of record, or put notes or other things of their own on it. By `remote_id`. A record that is gone is none. A
        caller's record is taken out again only where they did not; so where our rights do not reach to tell, they may
        have. Raises a DeliveryError."""
        return [False for _ in items]

    def remote_fields(self) -> list[RemoteField]:
        """The fields that a mapping may write to, as the CRM describes them; [] when it cannot be asked."""
        return []

    @abstractmethod
    def draft(self, item: Item) -> list[Draft]:
        """The requests by which `push` would write this item alone, if the person were new, without making one."""
