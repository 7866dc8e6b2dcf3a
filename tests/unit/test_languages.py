"""The languages that visitors are spoken to in: each has every sentence, and the values in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from babel import Locale
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po

import leads
from leads.fields import ASKED
from leads.languages import ENGLISH, LANGUAGES, Sentence, translated
from leads.store.sites import DEFAULT_CONSENT

CODE = Path(leads.__file__).parent
OTHERS = [language for language in LANGUAGES if language != ENGLISH]


def _said_to_visitors() -> set[str]:
    pages = (CODE / "intake" / "templates").glob("*.html")
    found = [
        *(line for page in pages for line in extract_from_file("jinja2.ext:babel_extract", page, keywords={"_": None})),
        *extract_from_file("python", CODE / "fields.py", keywords={"ValidationError": None, "Sentence": None}),
    ]
    return {DEFAULT_CONSENT, *ASKED.values(), *(str(text) for _, text, *_ in found)}


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_for_visitors_is_there_and_none_too_many(language: str) -> None:
    with (CODE / "languages" / f"{language}.po").open("rb") as file:
        catalogue = read_po(file, locale=language, abort_invalid=True)
    sentences = {str(message.id): message for message in catalogue if message.id}
    assert _said_to_visitors() == sentences.keys()
    for english, message in sentences.items():
        assert message.string
        assert not message.fuzzy
        assert re.findall(r"\{\w+\}", str(message.string)) == re.findall(r"\{\w+\}", english)


def test_the_sentences_are_found_where_they_stand() -> None:
    assert {"Thank you", "Phone", "This must be text.", "Please keep this under {limit} characters."} <= (
        _said_to_visitors()
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_is_called_as_browsers_know_it(language: str) -> None:
    assert Locale.parse(language, sep="-").language == language


def test_the_values_of_a_sentence_stand_in_its_translation() -> None:
    told = Sentence("Please keep this under {limit} characters.", limit=60)
    assert told == "Please keep this under 60 characters."
    assert "60" in translated(told, "de")
    assert translated(told, "de") != told


@pytest.mark.parametrize("language", [ENGLISH, "tlh", "../de"])
def test_what_nobody_has_translated_is_in_english(language: str) -> None:
    assert translated("Thank you", language) == "Thank you"


def test_a_sentence_that_is_new_is_in_english() -> None:
    assert translated("Nobody has translated this.", "de") == "Nobody has translated this."
