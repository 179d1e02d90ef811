"""Language consistency: which responses count as the prompt's language, which as none, and a whole run on a small checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.suites.language import build
from harness.gates import Gate, judge_stage
from harness.rows import Rows, StatisticsError
from harness.statistics import score
from harness.suites import SuiteContext, SuiteError
from training.recipe import TextFiles, WorldText
from training.world import text as world

FULL = SuiteContext(hub=None, profile_dir=".", samples="full")
QUICK = SuiteContext(hub=None, profile_dir=".", samples="quick")
LANGUAGES = ("ind", "tha", "ceb", "eng")


def told(language: str, documents: int = 40) -> list[str]:
    return [one.text for one in world.documents(WorldText(language=language, documents=documents, split="held_out", seed=2))]  # type: ignore[arg-type]


def rows(answers: dict[str, list[str]], **options: object) -> tuple[Rows, dict]:
    suite = build("language", tuple(answers), count=20, **options)  # type: ignore[arg-type]
    taken = {language: iter(texts) for language, texts in answers.items()}
    found = [suite.row(sample, [{"text": next(taken[sample.language])}]) for sample in suite.samples(FULL)]
    return Rows.of(found), {metric.name: metric for metric in suite.metrics}


@pytest.mark.parametrize("mode", ["continue", "answer"])
def test_responses_in_the_prompts_language_are_all_consistent(mode: str) -> None:
    table, metrics = rows({language: told(language) for language in LANGUAGES}, mode=mode)
    for language in LANGUAGES:
        assert score(table, metrics["set_consistency"], [language]) == 1.0
    assert score(table, metrics["consistency"], ["tha"]) == 1.0


def test_english_responses_are_consistent_in_english_alone() -> None:
    table, metrics = rows({language: told("eng") for language in LANGUAGES})
    assert {language: score(table, metrics["consistency"], [language]) for language in LANGUAGES} == {
        "ind": 0,
        "tha": 0,
        "ceb": 0,
        "eng": 1,
    }


def test_a_neighbour_is_wrong_but_in_the_set() -> None:
    table, metrics = rows({"ceb": told("tgl"), "war": told("tgl")})
    for language in ("ceb", "war"):
        assert score(table, metrics["consistency"], [language]) < 0.1
        assert score(table, metrics["set_consistency"], [language]) == 1.0


@pytest.mark.parametrize(("answered", "expected"), [(2, "inconclusive"), (20, "pass")])
def test_a_gate_on_consistency_does_not_pass_on_what_was_not_decided(answered: int, expected: str) -> None:
    """Two right responses and eighteen empty ones are a consistency of 1, and no ground for a verdict."""
    table, metrics = rows({"tha": [*told("tha")[:answered], *[""] * (20 - answered)]})
    assert score(table, metrics["set_consistency"], ["tha"]) == 1.0
    gate = Gate(
        name="stage1.stays.tha",
        stage="stage1",
        label="stays",
        suite="language",
        metric="set_consistency",
        rule="at_least",
        line=0.8,
        languages=("tha",),
        reason="a test",
    )
    verdict = judge_stage([gate], lambda *_: table, {"language": metrics})[gate.name]
    assert (verdict.verdict, verdict.clusters) == (expected, answered)
    assert score(table, metrics["set_abstained"], ["tha"]) == 1 - answered / 20


def test_empty_responses_are_abstained_on_and_decide_nothing() -> None:
    table, metrics = rows({"ind": [""] * 40, "tha": ["👍"] * 40})
    assert score(table, metrics["abstained"], ["ind"]) == 1.0
    with pytest.raises(StatisticsError, match="decided of ind sums to 0"):
        score(table, metrics["consistency"], ["ind"])


def test_a_document_is_cut_once_and_the_prompt_is_its_beginning() -> None:
    suite = build("language", ("ind", "tha"), count=12)
    whole = {
        language: [d.text for d in world.documents(WorldText(language=language, documents=12, split="held_out"))]
        for language in ("ind", "tha")
    }
    for sample in suite.samples(FULL):
        (source,) = [text for text in whole[sample.language] if text.startswith(sample.data)]
        assert 0.3 * len(source) < len(sample.data) < 0.9 * len(source)
    assert len({sample.sample for sample in suite.samples(FULL)}) == 24


def test_chat_prompts_are_conversations() -> None:
    sample = next(iter(build("language", ("ind",), mode="answer", chat=True, count=3).samples(FULL)))
    talk = json.loads(sample.requests[0].context)
    assert talk["messages"] == [{"role": "user", "content": sample.data}]
    assert sample.requests[0].settings["chat"] is True


def test_a_quick_sample_is_a_part_of_the_whole() -> None:
    suite = build("language", LANGUAGES, count=20, quick=5)
    quick, full = ({sample.sample for sample in suite.samples(context)} for context in (QUICK, FULL))
    assert quick < full


def test_a_users_prompts_are_read_and_their_mistakes_named(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"id": "a", "language": "ind", "prompt": "Apa kabar?"}\n{"id": "b", "language": "vie", "prompt": "Chào"}\n')
    suite = build("language", ("ind",), mode="answer", prompts="prompts.jsonl")
    (sample,) = suite.samples(SuiteContext(hub=None, profile_dir=str(tmp_path)))
    assert sample.data == "Apa kabar?"
    path.write_text('{"id": "a", "language": "ind"}\n')
    with pytest.raises(SuiteError, match=r"prompts\.jsonl, row 1 lacks 'prompt'"):
        list(suite.samples(SuiteContext(hub=None, profile_dir=str(tmp_path))))
    with pytest.raises(SuiteError, match="no mode 'sing'"):
        build("language", ("ind",), mode="sing")  # type: ignore[arg-type]


@pytest.mark.parametrize(("bad", "said"), [(1, "left out"), (3, "too many")])
def test_invalid_prompts_are_counted_and_beyond_one_per_cent_take_the_value(tmp_path: Path, bad: int, said: str) -> None:
    lines = [{"id": f"{i}", "language": "ind", "prompt": "Apa kabar?"} for i in range(120)] + [
        {"id": "x", "language": "ind", "prompt": None}
    ] * bad
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    suite = build("language", ("ind",), mode="answer", prompts="p.jsonl")
    found = list(suite.samples(SuiteContext(hub=None, profile_dir=str(tmp_path))))
    assert suite.facts["invalid"]["ind"][said] == bad
    assert sum(bool(sample.invalid) for sample in found) == (0 if bad == 1 else bad)


def test_documents_too_short_to_be_cut_are_counted(tmp_path: Path) -> None:
    lines = [{"text": "the boat leaves the harbour in the morning and comes back at night"}, {"text": "short"}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    suite = build("language", ("eng",), sources={"eng": [TextFiles(path="t.jsonl", language="eng")]})
    assert len(list(suite.samples(SuiteContext(hub=None, profile_dir=str(tmp_path))))) == 1
    assert suite.facts["too short to be cut in two"] == {"eng": 1}
