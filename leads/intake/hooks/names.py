"""The fields of somebody's form → ours, by what people call them: as `names.toml` says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from leads.intake.attribution import ATTRIBUTION, is_click_id, path_only, without_click_ids
from leads.intake.hooks.consent import NO, YES, is_our_wording, ticked
from leads.intake.hooks.contact import SAYS, add_country, guess, is_others, is_whole
from leads.intake.hooks.shapes import LEAVE, LEAVE_BEGINNING, Answer, Submission
from leads.intake.hooks.words import KNOWN, LONGEST_NAME, in_order, plain, speaks

_IN_BRACKETS = re.compile(r"(?:<|mailto:)([^@\s,;:<>()\"']+@[^@\s,;:<>()?\"']+)", re.IGNORECASE)
_ASIDE = re.compile(r"(?<=\S)\s*\(([^()]*)\)[\s*:]*$")
_A_BROWSER = "Mozilla/"  # as all of them begin, in whatever language the field is called
_ADDRESSES = ("referrer", "landing")


@dataclass(slots=True)
class Understood:
    """fields: ours → what was given. consent: None where nobody was asked. our_wording: whether they were asked in the
    site's own words, as far as can be known. extra: all else, by its own name."""

    fields: dict[str, str] = field(default_factory=dict)
    attribution: dict[str, str] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    consent: bool | None = None
    our_wording: bool = False
    _kept: set[tuple[str, str]] = field(default_factory=set)
    _again: Counter[str] = field(default_factory=Counter)

    def keep(self, label: str, text: str) -> None:
        """Beside the answers, also where two fields have one name; unless it says again what stands there."""
        label = label.strip() or "?"
        if (label, text) in self._kept:
            return
        self._kept.add((label, text))
        name = label
        while name in self.extra:
            self._again[label] += 1
            name = f"{label} ({self._again[label] + 1})"
        self.extra[name] = text


def understand(submission: Submission, region: str, wording: str, *, the_only_one: bool = True) -> Understood:
    """Find our fields. region: for phone numbers without a country. wording: of the site's own consent box.
    the_only_one: it never had another one."""
    found, boxes = Understood(consent=submission.consent), list[bool]()
    for answer in submission.answers:
        if (yes := ticked(answer, wording)) is not None:
            boxes.append(yes)
            found.our_wording |= is_our_wording(answer, wording, the_only_one=the_only_one)
            found.keep(answer.label, answer.text)
        else:
            _take(found, answer)
    if submission.consent is not None:  # the text stands beside it
        found.our_wording |= any(plain(answer.text) == plain(wording) for answer in submission.rest)
    if boxes:
        found.consent = all(boxes) and found.consent is not False
    if submission.page:
        found.fields.setdefault("page", submission.page)
    _split_name(found)
    guess(found.fields, found.extra, region)
    add_country(found.fields)
    # Many say there once more what they have said. A yes and a no are not known again: there are many questions.
    said = {text for text in (*found.fields.values(), *found.extra.values()) if plain(text) not in YES | NO}
    for answer in submission.rest:
        if answer.text not in said:
            _keep(found, answer)
    return found


def _take(found: Understood, answer: Answer) -> None:
    ours = _field_of(answer.names)
    if ours in SAYS:
        answer = answer._replace(text=_once(answer.text))
    if ours == "email" and (bare := _bare_address(answer.text)) != answer.text:
        _keep(found, answer)  # a name may stand before it
        answer = answer._replace(text=bare)
    if ours in ATTRIBUTION:
        text = path_only(answer.text) if ours in _ADDRESSES else answer.text
        found.attribution.setdefault(ours, text[:200])
    elif ours == "phone" and is_whole(answer.text, found.fields.get("phone", "")):
        found.keep("phone", found.fields["phone"])  # what was typed beside what a script made of it
        found.fields["phone"] = answer.text
    elif ours == "phone_code":
        found.fields.setdefault(ours, answer.text)
        _keep(found, answer)
    elif ours is None or found.fields.setdefault(ours, answer.text) != answer.text:
        _keep(found, answer)


def _bare_address(text: str) -> str:
    """`Ada <ada@example.org>` and `mailto:ada@example.org` → `ada@example.org`."""
    inner = _IN_BRACKETS.search(text) if len(text) <= LONGEST_NAME else None
    return inner[1] if inner else text.strip("<> ")


def _once(text: str) -> str:
    """An address or a number that a list holds twice."""
    said = set(text.split(", "))
    return said.pop() if len(said) == 1 else text


def _keep(found: Understood, answer: Answer) -> None:
    """What is no field of ours. Click ids, and what tells of a visitor's computer, are not kept of anybody."""
    last_words = [name.rpartition(" ")[2] for name in answer.names]
    if any(map(is_click_id, [*answer.names, *last_words])) or any(
        word.startswith(LEAVE_BEGINNING) for word in last_words
    ):
        return
    if _LEFT.isdisjoint(map(plain, answer.names)) and not answer.text.startswith(_A_BROWSER):
        found.keep(answer.label, without_click_ids(answer.text))


def _split_name(found: Understood) -> None:
    """`Jane Doe` and `Doe, Jane` are first and last name. Beside a first name, a field `Name` is the last name."""
    whole = found.fields.pop("full_name", "")
    if not whole:
        return
    if {"first_name", "last_name"} <= found.fields.keys():
        if not set(whole.split()) <= set(f"{found.fields['first_name']} {found.fields['last_name']}".split()):
            found.keep("name", whole)  # of somebody else, as a parent's child
        return
    if found.fields.keys() & {"first_name", "last_name"}:
        given = set((found.fields.get("first_name") or found.fields["last_name"]).split())
        rest = " ".join(word for word in whole.split() if word not in given)
        found.fields.setdefault("last_name", rest)
        found.fields.setdefault("first_name", rest)
        return
    last, comma, first = whole.partition(",")
    if not comma:
        first, _, last = whole.partition(" ")
    found.fields |= {"first_name": first.strip(), "last_name": last.strip()}


def _field_of(names: Sequence[str]) -> str | None:
    """By the first of the names that we know. The last one may be no more than a type, which says not whose it is."""
    for number, name in enumerate(names, 1):
        known = (_FIELDS.get(words) for words in [*in_order(plain(name)), *_without_aside(name), f"type {name}"])
        if ours := next(filter(None, known), None):
            is_type = 1 < number == len(names) and ours in SAYS
            return None if is_type and any(is_others(ours, plain(one)) for one in names) else ours
    return None


def _without_aside(name: str) -> list[str]:
    """`Phone (daytime)` → `phone`, unless the brackets say that it is somebody else's, or a part."""
    aside = _ASIDE.search(name) if len(name) <= LONGEST_NAME else None
    words = plain(aside[1]) if aside else ""
    if not aside or is_others("phone", words) or speaks(words, _ASIDES):
        return []
    return in_order(plain(name[: aside.start()]))


_FIELDS: Mapping[str, str] = {plain(name): ours for ours, names in KNOWN["fields"].items() for name in names} | {
    f"type {name}": ours for name, ours in KNOWN["types"].items()
}
_LEFT = frozenset(map(plain, LEAVE))
_ASIDES = [plain(one) for one in KNOWN["guess"]["asides"]]
