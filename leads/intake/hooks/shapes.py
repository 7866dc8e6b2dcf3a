"""Which plugin sent it, and where the visitor's answers stand in it: as `shapes.toml` says."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from werkzeug.datastructures import Headers

from leads.intake.hooks.pretty import labels
from leads.intake.hooks.values import is_name, text_of, whole_name, whole_of

_DATA = tomllib.loads(Path(__file__).with_name("shapes.toml").read_text(encoding="utf-8"))
WRAPPED, REPEATS = _DATA["wrapped"], frozenset(_DATA["repeats"])
LEAVE, LEAVE_BEGINNING, _TEST_HEADERS = _DATA["leave"], tuple(_DATA["leave_beginning"]), _DATA["tests"]
UNKNOWN = "form plugin"

_NAMES = ("title", "label", "column_name", "question", "ref", "name", "column_id", "fieldName", "key", "id", "type")
_VALUES = ("value", "string_value", "values", "answer")
_A_NAME = re.compile(r"names?\d*$", re.IGNORECASE)
_BESIDE = ("raw_value", "required", "objectTypeId", "unix", "field", "options")


class Answer(NamedTuple):
    """One field. label: as people read it. names: by which it may be known, the most telling first; its type last."""

    label: str
    names: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Shape:
    """As `shapes.toml` tells it."""

    name: str = UNKNOWN
    has: tuple[str, ...] = ()
    header: str = ""
    answers: tuple[str, ...] = ()
    titles: str = ""
    called: Mapping[str, str] = field(default_factory=dict)
    entry: str = ""
    unique: bool = False
    form: str = ""
    page: str = ""
    consent: str = ""
    test: str = ""
    numbered: bool = False
    prefix: str = ""
    unnamed: str = ""
    labels: str = ""
    leave: tuple[str, ...] = ()

    def fits(self, tree: Mapping[str, Any], headers: Headers) -> bool:
        """Whether this plugin sent it."""
        return all(_at(tree, path) is not None for path in self.has) and (not self.header or self.header in headers)


@dataclass(slots=True)
class Submission:
    """What a plugin sent. entry: its own id of it, empty where it has none. rest: what stands beside the answers.
    consent: where the plugin itself says so. unique: nobody else's entry has this id. test: the plugin says that it is
    no visitor's."""

    plugin: str
    entry: str
    answers: list[Answer]
    rest: list[Answer] = field(default_factory=list)
    page: str = ""
    consent: bool | None = None
    unique: bool = False
    test: bool = False


def _shape(told: Mapping[str, Any]) -> Shape:
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
    return Shape(**given)


_SHAPES = [_shape(told) for told in _DATA["plugin"]]


def read_shape(tree: Mapping[str, Any], headers: Headers) -> Submission:
    """Take it apart."""
    shape = next((one for one in _SHAPES if one.fits(tree, headers)), Shape())
    kept = {shape.called.get(name, name): value for name, value in _without(tree, shape.leave).items()}
    if shape.answers:
        answers = [one for path in shape.answers for one in _answers(_at(tree, path))]
        rest = list(_answers(_without(kept, (*shape.answers, *filter(None, (shape.entry, shape.form, shape.page))))))
    else:
        named = _numbered(kept) if shape.numbered else _questions(kept, shape, tree) if shape.prefix else kept
        answers, rest = list(_answers(named)), []
    entry = text_of(_at(tree, shape.entry)) if shape.entry else ""
    told = _at(tree, shape.consent) if shape.consent else None
    return Submission(
        plugin=shape.name,
        entry=f"{text_of(_at(tree, shape.form)) if shape.form else ''}/{entry}" if entry else "",
        answers=_titled([one for one in answers if one.text], _at(tree, shape.titles) if shape.titles else None),
        rest=rest,
        page=text_of(_at(tree, shape.page)) if shape.page else "",
        consent=told if isinstance(told, bool) else None,
        unique=shape.unique,
        test=any(map(_is_yes, [*map(headers.get, _TEST_HEADERS), _at(tree, shape.test) if shape.test else None])),
    )


def _is_yes(value: Any) -> bool:
    return text_of(value).casefold() in ("yes", "true", "1")


def _at(tree: Any, path: str) -> Any:
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _without(tree: Any, paths: Iterable[str]) -> Any:
    """A copy without these."""
    if not isinstance(tree, Mapping):
        return tree
    left = {path.partition(".")[0]: path.partition(".")[2] for path in paths if "." not in path}
    kept = {name: value for name, value in tree.items() if name not in left}
    for path in paths:
        name, _, inner = path.partition(".")
        if inner and name in kept:
            kept[name] = _without(kept[name], (inner,))
    return kept


