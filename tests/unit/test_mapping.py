"""Rules and plans: what they write, what is wrong with them, and what the CRM would not take."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from integrations.core.base import RemoteField
from integrations.core.errors import TryLater
from integrations.sandbox import Sandbox
from leads.desk.mapform import choices_of, plan_in, rows_of
from leads.intake.attribution import ATTRIBUTION
from leads.sync.mapping import HEALTH, SOURCES, WRITES, apply, default_rules, is_health, mapped, touches
from leads.sync.plan import DEFAULT_SHARE, SHAREABLE, Plan, PlanError, changes, describe, load_plan
from leads.sync.remote_fields import Asked, ask_fields, examine, health_data
from tests.fakes import FakeCrm

FACTS = {"first_name": "Jane", "phone": "", "service": "Implants", "source": "website"}
_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
_RULE = st.fixed_dictionaries(
    {"write": st.sampled_from(WRITES)},
    optional={"otherwise": _TEXT, "values": st.dictionaries(_TEXT, _TEXT, max_size=3)},
)


@st.composite
def _plans(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(_TEXT, unique=True, max_size=5))
    origin = st.one_of(
        st.sampled_from(list(SOURCES)).map(lambda name: {"from": name}), _TEXT.map(lambda text: {"value": text})
    )
    rules = [{"to": name, **draw(origin), **draw(_RULE)} for name in names]
    return {"mapping": rules, "share": draw(st.lists(st.sampled_from(SHAREABLE), unique=True))}


def _field(name: str, **more: Any) -> RemoteField:
    return RemoteField(name, name.title(), **more)


def wrong(rules: list[dict[str, Any]], *fields: RemoteField) -> list[str]:
    """What the CRM with these fields would not take of these rules."""
    return [finding.sentence for finding in examine(Plan(rules, []), Asked(list(fields))) if not finding.ok]


def test_a_rule_writes_always_or_only_when_empty_or_never() -> None:
    rules = [
        {"to": "a", "from": "first_name", "write": "always"},
        {"to": "b", "from": "first_name", "write": "when_empty"},
        {"to": "c", "from": "first_name"},
        {"to": "d", "from": "service", "write": "never"},
    ]
    assert apply(rules, FACTS) == ({"a": "Jane"}, {"b": "Jane", "c": "Jane"})
    assert mapped(rules) == {"first_name"}, "what is off is not mapped"


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({"value": "web"}, "web"),
        ({"from": "service"}, "Implants"),
        ({"from": "service", "values": {"Implants": "IMP"}}, "IMP"),
        ({"from": "service", "values": {"Crowns": "CRO"}}, "Implants"),
        ({"from": "service", "values": {"Implants": ""}, "otherwise": "none"}, "none"),
        ({"from": "phone", "otherwise": "none"}, "none"),
        ({"from": "email", "otherwise": "none"}, "none"),
        ({"from": "phone", "values": {"": "empty"}}, "empty"),
        ({"from": "phone"}, None),
    ],
)
def test_constants_values_and_fallbacks(rule: dict[str, Any], text: str | None) -> None:
    _, when_empty = apply([{"to": "field", **rule}], FACTS)
    assert when_empty.get("field") == text


@given(_plans())
def test_a_plan_is_the_same_after_a_file(given_plan: dict[str, Any]) -> None:
    plan = load_plan(given_plan)
    assert plan.dump() == given_plan
    assert load_plan(yaml.safe_load(yaml.safe_dump(plan.dump(), sort_keys=False, allow_unicode=True))) == plan
    assert load_plan(json.loads(json.dumps(plan.dump()))).mark() == plan.mark()
    assert changes(plan, plan) == []


def test_the_form_gives_back_what_it_was_given() -> None:
    rules = [
        {"to": "source", "value": "web", "write": "always"},
        {
            "to": "kind",
            "from": "service",
            "write": "when_empty",
            "values": {"Implants": "a = b", "2=1": "c"},
            "otherwise": "none",
        },
        {"to": "phone", "from": "phone", "write": "never"},
    ]
    plan = load_plan({"mapping": rules, "share": ["page"]})
    form = MultiDict(
        {f"{name}-{n}": text for n, row in enumerate(rows_of(plan.rules)) for name, text in row._asdict().items()}
    )
    form.add("share", "page")
    assert plan_in(form) == plan


def test_a_line_without_equals_is_no_pair() -> None:
    form = MultiDict({"to-0": "kind", "source-0": "service", "write-0": "always", "values-0": "Implants\nCrowns = CRO"})
    with pytest.raises(PlanError, match="Rule 1, their words for ours: write ours = theirs on each line"):
        plan_in(form)


def test_rules_are_told_by_the_place_where_the_form_shows_them() -> None:
    """The numbers in the form may have gaps: one that was removed, say."""
    form = MultiDict({"to-2": "a", "source-2": "email", "write-2": "always", "to-10": "", "source-10": "email"})
    with pytest.raises(PlanError) as raised:
        plan_in(form)
    assert raised.value.sentences == [
        "Rule 2, field of the CRM: Say which field of the CRM it is, in at most 200 characters.",
        "Rule 2, when it is written: Choose when_empty, always or never.",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("just a text", "A file has two parts, `mapping` and `share`."),
        ("mapping: []", "share: This part is missing."),
        ("{share: []}", "mapping: This part is missing."),
        ("{mapping: [], share: [], more: 1}", "more: There is no such part: a file has `mapping` and `share`."),
        ("{mapping: {}, share: []}", "mapping: This must be a list of rules."),
        ("{mapping: [], share: page}", "share: This must be a list."),
        ("{mapping: [], share: [email]}", "share: An activity can tell: reference, site,"),
        ("{mapping: [{from: email}], share: []}", "Rule 1, field of the CRM: Say which field of the CRM it is"),
        ("{mapping: [{to: a, from: mail}], share: []}", "Rule 1 (a), our field: We have no such field. We have: first"),
        ("{mapping: [{to: a, from: extra.}], share: []}", "Rule 1 (a), our field: We have no such field."),
        ('{mapping: [{to: a, from: "extra.a\\nb"}], share: []}', "Rule 1 (a), our field: Write it in one line"),
        ("{mapping: [], share: [extra.a]}", "share: An activity can tell: reference, site,"),
        ("{mapping: [{to: a}], share: []}", "Rule 1 (a), our field: Give either a field of ours or a text"),
        ("{mapping: [{to: a, from: email, value: x}], share: []}", "Rule 1 (a), our field: Give either a field"),
        ("{mapping: [{to: a, value: x, write: no}], share: []}", "Rule 1 (a), when it is written: This must be text"),
        ("{mapping: [{to: a, value: x, write: now}], share: []}", "Rule 1 (a), when it is written: Choose when_empty,"),
        ('{mapping: [{to: a, value: "x\\x85"}], share: []}', "Rule 1 (a), text: Write it in one line"),
        ("{mapping: [{to: a, value: x, form: y}], share: []}", "Rule 1 (a), form: There is no such word in a rule."),
        (
            "{mapping: [{to: a, from: consent, values: {yes: given}}], share: []}",
            "Rule 1 (a), their words for ours: This must be text; put yes, no and numbers in quotes.",
        ),
        (
            "{mapping: [{to: a, value: x}, {to: a, value: y}], share: []}",
            "Rule 2 (a), field of the CRM: An earlier rule",
        ),
        ("{mapping: , share: []}", "mapping: This must be a list of rules."),
        ("{mapping: [], share: }", "share: This must be a list."),
        ("{mapping: [], share: [5]}", "share: An activity can tell: reference, site,"),
        ("{mapping: [nothing], share: []}", "Rule 1: Each rule is a list of words."),
    ],
)
def test_what_is_wrong_with_a_plan_is_told_by_its_place(text: str, sentence: str) -> None:
    with pytest.raises(PlanError) as raised:
        load_plan(yaml.safe_load(text))
    [told_] = raised.value.sentences
    assert told_.startswith(sentence)


def test_all_that_is_wrong_with_a_plan_is_told_at_once() -> None:
    with pytest.raises(PlanError) as raised:
        load_plan({"mapping": [{"to": "a", "from": "mail"}, {"from": "email"}], "share": ["email"], "more": 1})
    assert [sentence.split(":")[0] for sentence in raised.value.sentences] == [
        "Rule 1 (a), our field",
        "Rule 2, field of the CRM",
        "share",
        "more",
    ]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"to": "tel", "from": "phone"}, "Phone → tel, only when empty"),
        ({"to": "src", "value": "web", "write": "always"}, "“web” → src, always"),
        (
            {"to": "k", "from": "service", "write": "never", "values": {"A": "B"}, "otherwise": "C"},
            "Service asked for → k, never (off), with A = B, “C” when nothing was given",
        ),
    ],
)
def test_a_rule_in_words(rule: dict[str, Any], words: str) -> None:
    assert describe(rule) == words


def test_changes_in_words() -> None:
    before = Plan([{"to": "a", "from": "phone"}, {"to": "b", "from": "email"}], ["site"])
    after = Plan([{"to": "a", "from": "phone", "write": "always"}, {"to": "c", "value": "x"}], ["page"])
    assert changes(before, after) == [
        "Changed: Phone → a, only when empty. Now: Phone → a, always.",
        "New: “x” → c, only when empty.",
        "Gone: E-mail → b, only when empty.",
        "Activities tell: Page.",
        "Activities no longer tell: Website.",
    ]
    assert before.mark() != after.mark()


def test_minimum_necessary_until_somebody_decides() -> None:
    assert health_data(Plan(default_rules(Sandbox), DEFAULT_SHARE)) == []
    mapped_off = {"to": "notes", "from": "message", "write": "never"}
    assert health_data(Plan([mapped_off], [])) == []
    assert health_data(Plan([{"to": "notes", "from": "message"}], ["page"])) == [
        "Message into the field notes",
        "Page into the activities",
    ]
    own = {"to": "notes", "from": "extra.Last illness?"}
    assert health_data(Plan([own], ["landing"])) == [
        "Own question “Last illness?” into the field notes",
        "Page where they arrived into the activities",
    ]
    assert health_data(Plan([own | {"write": "never"}], [])) == []


@pytest.mark.parametrize(
    ("rules", "field", "sentence"),
    [
        ([{"to": "shoe", "from": "email"}], _field("email"), "Rule 1: the CRM has no field “shoe”."),
        ([], _field("name", required=True), "The CRM requires “Name” (name), and no rule writes it."),
        (
            [{"to": "name", "from": "full_name", "write": "never"}],
            _field("name", required=True),
            "The CRM requires “Name” (name), and no rule writes it.",
        ),
        (
            [{"to": "name", "from": "full_name"}],
            _field("name", required=True),
            "Rule 1: the CRM requires “Name”. Say what is written when nothing was given.",
        ),
        (
            [{"to": "kind", "value": "web"}],
            _field("kind", choices={"W": "Website"}),
            "Rule 1: “web” cannot be chosen. “Kind” takes only: W.",
        ),
        (
            [{"to": "kind", "from": "service", "values": {"A": "W", "B": "X"}, "otherwise": "Y"}],
            _field("kind", choices={"W": "Website"}),
            "Rule 1: “X”, “Y” cannot be chosen. “Kind” takes only: W.",
        ),
        (
            [{"to": "kind", "from": "service"}],
            _field("kind", choices={"W": "Website"}),
            "Rule 1: say which of their words stands for each of ours. “Kind” takes only: W.",
        ),
    ],
)
def test_what_the_crm_would_not_take(rules: list[dict[str, Any]], field: RemoteField, sentence: str) -> None:
    assert wrong(rules, field) == [sentence]


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"to": "name", "from": "full_name", "otherwise": "Unknown"}, _field("name", required=True)),
        ({"to": "name", "from": "reference"}, _field("name", required=True)),
        ({"to": "kind", "value": "W"}, _field("kind", choices={"W": "Website"})),
        ({"to": "kind", "from": "service", "values": {"A": "W"}}, _field("kind", choices={"W": "Website"})),
    ],
)
def test_what_the_crm_takes(rule: dict[str, Any], field: RemoteField) -> None:
    assert wrong([rule], field, _field("more")) == []


def test_a_crm_that_cannot_be_asked_stops_nobody_and_promises_nothing() -> None:
    class Silent(FakeCrm):
        trouble: Exception = TryLater("timeout", "The CRM did not answer in time.")

        def remote_fields(self) -> list[RemoteField]:
            raise self.trouble

    crm, plan = Silent(), Plan([{"to": "shoe", "from": "email"}], [])
    [finding] = examine(plan, ask_fields(crm))
    assert (finding.ok, finding.sentence) == (
        False,
        "The CRM could not be asked for its fields: The CRM did not answer in time.",
    )
    crm.trouble = KeyError("label")
    assert [one.ok for one in examine(plan, ask_fields(crm))] == [False]
    [finding] = examine(plan, ask_fields(FakeCrm()))
    assert (finding.ok, finding.sentence) == (True, "This CRM does not tell its fields: nothing was compared.")


def test_a_field_that_the_crm_does_not_have_stays_chosen() -> None:
    fields = [_field("b", type="number"), _field("a")]
    assert choices_of(fields, "a") == [("a", "A (a, text)"), ("b", "B (b, number)")]
    assert choices_of(fields, "z")[0] == ("z", "z (the CRM does not have it)")


def test_what_led_here_first_is_what_led_here_where_nothing_else_is_known() -> None:
    assert touches({"utm_source": "google"}) == {"utm_source": "google", "first_utm_source": "google"}
    both = {"utm_source": "news", "referrer": "https://news.example/", "first_landing": "https://clinic.example/"}
    assert touches(both) == both
    assert touches({}) == {}


def test_each_touch_can_be_mapped_and_both_are_as_private() -> None:
    for name in ATTRIBUTION:
        assert name in SOURCES
        assert is_health(name) == is_health(name.removeprefix("first_")) == (name in HEALTH)
