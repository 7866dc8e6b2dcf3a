"""The fields of somebody's form → ours, by what people call them: as `names.toml` says."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import phonenumbers

from leads.fields import LONGEST_EMAIL
from leads.intake.attribution import ATTRIBUTION, is_click_id, path_only, without_click_ids
from leads.intake.hooks.shapes import LEAVE, LEAVE_BEGINNING, Answer, Submission

_EMAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>]+")
_IN_BRACKETS = re.compile(r"(?:<|mailto:)([^@\s,;:<>()\"']+@[^@\s,;:<>()?\"']+)", re.IGNORECASE)
_PHONE = re.compile(r"\+?[\d\s().\-/]{9,25}")
_WITH_COUNTRY = ("+", "00")
_FITS = (phonenumbers.is_valid_number, phonenumbers.is_possible_number)
_COUNTRY = re.compile(r"[A-Za-z]{2}")
_CODE = re.compile(r"(?:\+|^00)([1-9]\d{0,2})\b|^([1-9]\d{0,2})$")
_COUNTED = re.compile(r"^\s*[Qq]?\d{1,2}\s*[.):]\s*(?=\D)")  # 1. First name
_FORMINATOR = re.compile(r"^([a-z]+)-\d{1,3}-(?=[a-z])")  # name-1-first-name
_ASIDE = re.compile(r"(?<=\S)\s*\(([^()]*)\)[\s*:]*$")
_LETTER = re.compile(r"[^\W\d_]")
_A_BROWSER = "Mozilla/"  # as all of them begin, in whatever language the field is called
_ADDRESSES = ("referrer", "landing")
_OUR_BOX = "consent"  # as docs/how-to/form-plugins.md asks the box to be called that shows the site's wording
_LONGEST_WORD = 30
_LONGEST_NAME = 300  # characters of what may be one of our fields: a longer one is a whole text


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
        if (ticked := _ticked(answer, wording)) is not None:
            boxes.append(ticked)
            found.our_wording |= _is_our_wording(answer, wording, the_only_one=the_only_one)
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
    _guess(found, region)
    _add_country(found)
    # Many say there once more what they have said. A yes and a no are not known again: there are many questions.
    said = {text for text in (*found.fields.values(), *found.extra.values()) if plain(text) not in _YES | _NO}
    for answer in submission.rest:
        if answer.text not in said:
            _keep(found, answer)
    return found


def _take(found: Understood, answer: Answer) -> None:
    ours = _field_of(answer.names)
    if ours in _SAYS:
        answer = answer._replace(text=_once(answer.text))
    if ours == "email" and (bare := _bare_address(answer.text)) != answer.text:
        _keep(found, answer)  # a name may stand before it
        answer = answer._replace(text=bare)
    if ours in ATTRIBUTION:
        text = path_only(answer.text) if ours in _ADDRESSES else answer.text
        found.attribution.setdefault(ours, text[:200])
    elif ours == "phone" and _is_whole(answer.text, found.fields.get("phone", "")):
        found.keep("phone", found.fields["phone"])  # what was typed beside what a script made of it
        found.fields["phone"] = answer.text
    elif ours == "phone_code":
        found.fields.setdefault(ours, answer.text)
        _keep(found, answer)
    elif ours is None or found.fields.setdefault(ours, answer.text) != answer.text:
        _keep(found, answer)


def _bare_address(text: str) -> str:
    """`Ada <ada@example.org>` and `mailto:ada@example.org` → `ada@example.org`."""
    inner = _IN_BRACKETS.search(text) if len(text) <= _LONGEST_NAME else None
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


def _is_whole(number: str, part: str) -> bool:
    """Whether this is that number with its country, which it does not have itself."""
    ends = re.sub(r"\D", "", part).lstrip("0")
    has_country = number.startswith(_WITH_COUNTRY) and not part.startswith(_WITH_COUNTRY)
    return has_country and len(ends) > 5 and re.sub(r"\D", "", number).endswith(ends)


def _add_country(found: Understood) -> None:
    """The country's code, where it was asked for by itself, before a number that has none."""
    code, typed = _country_code(found.fields.pop("phone_code", "")), found.fields.get("phone", "")
    if code and _PHONE.fullmatch(typed) and not typed.startswith(_WITH_COUNTRY):
        ways = [f"+{code} {typed}", f"+{typed}"]  # it may begin with the code as well
        fitting = [way for fits in _FITS for way in ways if _is_of(code, way, fits)]
        found.fields["phone"] = next(iter(fitting), typed)