def _answers(node: Any, label: str = "") -> Iterator[Answer]:
    if isinstance(node, Mapping):
        if label and (told := _told(node, label)):
            yield told
            return
        for name, value in node.items():
            yield from _answers(value, f"{label} {name}".strip())
    elif isinstance(node, list) and any(isinstance(one, Mapping) for one in node):
        for one in node:
            yield from _answers(one, label or " ")
    elif text := text_of(node):
        yield Answer(label, (label,), text)


def _told(node: Mapping[str, Any], label: str) -> Answer | None:
    """An answer that is told together with its name, its type or both."""
    kind = node.get("type")
    values = (*_VALUES, kind) if isinstance(kind, str) else _VALUES
    value = next((name for name in values if name in node), None)
    known = {*_NAMES, *_BESIDE, *values}
    if value is None or not node.keys() <= known:
        return None
    # Beside a label a key is no more than an id.
    known_by = [name for name in _NAMES if name != "key" or "label" not in node]
    asked = node.get("field")
    places = [node, asked if isinstance(asked, Mapping) else {}]
    names = [str(place[name]) for name in known_by for place in places if place.get(name) and name != value]
    own = [label.strip()] if label.strip() and label.strip() not in names else []
    names = [*names[:-1], *own, names[-1]] if kind and names else [*names, *own]
    return Answer(names[0] if names else "?", tuple(names), text_of(_chosen(node[value], node.get("options"))))


def _chosen(value: Any, options: Any) -> Any:
    """The texts of what was chosen, where the answer tells only ids of them."""
    listed = [one for one in options if isinstance(one, Mapping)] if isinstance(options, list) else []
    texts = {text_of(one.get("id")): one.get("text") for one in listed if one.get("text")}
    chosen = [texts.get(text_of(one), one) for one in (value if isinstance(value, list) else [value])]
    return chosen if isinstance(value, list) else chosen[0]


def _titled(answers: list[Answer], fields: Any) -> list[Answer]:
    """With the question that people were asked, where it stands apart from the answers."""
    asked = [one for one in fields if isinstance(one, Mapping)] if isinstance(fields, list) else []
    titles = {str(one.get("id")): str(one.get("title") or "") for one in asked}
    return [
        Answer(title, (title, *one.names), one.text)
        if (title := next((titles[name] for name in one.names if titles.get(name)), ""))
        else one
        for one in answers
    ]


def _questions(asked: Mapping[str, Any], shape: Shape, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Jotform calls a question q3_fullName, and gives names, numbers and times in parts. What stands there already
    keeps its name."""
    found: dict[str, Any] = {}
    for name, value in asked.items():
        own = re.sub(f"^{shape.prefix}", "", name)
        found[own if own not in asked and own not in found else name] = value
    unnamed = [name for name in found if re.fullmatch(shape.unnamed, name)]
    told = text_of(_at(tree, shape.labels)) if unnamed else ""
    called = labels(told, {name: text_of(value) for name, value in found.items()}, unnamed)
    named: dict[str, Any] = {}
    for name, value in found.items():
        label = called.get(name, name)
        whole = whole_name(value) if name in unnamed else value
        named[label if label not in found and label not in named else name] = whole_of(whole)
    names = [name for name, value in found.items() if _A_NAME.search(name) or (name in unnamed and is_name(value))]
    for name in names:
        # The only one is the visitor's, as patientsName is. Of several we go by what they are called.
        key = "name" if len(names) == 1 else name.rstrip("0123456789")
        if isinstance(named.get(name), Mapping) and key not in named:
            named[key] = named.pop(name)
    return named


def _numbered(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Gravity Forms numbers the parts of a field: 1.3 is a first name and 1.6 a last name, unless it is an address."""
    found = {}
    for name, value in _with_boxes(tree).items():
        number, _, part = name.partition(".")
        is_address = any(f"{number}.{street}" in tree for street in ("1", "5"))
        ours = {"3": "first name", "6": "last name"}.get(part) if not is_address else None
        found[ours if ours and ours not in found else name] = value
    return found


def _with_boxes(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A box in Gravity Forms that asks for consent is 6.1, which says 1 where it is ticked, 6.2, its text, and 6.3,
    which of its texts. Here it is a field called by its text. What else is numbered so, as addresses are, stays."""
    found = dict(tree)
    for number in {name.partition(".")[0] for name in tree}:
        parts = {name: text_of(value) for name, value in tree.items() if name.startswith(f"{number}.")}
        ticked, text, version = (parts.pop(f"{number}.{part}", "") for part in "123")
        is_box = text.count(" ") > 2 and (not version or version.isdecimal()) and not parts
        if ticked == "1" and is_box and text not in found:
            found[text] = found.pop(f"{number}.1")
            del found[f"{number}.2"]
    return found
