"""A line such as `Name:Ada Byron, Which treatment?:Crowns` → the labels in it, where it is certain which they are.

Labels and answers may hold commas and colons themselves, and answers are written there otherwise than they were sent.
So an answer is known by its words, and a label is what stands between the end of one known answer and the next.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_COLON, _NEXT = ":", ", "
_COMMAS = 20  # more than any label has


@dataclass(slots=True)
class _Line:
    """words: as they are compared. gaps: what stands before each of them, and after the last. starts: of the gaps.
    after_colon: word → where it begins what may be an answer."""

    text: str
    words: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    after_colon: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        end = 0
        for number, one in enumerate(re.finditer(r"\w+", self.text)):
            self.words.append(_plain(one[0]))
            self.gaps.append(self.text[end : one.start()])
            self.starts.append(end)
            if number and _COLON in self.gaps[-1] and _NEXT not in self.gaps[-1]:
                self.after_colon[self.words[-1]].append(number)
            end = one.end()
        self.gaps.append(self.text[end:] + _NEXT)
        self.starts.append(end)

    def places(self, answer: list[str]) -> list[int]:
        """Where these words are the whole of an answer."""
        size = len(answer)
        begins = self.after_colon.get(answer[0], ())
        return [at for at in begins if self.words[at : at + size] == answer and _NEXT in self.gaps[at + size]]

    def ends_answer(self, at: int, known: Mapping[int, set[tuple[str, ...]]]) -> bool:
        """Whether the words before this one are one of the known answers, in whatever order its parts stand."""
        begins = ((at - size, answers) for size, answers in known.items() if size < at)
        return any(_COLON in self.gaps[one] and tuple(sorted(self.words[one:at])) in answers for one, answers in begins)

    def label(self, at: int, known: Mapping[int, set[tuple[str, ...]]]) -> str | None:
        """What stands before the answer at this place; None where it may begin in several places or none is certain."""
        end, commas, begins = self.starts[at] + self.gaps[at].index(_COLON), 0, list[int]()
        for one in range(at - 1, -1, -1):
            gap = self.gaps[one]
            if one == 0:
                return self.text[:end].strip()
            if _COLON in gap or commas > _COMMAS:
                break
            if _NEXT in gap:
                commas += 1
                if self.ends_answer(one, known):
                    begins.append(self.starts[one] + gap.index(_NEXT) + len(_NEXT))
        return self.text[begins[0] : end].strip() if len(begins) == 1 else None


def labels(text: str, answers: Mapping[str, str], of: Iterable[str]) -> dict[str, str]:
    """Name → label. answers: name → text, of all that were asked. of: the names whose labels are asked for."""
    said = {name: words for name, answer in answers.items() if (words := _words(answer))}
    line, known = _Line(text), defaultdict[int, set[tuple[str, ...]]](set)
    for one in said.values():
        for parts in (one, sorted(set(one))):  # a time tells its hour twice
            known[len(parts)].add(tuple(sorted(parts)))
    found = dict[str, str]()
    for name in of:
        answer = said.get(name, [])
        if not answer or sum(one[: len(answer)] == answer for one in said.values()) > 1:
            continue  # another one says the same, or more
        places = line.places(answer)
        label = line.label(places[0], known) if len(places) == 1 else None
        if label:
            found[name] = label
    return found


def _words(text: str) -> list[str]:
    return [_plain(word) for word in re.findall(r"\w+", text)]


def _plain(word: str) -> str:
    """Without case, and without the zero before a day or a month."""
    return word.casefold().lstrip("0") or "0"
