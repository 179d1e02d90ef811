"""Multiple choice by likelihood: margins, correctness, and items from the small world or a file."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.suites.choice import build
from harness.suites import SuiteContext, SuiteError, margin

FULL = SuiteContext(hub=None, profile_dir=".", samples="full")


def answers(*sums: float) -> list[dict]:
    return [{"logprob": total, "tokens": 1, "greedy": False} for total in sums]


def write(tmp_path, *items: dict) -> SuiteContext:
    (tmp_path / "items.jsonl").write_text("\n".join(json.dumps(item, ensure_ascii=False) for item in items), encoding="utf-8")
    return SuiteContext(hub=None, profile_dir=str(tmp_path))


ITEM = {"id": "a", "language": "tha", "cluster": "c", "context": "ตลาด", "choices": ["ขาว", " ab", " rice"], "gold": 1, "stratum": "s"}


@pytest.fixture
def suite():
    return build("c", ("tha",), items="items.jsonl", chance=1 / 3)


def test_a_row_has_both_margins_and_both_verdicts(tmp_path, suite):
    (sample,) = suite.samples(write(tmp_path, ITEM))
    assert [request.continuation for request in sample.requests] == ITEM["choices"]
    assert {request.context for request in sample.requests} == {"ตลาด"}
    row = suite.row(sample, answers(-9.0, -3.0, -2.0))
    assert row.values == {"margin": -1.0, "correct": 0.0, "margin_per_byte": pytest.approx(-3 / 3 - -2 / 5), "correct_per_byte": 0.0}
    row = suite.row(sample, answers(-9.0, -1.5, -2.0))
    assert row.values["margin"] == 0.5
    assert row.values["correct"] == 1.0
    assert row.values["margin_per_byte"] == pytest.approx(-1.5 / 3 - -2.0 / 5)  # bytes of UTF-8: 9, 3 and 5
    assert row.values["correct_per_byte"] == 0.0
    assert row.shown == {"context": "ตลาด", "gold": " ab", "likeliest": " ab"}
    assert (row.cluster, row.stratum, row.language) == ("c", "s", "tha")


def test_a_tie_is_not_correct(tmp_path, suite):
    (sample,) = suite.samples(write(tmp_path, ITEM))
    assert suite.row(sample, answers(-2.0, -2.0, -5.0)).values["correct"] == 0.0


@given(st.lists(st.floats(-50, 0), min_size=2, max_size=6), st.data(), st.floats(-9, 9))
def test_a_margin_is_positive_exactly_where_gold_wins_and_moves_with_nothing_shared(sums, data, shift):
    gold = data.draw(st.integers(0, len(sums) - 1))
    value = margin(sums, [gold])
    assert (value > 0) == all(sums[gold] > other for i, other in enumerate(sums) if i != gold)
    assert margin([one + shift for one in sums], [gold]) == pytest.approx(value, abs=1e-9)


def test_nan_is_never_correct(tmp_path, suite):
    (sample,) = suite.samples(write(tmp_path, ITEM))
    row = suite.row(sample, answers(float("nan"), float("nan"), float("nan")))
    assert row.values["correct"] == 0.0
    assert row.values["margin"] != row.values["margin"]


@pytest.mark.parametrize(("items", "count", "chance"), [("choice_items", 4, 0.25), ("cause_items", 2, 0.5)])
def test_the_small_world_has_items_of_one_story_in_every_language(items, count, chance):
    suite = build("c", ("eng", "vie"), items=f"training.world.items:{items}", count=12)
    samples = list(suite.samples(FULL))
    assert [len([s for s in samples if s.language == language]) for language in suite.languages] == [12, 12]
    assert {len(sample.requests) for sample in samples} == {count}
    assert len({sample.cluster for sample in samples}) == 12
    metrics = {metric.name: metric for metric in suite.metrics}
    assert metrics["accuracy"].chance == chance
    assert metrics["accuracy"].binary
    assert not metrics["margin"].binary
    assert {metric.direction for metric in suite.metrics} == {"higher"}


def test_quick_samples_are_fewer_and_the_same_stories():
    suite = build("c", ("eng", "vie"), items="training.world.items:cause_items", count=40, quick=5)
    samples = list(suite.samples(SuiteContext(hub=None, profile_dir=".", samples="quick")))
    assert len(samples) == 2 * 2 * 5  # languages, cause and effect
    assert {s.cluster for s in samples if s.language == "eng"} == {s.cluster for s in samples if s.language == "vie"}


@pytest.mark.parametrize("broken", [{"gold": 3}, {"gold": -1}, {"choices": ["a"]}, {"choices": ["a", ""]}, {"choices": ["a", "a"]}])
def test_a_misshapen_item_is_named(tmp_path, suite, broken):
    with pytest.raises(SuiteError, match="item a: it needs"):
        list(suite.samples(write(tmp_path, ITEM | broken)))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("nowhere.jsonl", "nowhere"),
        ("no.such.module:function", "neither module:function nor"),
        ("training.world.items:nothing", "neither module:function nor"),
        ("training.world.items", "neither module:function nor"),
    ],
)
def test_missing_items_are_named(tmp_path, items, message):
    with pytest.raises(SuiteError, match=message):
        list(build("c", ("tha",), items=items).samples(SuiteContext(hub=None, profile_dir=str(tmp_path))))


def test_a_language_the_world_does_not_have_is_named():
    with pytest.raises(SuiteError, match="no items for xxx"):
        list(build("c", ("xxx",)).samples(FULL))


def test_a_line_that_is_no_item_is_named(tmp_path, suite):
    with pytest.raises(SuiteError, match="row 1 is not an item"):
        list(suite.samples(write(tmp_path, {"id": 1, "choices": []})))
    (tmp_path / "items.jsonl").write_text("{")
    with pytest.raises(SuiteError, match="line 1"):
        list(suite.samples(SuiteContext(hub=None, profile_dir=str(tmp_path))))


def test_one_bad_item_of_a_hundred_is_left_out_and_two_take_the_value(tmp_path, suite):
    """At 1 % the others are scored and the count is said; beyond it the bad ones stay as rows without a value."""
    good = [ITEM | {"id": f"{i}", "cluster": f"{i}"} for i in range(99)]
    found = list(suite.samples(write(tmp_path, *good, ITEM | {"id": "bad", "gold": 7})))
    assert [sample.invalid for sample in found] == [""] * 99
    assert suite.facts["invalid"]["tha"]["left out"] == 1
    assert "item bad" in suite.facts["invalid"]["tha"]["the first"]
    found = list(suite.samples(write(tmp_path, *good, {"id": "bad", "language": "tha"}, {"id": "whose", "choices": []})))
    assert [bool(sample.invalid) for sample in found] == [False] * 99 + [True] * 2
    assert suite.facts["invalid"]["tha"]["too many"] == 2
    assert not any(sample.requests for sample in found[99:])