def _country_code(text: str) -> int:
    """`+91`, `91`, `India (+91)` or `IN`; 0 where it is none."""
    if _COUNTRY.fullmatch(text):
        return phonenumbers.country_code_for_region(text.upper())
    number = _CODE.search(text)
    code = int(number[1] or number[2]) if number else 0
    return code if code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE else 0


def _is_of(code: int, text: str, fits: Callable[[phonenumbers.PhoneNumber], bool]) -> bool:
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        return False
    return number.country_code == code and fits(number)


def _guess(found: Understood, region: str) -> None:
    """Where no field is called so: the only answer that may be the visitor's address, and the only one that may be the
    number. People are joined by them, so one of the clinic's own would make all its visitors one person. It stays among
    the answers as well, where it has a name of its own."""
    alone = found.fields.keys().isdisjoint(_SAYS)
    for ours, is_one in (("email", _is_email), ("phone", lambda text: _is_phone(text, region))):
        if ours not in found.fields:
            given = [item for item in found.extra.items() if is_one(item[1]) and _may_be(ours, item[0], alone=alone)]
            if len(given) == 1:
                [(label, found.fields[ours])] = given
                if not _LETTER.search(label):  # as Gravity Forms counts its fields
                    del found.extra[label]


def _may_be(ours: str, label: str, *, alone: bool) -> bool:
    """Whether what is called so may be the visitor's. alone: there is no other way to reach them."""
    words = plain(label)
    return (alone or _speaks(words, _SAYS[ours])) and not _is_others(ours, words)


def _is_others(ours: str, words: str) -> bool:
    no_number = _NO_NUMBER if ours == "phone" else ()
    return _speaks(words, (*_OTHERS, *no_number)) or any(part in words for part in _PARTS)


def _is_email(text: str) -> bool:
    # The length first: the pattern alone looks at each dot again for each dot.
    return len(text) <= LONGEST_EMAIL and _EMAIL.fullmatch(text) is not None


def _is_phone(text: str, region: str) -> bool:
    if not _PHONE.fullmatch(text):
        return False
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, region))
    except phonenumbers.NumberParseException:
        return False


def _ticked(answer: Answer, wording: str) -> bool | None:
    """Whether this box says that consent was given; None: it is not clearly the box that asks for it."""
    names, text, own = [plain(name) for name in answer.names], plain(_said(answer.text)), plain(wording)
    if answer.text.strip("\ufe0f") in _TICKS:  # of which no word is left
        text = _TICKED
    if any(_speaks(name, _NOT_ABOUT) for name in [*names, text]):
        return None
    called_so = any(not _CONSENT.isdisjoint(_in_order(name)) for name in names)
    asked_so = any(name == own or _is_sentence(name) for name in names)
    # What visitors write themselves is no box, whatever it says.
    says_so = text == own or (_is_sentence(text) and not _BOXES.isdisjoint(names))
    if not (called_so or asked_so or says_so):
        return None
    if says_so or text in _YES or text in names or _agrees(text):
        return True
    return False if text in _NO or _denies(text) else None


_FIRST_WORDS = 4  # a no that comes later may be about something else: “I agree that nothing is sold, not even …”


def begins_with_no(text: str) -> bool:
    """Whether the first words of what a box says are a no, whatever comes after them: “No”, “I do not agree”."""
    words = plain(text.casefold())
    return f"{words} ".startswith(_NOES) or _denies(" ".join(words.split()[:_FIRST_WORDS]))


def _is_our_wording(answer: Answer, wording: str, *, the_only_one: bool) -> bool:
    """Whether this box asked in our words: it says so itself, or it has the name that we ask for and no other words.
    Where there was another wording before, the form may still show that one."""
    names, text, own = [plain(name) for name in answer.names], plain(_said(answer.text)), plain(wording)
    if own in (*names, text):
        return True
    called_ours = the_only_one and any(_OUR_BOX in _in_order(name) for name in names)
    return called_ours and not any(map(_is_text, [*names, text]))


def _is_text(words: str) -> bool:
    """More than a name or a tick, by its length."""
    return words.count(" ") > 2 or len(words) > _LONGEST_WORD


