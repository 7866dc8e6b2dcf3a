"""The languages in which a visitor is spoken to. Another one is another `.po` file in here, and nothing else.

The code speaks English. GNU gettext's format, so that translators can work with their usual tools; a test tells which
sentences a file has not yet.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from babel.messages.pofile import read_po

ENGLISH = "en"
_FOLDER = Path(__file__).parent
LANGUAGES = sorted([ENGLISH, *(file.stem for file in _FOLDER.glob("*.po"))])  # as HTML's `lang` has them


class Sentence(str):
    """A sentence in English that knows the values within it, so that it can be translated later."""

    pattern: str
    values: dict[str, object]

    def __new__(cls, pattern: str, **values: object) -> Sentence:
        made = super().__new__(cls, pattern.format(**values))
        made.pattern, made.values = pattern, values
        return made


def translated(text: str, language: str) -> str:
    """The text in this language; in English where nobody has translated it."""
    if isinstance(text, Sentence):
        return translated(text.pattern, language).format(**text.values)
    return _sentences(language).get(text, text)


@cache
def _sentences(language: str) -> dict[str, str]:
    """By their English. None of a language that only another version of ours has."""
    if language not in LANGUAGES or language == ENGLISH:
        return {}
    with (_FOLDER / f"{language}.po").open("rb") as file:
        catalogue = read_po(file, locale=language, abort_invalid=True)
    return {str(message.id): str(message.string) for message in catalogue if message.id and message.string}
