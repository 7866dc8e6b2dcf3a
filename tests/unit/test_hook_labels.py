"""Labels that Jotform tells only in one line with all answers: found where they are certain, and never guessed."""

from __future__ import annotations

import time

import pytest

from leads.intake.hooks.pretty import labels


@pytest.mark.parametrize(
    ("text", "beside", "answer", "label"),
    [
        ("Which treatment?:Crowns", [], "Crowns", "Which treatment?"),
        ("Which, if any, treatment:Crowns", [], "Crowns", "Which, if any, treatment"),
        ("Name:Ada, Which treatment?:Crowns, Town:Rome", ["Ada"], "Crowns", "Which treatment?"),
        ("Name:Ada, Which, if any, treatment?:Crowns", ["Ada"], "Crowns", "Which, if any, treatment?"),
        ("Note:I hope, soon, Treatment:Crowns, small", ["I hope, soon"], "Crowns, small", "Treatment"),
        ("Note:see: this, Treatment:Crowns", ["see: this"], "Crowns", "Treatment"),
        ("Page:https://a.test/, Treatment::Crowns", ["https://a.test/"], "Crowns", "Treatment"),
        ("Phone:(201) 555-0177, Treatment:Crowns", ["201, 555-0177"], "Crowns", "Treatment"),
        ("Born:03/09/1980, Treatment:Crowns", ["9, 3, 1980"], "Crowns", "Treatment"),
        ("At:2:05 PM, Treatment:Crowns", ["02:05, 2, 05, PM"], "Crowns", "Treatment"),
        ("Name:Ада, Имя врача:Грег", ["Ада"], "Грег", "Имя врача"),
        # what stands before is not what somebody answered, so the label may begin earlier, or later
        ("Slot:Monday, March 9, Treatment:Crowns", ["2026-03-09"], "Crowns", None),
        ("Doctor: last, name:Bob", [], "Bob", None),
        ("Time (8:00, or later):Noon", [], "Noon", None),
        ("Name:Ada, Byron, Town:Rome", ["Ada", "Ada, Byron"], "Rome", None),
        # the answer stands there twice, or as a part of another one
        ("Smoker:Yes, Diabetes:Yes", ["Yes"], "Yes", None),
        ("Smoker:Yes, Diabetes:Yes", [], "Yes", None),
        ("Treatment:Crowns, small, Other:-", ["Crowns, small"], "Crowns", None),
        ("Note:I want:Crowns, Treatment:Crowns", ["I want:Crowns"], "Crowns", None),
        # or not at all
        ("Treatment:Crowns and more", [], "Crowns", None),
        ("Crowns", [], "Crowns", None),
        (":Crowns", [], "Crowns", None),
        ("", [], "Crowns", None),
        ("Treatment:!", [], "!", None),
        ("Treatment:", [], "", None),
    ],
)
def test_a_label_is_told_where_it_is_certain(text: str, beside: list[str], answer: str, label: str | None) -> None:
    answers = dict(zip("abc", beside, strict=False)) | {"input8": answer}
    assert labels(text, answers, ["input8"]) == ({"input8": label} if label else {})


@pytest.mark.parametrize(
    "text",
    ["a:b, " * 12_000, ":" * 60_000, ", " * 30_000, "a:" + "b, " * 20_000 + "c:d", "a:" * 30_000, "x" * 60_000],
    ids=["answers", "colons", "commas", "one answer", "labels", "a word"],
)
def test_what_somebody_types_to_keep_us_busy_does_not(text: str) -> None:
    answers = {f"input{number}": "b, " * number + "c" for number in range(200)} | {"input999": "d"}
    began = time.process_time()
    labels(text, answers, list(answers))
    assert time.process_time() - began < 5  # half a second alone on a machine; a square of it would be minutes