def _said(text: str) -> str:
    """What a box says itself: a hidden “0” before it stands for one that is not ticked. After it, “0” takes it back."""
    first, *others = text.split(", ")
    if "0" in others:
        return "0"
    return ", ".join(others) if first == "0" and others else text


def _is_sentence(words: str) -> bool:
    return _agrees(words) and _speaks(words, _ABOUT)


def _agrees(words: str) -> bool:
    first, _, rest = words.partition(" ")
    if first in _YES and rest:  # “Ja, ich stimme zu”
        words = rest
    agrees = words in _YES or words.startswith(_BEGINS) or (words.startswith(_READS) and _speaks(words, _AGREES))
    return agrees and not _denies(words)


def _denies(words: str) -> bool:
    return _speaks(words, _DENIES)


def _speaks(words: str, of: Iterable[str]) -> bool:
    return any(f" {one} " in f" {words} " for one in of)


def _field_of(names: Sequence[str]) -> str | None:
    """By the first of the names that we know. The last one may be no more than a type, which says not whose it is."""
    for number, name in enumerate(names, 1):
        known = (_FIELDS.get(words) for words in [*_in_order(plain(name)), *_without_aside(name), f"type {name}"])
        if ours := next(filter(None, known), None):
            is_type = 1 < number == len(names) and ours in _SAYS
            return None if is_type and any(_is_others(ours, plain(one)) for one in names) else ours
    return None


def _without_aside(name: str) -> list[str]:
    """`Phone (daytime)` → `phone`, unless the brackets say that it is somebody else's, or a part."""
    aside = _ASIDE.search(name) if len(name) <= _LONGEST_NAME else None
    words = plain(aside[1]) if aside else ""
    if not aside or _is_others("phone", words) or _speaks(words, _ASIDES):
        return []
    return _in_order(plain(name[: aside.start()]))


def _in_order(name: str) -> list[str]:
    """The name, and what is left of it without words such as “your”, the fullest first."""
    found = [name]
    while len(name) <= _LONGEST_NAME and (shorter := _shorter(found[-1])) != found[-1]:
        found.append(shorter)
    return found


def _shorter(name: str) -> str:
    for word in _AFTER:
        if name.endswith(f" {word}"):
            return name.removesuffix(f" {word}")
    for word in _BEFORE:
        if name.startswith(f"{word} "):
            return name.removeprefix(f"{word} ")
    return name


def plain(name: str) -> str:
    """`Your E-Mail*` → `your e mail`: without case, accents, punctuation, and what only counts it."""
    name = _FORMINATOR.sub(r"\1 ", _COUNTED.sub("", name))
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    letters = "".join(one for one in unicodedata.normalize("NFKD", parted) if not unicodedata.combining(one))
    words = re.sub(r"[\W_]+", " ", letters.casefold()).split()
    while len(words) > 1 and words[-1].isdecimal():
        del words[-1]
    return " ".join(words)


_DATA: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("names.toml").read_text(encoding="utf-8"))
_FIELDS: Mapping[str, str] = {plain(name): ours for ours, names in _DATA["fields"].items() for name in names} | {
    f"type {name}": ours for name, ours in _DATA["types"].items()
}
_BEFORE, _AFTER = (sorted(map(plain, _DATA[place]), key=len, reverse=True) for place in ("before", "after"))
_LEFT = frozenset(map(plain, LEAVE))
_CONSENT, _BOXES, _YES, _NO = (
    frozenset(map(plain, _DATA["consent"][word])) for word in ("names", "boxes", "yes", "no")
)
_SAYS = {ours: [plain(one) for one in _DATA["guess"][ours]] for ours in ("email", "phone")}
_OTHERS, _PARTS, _NO_NUMBER, _ASIDES = (
    [plain(one) for one in _DATA["guess"][word]] for word in ("others", "parts", "no_number", "asides")
)
_TICKS, _TICKED = frozenset(_DATA["consent"]["ticks"]), "yes"
_NOES = tuple(f"{plain(one)} " for one in [*_DATA["consent"]["no"], *_DATA["consent"]["denies"]])
_BEGINS, _READS = (tuple(map(plain, _DATA["consent"][word])) for word in ("begins", "reads"))
_AGREES, _ABOUT, _NOT_ABOUT, _DENIES = (
    [plain(one) for one in _DATA["consent"][word]] for word in ("agrees", "about", "not_about", "denies")
)
