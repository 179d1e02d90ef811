"""The emoji suite: its prompts are whole in every language, and its rows count what stands in the response."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.suites.emoji import OURS, build, ours
from benchmarks.suites.emoji.counting import count
from harness import evaluation_command
from harness.report import scores
from harness.rows import Rows
from harness.statistics import score
from harness.suites import SuiteContext, SuiteError
from training.languages import LANGUAGES, script_share

FULL = SuiteContext(hub=None, profile_dir=".", samples="full")
QUICK = SuiteContext(hub=None, profile_dir=".", samples="quick")


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.iso)
def test_every_language_has_its_prompts_in_its_script(language) -> None:
    probes = [probe for probe in ours(OURS) if probe.language == language.iso]
    assert sorted(probe.stratum for probe in probes) == ["control"] * 24 + ["invite"] * 24
    assert len({probe.prompt for probe in probes}) == 48
    assert all(script_share(probe.prompt, language.script) > 0.8 for probe in probes)
    assert not any(count(probe.prompt).emoji for probe in probes)


def test_rows_hold_the_counts_of_the_response() -> None:
    suite = build("emoji", ("ind", "tha"))
    answers = {"invite": "Selamat! 🎉🎉 ya", "control": "Tentu 👍🏽"}
    rows = Rows.of(suite.row(sample, [{"text": answers[sample.stratum]}]) for sample in suite.samples(FULL))
    metrics = {metric.name: metric for metric in suite.metrics}
    assert score(rows, metrics["emoji_per_response"], ["ind"]) == 2.0
    assert score(rows, metrics["emoji_rate"], ["ind"]) == score(rows, metrics["control_rate"], ["ind"]) == 1.0
    assert score(rows, metrics["control_per_response"], ["ind"]) == 1.0
    length = len(answers["invite"])
    assert score(rows, metrics["emoji_per_1000"], ["ind"]) == pytest.approx(2000 / length)
    nothing = Rows.of(suite.row(sample, [{"text": "Selamat ya."}]) for sample in suite.samples(FULL))
    assert score(nothing, metrics["emoji_rate"], ["ind"]) == 0.0


def test_invitations_and_controls_are_never_pooled() -> None:
    """Emoji where they are asked for and nowhere else: 0 of 24 and 24 of 24, in the person's table and in the report's, and not .5 twice."""
    suite = build("emoji", ("ind", "tha"))
    rows = Rows.of(suite.row(sample, [{"text": "ya 👍" if sample.stratum == "control" else "ya"}]) for sample in suite.samples(FULL))
    shown = {(line.metric, line.language): line for line in evaluation_command.lines(rows, "emoji", suite.metrics, suite.languages)}
    for language, n in (("ind", "24"), ("mean of 2", "48 in 24")):
        assert (shown["emoji_rate", language].value, shown["control_rate", language].value) == (0.0, 1.0)
        assert shown["emoji_rate", language].count == shown["control_per_1000", language].count == n
    rate = next(metric for metric in suite.metrics if metric.name == "control_rate")
    told = {line.name: line.scores[0].value for line in scores._lines({"stage2": rows}, rate, suite.languages)}
    assert told.keys() == {"ind", "tha", "mean of 2", "mean, control"}
    assert {float(value) for value in told.values()} == {1.0}


def test_a_control_is_one_cluster_with_its_invitation_and_a_quick_sample_has_enough() -> None:
    suite = build("emoji", ("ind",))
    full, quick = list(suite.samples(FULL)), list(suite.samples(QUICK))
    assert len({sample.cluster for sample in full}) == 24
    assert sum(sample.stratum == "invite" for sample in quick) == 20
    assert {sample.sample for sample in quick} < {sample.sample for sample in full}


def test_a_request_is_a_conversation_of_one_message() -> None:
    sample = next(iter(build("emoji", ("eng",)).samples(FULL)))
    assert json.loads(sample.requests[0].context)["messages"] == [{"role": "user", "content": sample.data}]


def test_a_users_prompts_are_read_and_their_mistakes_named(tmp_path: Path) -> None:
    context = SuiteContext(hub=None, profile_dir=str(tmp_path))
    path = tmp_path / "mine.jsonl"
    path.write_text('{"id": "a", "language": "ind", "prompt": "Halo"}\n')
    (sample,) = build("emoji", ("ind",), prompts="mine.jsonl").samples(context)
    assert sample.stratum == "invite"
    path.write_text('{"id": "a", "language": "ind", "prompt": "Halo", "stratum": "ask"}\n')
    with pytest.raises(SuiteError, match=r"mine\.jsonl, row 1: stratum is 'ask'"):
        list(build("emoji", ("ind",), prompts="mine.jsonl").samples(context))
    with pytest.raises(SuiteError, match="no prompts in xyz"):
        build("emoji", ("xyz",))


@pytest.mark.parametrize(("bad", "said"), [(1, "left out"), (3, "too many")])
def test_invalid_prompts_are_counted_and_beyond_one_per_cent_take_the_value(tmp_path: Path, bad: int, said: str) -> None:
    rows = [{"id": f"{i}", "language": "ind", "prompt": "Halo"} for i in range(150)]
    rows += [{"id": "x", "language": "ind", "prompt": None}] * bad
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    suite = build("emoji", ("ind",), prompts="mine.jsonl")
    found = list(suite.samples(SuiteContext(hub=None, profile_dir=str(tmp_path), samples="quick")))
    assert suite.facts["invalid"]["ind"][said] == bad
    assert [bool(sample.invalid) for sample in found] == ([] if bad == 1 else [True] * bad) + [False] * 20
