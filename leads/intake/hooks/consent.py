"""Whether a box asks for consent, whether it was given, and in whose words: as `names.toml` says."""

from __future__ import annotations

from leads.intake.hooks.shapes import Answer
from leads.intake.hooks.words import KNOWN, in_order, plain, speaks

_OUR_BOX = "consent"  # as docs/how-to/form-plugins.md asks the box to be called that shows the site's wording
_LONGEST_WORD = 30
_FIRST_WORDS = 4  # a no that comes later may be about something else: “I agree that nothing is sold, not even …”
_BOX = KNOWN["consent"]
_CONSENT, _BOXES, YES, NO = (frozenset(map(plain, _BOX[word])) for word in ("names", "boxes", "yes", "no"))
_TICKS, _TICKED = frozenset(_BOX["ticks"]), "yes"
_NOES = tuple(f"{plain(one)} " for one in [*_BOX["no"], *_BOX["denies"]])
_BEGINS, _READS = (tuple(map(plain, _BOX[word])) for word in ("begins", "reads"))
_AGREES, _ABOUT, _NOT_ABOUT, _DENIES = (
    [plain(one) for one in _BOX[word]] for word in ("agrees", "about", "not_about", "denies")
)


def ticked(answer: Answer, wording: str) -> bool | None:
    """Whether this box says that consent was given; None: it is not clearly the box that asks for it."""
    names, text, own = [plain(name) for name in answer.names], plain(_said(answer.text)), plain(wording)
    if answer.text.strip("\ufe0f") in _TICKS:  # of which no word is left
        text = _TICKED
    if any(speaks(name, _NOT_ABOUT) for name in [*names, text]):
        return None
    called_so = any(not _CONSENT.isdisjoint(in_order(name)) for name in names)
    asked_so = any(name == own or _is_sentence(name) for name in names)
    # What visitors write themselves is no box, whatever it says.
    says_so = text == own or (_is_sentence(text) and not _BOXES.isdisjoint(names))
    if not (called_so or asked_so or says_so):
        return None
    if says_so or text in YES or text in names or _agrees(text):
        return True
    return False if text in NO or _denies(text) else None


def begins_with_no(text: str) -> bool:
    """Whether the first words of what a box says are a no, whatever comes after them: “No”, “I do not agree”."""
    words = plain(text.casefold())
    return f"{words} ".startswith(_NOES) or _denies(" ".join(words.split()[:_FIRST_WORDS]))


def is_our_wording(answer: Answer, wording: str, *, the_only_one: bool) -> bool:
    """Whether this box asked in our words: it says so itself, or it has the name that we ask for and no other words.
    Where there was another wording before, the form may still show that one."""
    names, text, own = [plain(name) for name in answer.names], plain(_said(answer.text)), plain(wording)
    if own in (*names, text):
        return True
    called_ours = the_only_one and any(_OUR_BOX in in_order(name) for name in names)
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
    return _agrees(words) and speaks(words, _ABOUT)


def _agrees(words: str) -> bool:
    first, _, rest = words.partition(" ")
    if first in YES and rest:  # “Ja, ich stimme zu”
        words = rest
    agrees = words in YES or words.startswith(_BEGINS) or (words.startswith(_READS) and speaks(words, _AGREES))
    return agrees and not _denies(words)


def _denies(words: str) -> bool:
    return speaks(words, _DENIES)
