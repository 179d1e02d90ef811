"""Published data on culture as items: made mirrors in the Hub's fields, rows that cannot be judged, and Global-MMLU-Lite where the mirror has it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.suites.culture.originals import VARIANTS
from harness.rows import Rows, StatisticsError
from harness.statistics import estimate
from harness.suites import Sample, SuiteContext, SuiteError, SuiteSpec, load
from tests.benchmarks.parallel_kit import put
from tests.benchmarks.test_culture import likelihoods

EASY = "kellycyy/CulturalBench/CulturalBench-Easy/test.jsonl"
HARD = "kellycyy/CulturalBench/CulturalBench-Hard/test.jsonl"
BLEND = "nayeon212/BLEnD/multiple-choice-questions/test.jsonl"
INDO = "indolem/IndoCulture/default/test.jsonl"
LITE = "CohereLabs/Global-MMLU-Lite/{}/test.jsonl"


def easy(i: int) -> dict[str, Any]:
    options = {f"prompt_option_{letter}": f"Dish {i} {letter}" for letter in "abcd"}
    return {"data_idx": i, "question_idx": i, "prompt_question": f"Which dish {i}?", **options, "answer": "ABCD"[i % 4], "country": ("Thailand", "Peru")[i % 2]}  # fmt: skip


def hard(i: int) -> dict[str, Any]:
    question = i // 4
    return {"data_idx": i, "question_idx": question, "prompt_question": f"Which dish {question}?", "prompt_option": f"Dish {i}", "answer": i % 4 == question % 4, "country": ("Vietnam", "Peru")[question % 2]}  # fmt: skip


def blend(i: int) -> dict[str, Any]:
    return {"MCQID": f"q{i}", "ID": f"id-{i // 8}", "country": ("West_Java", "Spain")[i // 40], "prompt": f"Snack {i}?\n\nA. a\nB. b\nC. c\nD. d\n\nAnswer:", "choices": "{}", "choice_countries": "{}", "answer_idx": "ABCD"[i % 4]}  # fmt: skip


def indo(i: int) -> dict[str, Any]:
    return {"province": ("Aceh", "Bali")[i % 2], "context": f"Pada pesta {i},", "options": str([f"{letter}. tamu {i} {letter}." for letter in "ABC"]), "answer": "ABC"[i % 3]}  # fmt: skip


def lite(i: int, word: str = "Soal") -> dict[str, Any]:
    options = {f"option_{letter}": f"{word} {i} {letter}" for letter in "abcd"}
    return {"sample_id": f"law/test/{i}", "subject": "law", "question": f"{word} {i}?", **options, "answer": "ABCD"[i % 4], "cultural_sensitivity_label": ("CS", "CA")[i % 2]}  # fmt: skip


def suite_of(dataset: str, *languages: str, **options: Any) -> Any:
    return load(SuiteSpec(suite="culture", languages=languages, options={"dataset": dataset, **options}), "culture")


def samples(suite: Any, hub: Path | None, size: Any = "full") -> list[Sample]:
    return list(suite.samples(SuiteContext(hub=str(hub) if hub else None, profile_dir=".", samples=size)))


def test_culturalbench_easy_is_the_countrys_questions_in_english(tmp_path: Path) -> None:
    put(tmp_path, EASY, map(easy, range(1227)))
    suite = suite_of("culturalbench_easy", "tha")
    found = samples(suite, tmp_path)
    assert len(found) == 614
    assert [request.continuation for request in found[0].requests] == [f"Dish 0 {letter}" for letter in "abcd"]
    assert {request.context for request in found[0].requests} == {"Which dish 0?\n"}
    assert [metric.name for metric in suite.metrics if metric.binary] == ["culturalbench_easy-like_accuracy_english", "culturalbench_easy-like_accuracy_per_byte_english"]  # fmt: skip
    assert suite.groups == {"Thailand": ("tha",)}
    assert suite.facts["data"] == {EASY: 1227}
    assert len(samples(suite, tmp_path, "quick")) == 20


def test_culturalbench_hard_is_right_where_all_four_statements_are(tmp_path: Path) -> None:
    put(tmp_path, HARD, map(hard, range(4908)))
    suite = suite_of("culturalbench_hard", "vie")
    first, *rest = samples(suite, tmp_path)
    assert len(rest) + 1 == 614
    assert [request.continuation for request in first.requests] == [" False", " True"] * 4
    assert first.requests[2].context == "Which dish 0?\nDish 1\nTrue or false?"
    assert [part.gold for part in first.data.forms["english"].parts] == [1, 0, 0, 0]
    answers = likelihoods(first, lambda _: True)
    assert suite.row(first, answers).values["correct_english"] == 1.0
    answers[6], answers[7] = answers[7], answers[6]  # one of four wrong
    row = suite.row(first, answers)
    assert row.values["correct_english"] == 0.0
    assert row.values["margin_english"] < 0
    assert {metric.chance for metric in suite.metrics if metric.binary} == {1 / 16}


def test_blend_keeps_the_rows_own_prompt_and_five_variants_of_a_question(tmp_path: Path) -> None:
    put(tmp_path, BLEND, map(blend, range(80)))
    suite = suite_of("blend", "sun")
    found = samples(suite, tmp_path)
    assert len(found) == 5 * VARIANTS
    assert len({sample.cluster for sample in found}) == 5
    assert found[1].requests[0].context.endswith("D. d\n\nAnswer:")
    assert [request.continuation for request in found[1].requests] == [" A", " B", " C", " D"]
    assert found[1].data.forms["english"].parts[0].gold == 1
    assert suite.facts["prompts"] == "BLEnD's own"


@pytest.mark.parametrize("layout", [str, lambda options: "\n".join(options), list])
def test_indoculture_goes_on_with_a_sentence_of_a_province(tmp_path: Path, layout: Callable[[list[str]], Any]) -> None:
    rows = [{**indo(i), "options": layout([f"{letter}. tamu {i} {letter}." for letter in "ABC"])} for i in range(2429)]
    put(tmp_path, INDO, rows)
    found = samples(suite_of("indoculture", "ind"), tmp_path)
    assert len(found) == 2429
    assert {sample.stratum for sample in found} == {"Aceh", "Bali"}
    assert found[1].requests[2].context + found[1].requests[2].continuation == "Bali: Pada pesta 1, tamu 1 C."
    assert found[1].data.forms["native"].parts[0].gold == 1


def test_global_mmlu_lite_is_paired_with_its_english_original(tmp_path: Path) -> None:
    put(tmp_path, LITE.format("id"), map(lite, range(400)))
    put(tmp_path, LITE.format("en"), [lite(i, "Task") for i in reversed(range(400))])
    suite = suite_of("global_mmlu_lite", "ind")
    found = samples(suite, tmp_path)
    assert {sample.stratum for sample in found} == {"CS", "CA"}
    assert [request.context for request in found[7].requests] == ["Soal 7?\n"] * 4 + ["Task 7?\n"] * 4
    assert "global_mmlu_lite-like_gap" in [metric.name for metric in suite.metrics]
    assert suite.groups == {}
    rows = Rows.of([suite.row(one, likelihoods(one, lambda name: name == "english")) for one in found])
    assert estimate(rows, suite.metrics[-1], ["ind"]).value == -1.0


def test_clusters_are_shared_by_the_languages_of_one_original(tmp_path: Path) -> None:
    for config in ("id", "vi", "en"):
        put(tmp_path, LITE.format(config), map(lite, range(400)))
    found = samples(suite_of("global_mmlu_lite", "ind", "vie"), tmp_path)
    assert (len(found), len({sample.cluster for sample in found}), len({sample.sample for sample in found})) == (800, 400, 800)


# -------------------------------------------------------------------------------------------------- rows that are amiss


BROKEN: list[dict[str, Any]] = [{"answer": "E"}, {"answer": None}, {"option_b": " "}, {"option_b": None}, {"option_b": "Soal 9 a", "option_a": "Soal 9 a", "answer": "A"}, {"question": 3}, {"sample_id": "nowhere"}]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("count", [4, 5])
def test_rows_that_cannot_be_judged_are_counted_and_over_one_in_a_hundred_nothing_is_said(tmp_path: Path, broken: dict[str, Any], count: int) -> None:  # fmt: skip
    def row(i: int) -> dict[str, Any]:
        changed = lite(i) | (broken if i < count else {})
        return changed | ({"sample_id": f"nowhere/{i}"} if changed["sample_id"] == "nowhere" else {})

    put(tmp_path, LITE.format("id"), map(row, range(400)))
    put(tmp_path, LITE.format("en"), map(lite, range(400)))
    suite = suite_of("global_mmlu_lite", "ind")
    found = samples(suite, tmp_path)
    rows = Rows.of([suite.row(one, [] if one.data.amiss else likelihoods(one, lambda _: True)) for one in found])
    if count == 4:
        assert suite.facts["invalid"] == {"ind": {"left out": 4}}
        assert len(found) == 396
        assert estimate(rows, suite.metrics[1], ["ind"]).value == 1.0
    else:
        assert suite.facts["invalid"] == {"ind": {"too many": 5}}
        assert sum(math.isnan(one) for one in rows.values["gap"]) == 5
        for metric in suite.metrics:
            with pytest.raises(StatisticsError, match="is nan"):
                estimate(rows, metric, ["ind"])
    assert sum(bool(one.data.amiss) for one in samples(suite, tmp_path, "quick")) == (0 if count == 4 else 5)


@pytest.mark.parametrize(
    ("dataset", "language", "file", "row", "count", "change"),
    [
        ("culturalbench_easy", "tha", EASY, easy, 1227, {"answer": "tom yam"}),
        ("culturalbench_hard", "vie", HARD, hard, 4908, {"answer": "perhaps"}),
        ("culturalbench_hard", "vie", HARD, hard, 4908, {"question_idx": 2}),
        ("blend", "sun", BLEND, blend, 400, {"prompt": ""}),
        ("indoculture", "ind", INDO, indo, 2429, {"options": "['A. x', 'B. y']"}),
        ("indoculture", "ind", INDO, indo, 2429, {"options": "[A. x"}),
        ("indoculture", "ind", INDO, indo, 2429, {"options": "['x', 'y', 'z']"}),
    ],
)
def test_one_broken_row_costs_one_item(tmp_path: Path, dataset: str, language: str, file: str, row: Any, count: int, change: dict[str, Any]) -> None:  # fmt: skip
    rows = [row(i % 40 if dataset == "blend" else i) for i in range(count)]
    if dataset == "blend":  # enough questions that one is under a hundredth
        rows = [one | {"ID": f"id-{i}", "MCQID": f"q{i}"} for i, one in enumerate(rows)]
    rows[0] |= change
    put(tmp_path, file, rows)
    suite = suite_of(dataset, language)
    found = samples(suite, tmp_path)
    assert not any(one.data.amiss for one in found)
    assert sum(suite.facts["invalid"][language].values()) in (1, 2)  # a statement moved to another question spoils both


# ------------------------------------------------------------------------------------------------------------- bad input


def test_what_the_mirror_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="--gate-hub"):
        samples(suite_of("indoculture", "ind"), None)
    with pytest.raises(SuiteError, match=r"has no indolem/IndoCulture/default/test\.jsonl"):
        samples(suite_of("indoculture", "ind"), tmp_path)
    put(tmp_path, INDO, map(indo, range(10)))
    with pytest.raises(SuiteError, match=r"holds 10 rows, indolem/IndoCulture has 2429; .* rows = 10"):
        samples(suite_of("indoculture", "ind"), tmp_path)
    assert len(samples(suite_of("indoculture", "ind", rows=10), tmp_path)) == 10
    (tmp_path / "MANIFEST.json").write_text("{}")
    with pytest.raises(SuiteError, match="does not list"):
        samples(suite_of("indoculture", "ind", rows=10), tmp_path)


def test_a_file_without_rows_of_the_country_is_named(tmp_path: Path) -> None:
    put(tmp_path, EASY, map(easy, range(1227)))
    with pytest.raises(SuiteError, match="no row of Malaysia"):
        samples(suite_of("culturalbench_easy", "zsm"), tmp_path)


@pytest.mark.parametrize(
    ("dataset", "languages", "options", "message"),
    [
        ("blend", ("tha",), {}, "has nothing on tha; it has ind, sun"),
        ("copal_id", ("jav",), {}, "has nothing on jav; it has ind"),
        ("include", ("tha",), {}, "has nothing on tha"),
        ("include", ("ind",), {"mode": "generate"}, "no answers in words"),
        ("indoculture", ("ind",), {"mode": "generate"}, "no answers in words"),
        ("indoculture", ("ind",), {"rows": -1}, "0 or more"),
    ],
)
def test_what_a_data_set_does_not_have_is_named(dataset: str, languages: tuple[str, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        suite_of(dataset, *languages, **options)


# ------------------------------------------------------------------------------------------------------ lm-eval's own tasks


def test_copal_id_is_lm_evals_task(tmp_path: Path) -> None:
    rows = [{"premise": f"Hujan turun {i}.", "choice1": "Jalan basah.", "choice2": "Jalan kering.", "question": "effect", "idx": i, "label": i % 2, "terminology": 0, "culture": 1, "language": 0} for i in range(30)]  # fmt: skip
    put(tmp_path, "haryoaw/COPAL/id/test.jsonl", rows)
    suite = suite_of("copal_id", "ind")
    found = samples(suite, tmp_path)
    assert len(found) == 30
    assert all(len(sample.requests) == 2 for sample in found)


def test_include_is_lm_evals_group_and_its_subjects_are_strata(tmp_path: Path) -> None:
    domains = {"Arts & Humanities", "Social Science", "STEM", "Applied Science", "Professional certification", "Business & Commerce", "Health-Related Education", "Health oriented education"}  # fmt: skip
    rows = [{"language": "Malay", "country": "Malaysia", "domain": domain, "subject": "x", "regional_feature": "culture", "level": "x", "question": f"Apa {i}?", "choices": list("abcd"), **{f"option_{letter}": f"{letter}{i}" for letter in "abcd"}, "answer": i % 4} for domain in sorted(domains) for i in range(6)]  # fmt: skip
    put(tmp_path, "CohereLabs/include-base-44/Malay/test.jsonl", rows)
    put(tmp_path, "CohereLabs/include-base-44/Malay/validation.jsonl", rows)
    suite = suite_of("include", "zsm")
    assert "acc" in {metric.name for metric in suite.metrics}
    assert len({sample.stratum for sample in samples(suite, tmp_path)}) > 1


# ------------------------------------------------------------------------------------------------------------ real data


def test_global_mmlu_lite_of_the_mirror_is_read_whole(hub: Path) -> None:
    if not (hub / LITE.format("id")).is_file():
        pytest.skip("the mirror has no Global-MMLU-Lite")
    suite = suite_of("global_mmlu_lite", "ind", "mya", "vie", "zsm")
    found = samples(suite, hub)
    assert all(not sample.data.amiss for sample in found)
    for language in suite.languages:
        mine = [sample for sample in found if sample.language == language]
        left_out = suite.facts["invalid"].get(language, {}).get("left out", 0)
        assert len(mine) + left_out == 400
        assert left_out <= 4
        assert all(len(sample.requests) == 8 for sample in mine)
    assert len(samples(suite, hub, "quick")) == 4 * 2 * 20
