"""The rules: every rule seen to pass, to fail and to be inconclusive; a stage judged whole; waivers; what is told of a failure."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.gates import Calibrated, Gate, Verdict, Waiver, judge_stage
from harness.rows import Rows
from harness.rules import contrast, rows_lookup
from harness.suites import Row
from tests.harness.gates_kit import METRICS

# ------------------------------------------------------------------------------------------------------------- the rules


def gate(**changes) -> Gate:
    """A gate of stage1 against expand, on Indonesian."""
    fields = {
        "name": "stage1.g.ind",
        "stage": "stage1",
        "label": "g",
        "suite": "perplexity",
        "metric": "bits_per_byte",
        "rule": "retains",
        "against": "expand",
        "margin": 0.1,
        "languages": ("ind",),
        "reason": "a test",
    }
    fields |= changes
    if fields["rule"] in ("at_least", "at_most") or fields.get("line") is not None:
        fields["against"] = ""
        if fields["rule"] != "matches":
            fields["margin"] = None
    return Gate(**fields)


def documents(level: float, *, n: int = 40, noise: float = 0.05, seed: int = 0, spread: float = 0.3, languages=("ind",)) -> Rows:
    """Documents whose bits per byte are `level` plus a document's own part (the same for every seed of noise) plus noise."""
    own, rng = np.random.default_rng(99), np.random.default_rng(seed)
    rows = []
    for i in range(n):
        for language in languages:
            size = float(own.integers(80, 400))
            bits = level + own.normal(0, spread) + rng.normal(0, noise)
            rows.append(
                Row(
                    sample=f"{language}{i}",
                    cluster=f"d{i}",
                    language=language,
                    values={"bits": size * bits, "bytes": size},
                    shown={"text": f"t{i}"},
                )
            )
    return Rows.of(rows)


def items(scores: list[float], name: str = "margin") -> Rows:
    return Rows.of(Row(sample=f"i{i}", cluster=f"i{i}", language="ind", values={name: value}) for i, value in enumerate(scores))


def judged(one: Gate, candidate: Rows, reference: Rows | None = None, **baselines: Rows) -> Verdict:
    """Judge a gate alone."""
    found = {one.stage: candidate, "expand": reference, **baselines}
    return judge_stage([one], lambda which, suite: found.get(which), METRICS)[one.name]


REFERENCE = documents(2.0, seed=1)


@pytest.mark.parametrize(
    ("changes", "candidate", "expected"),
    [
        # lower is better: the candidate's bits against 2.0
        ({"rule": "improves_on"}, 1.7, "pass"),
        ({"rule": "improves_on"}, 2.0, "fail"),
        ({"rule": "improves_on"}, 1.9, "inconclusive"),
        ({"rule": "improves_on", "margin": None, "relative": 0.1}, 1.7, "pass"),
        ({"rule": "improves_on", "margin": None, "relative": 0.1}, 1.9, "fail"),
        ({"rule": "improves_on", "margin": None, "relative": 0.1}, 1.8, "inconclusive"),
        ({"rule": "retains"}, 2.0, "pass"),
        ({"rule": "retains"}, 1.0, "pass"),
        ({"rule": "retains"}, 2.2, "fail"),
        ({"rule": "retains"}, 2.1, "inconclusive"),
        ({"rule": "retains", "margin": None, "relative": 0.05}, 2.0, "pass"),
        ({"rule": "retains", "margin": None, "relative": 0.05}, 2.2, "fail"),
        ({"rule": "matches"}, 2.0, "pass"),
        ({"rule": "matches"}, 2.2, "fail"),
        ({"rule": "matches"}, 1.8, "fail"),
        ({"rule": "matches"}, 2.1, "inconclusive"),
        ({"rule": "matches"}, 1.9, "inconclusive"),
        ({"rule": "matches", "margin": None, "relative": 0.05}, 2.0, "pass"),
        ({"rule": "matches", "margin": None, "relative": 0.05}, 1.8, "fail"),
        ({"rule": "at_most", "line": 2.2}, 2.0, "pass"),
        ({"rule": "at_most", "line": 1.8}, 2.0, "fail"),
        ({"rule": "at_most", "line": 2.0}, 2.0, "inconclusive"),
        ({"rule": "at_least", "line": 1.8}, 2.0, "pass"),
        ({"rule": "at_least", "line": 2.2}, 2.0, "fail"),
        ({"rule": "at_least", "line": 2.0}, 2.0, "inconclusive"),
        ({"rule": "matches", "line": 2.0, "margin": 0.3}, 2.0, "pass"),
        ({"rule": "matches", "line": 3.0, "margin": 0.3}, 2.0, "fail"),
        ({"rule": "matches", "line": 2.3, "margin": 0.3}, 2.0, "inconclusive"),
    ],
)
def test_every_rule_is_seen_in_every_verdict(changes: dict, candidate: float, expected: str) -> None:
    """Planted truths on either side of the line, and on it."""
    found = judged(gate(**changes), documents(candidate, seed=2), REFERENCE)
    assert found.verdict == expected, found.reason
    assert found.interval is not None
    assert found.interval[0] < found.interval[1]
    assert found.detectable is not None
    assert found.detectable > 0
    assert len(found.telling) == (0 if expected == "pass" else 3)


@pytest.mark.parametrize(
    ("rule", "level", "expected"), [("improves_on", 0.5, "pass"), ("improves_on", 0.0, "fail"), ("retains", -0.5, "fail")]
)
def test_higher_is_better_where_the_metric_says_so(rule: str, level: float, expected: str) -> None:
    """The sign of a margin follows the metric's direction."""
    rng = np.random.default_rng(3)
    reference = rng.normal(1.0, 1.0, 60)
    candidate = reference + level + rng.normal(0, 0.1, 60)
    found = judged(gate(rule=rule, suite="choice", metric="margin"), items(list(candidate)), items(list(reference)))
    assert found.verdict == expected
    assert found.line == pytest.approx(0.1 if rule == "improves_on" else -0.1)


def test_the_shown_interval_and_line_agree_with_the_verdict() -> None:
    """Also for a relative margin, whose interval counts the reference's error: pass is where the shown bound clears the shown line."""
    for level in np.linspace(1.6, 2.0, 9):
        found = judged(gate(rule="improves_on", margin=None, relative=0.1), documents(level, seed=2), REFERENCE)
        assert found.line == pytest.approx(-0.1 * found.against)
        assert (found.interval[1] < found.line) == (found.verdict == "pass")
        assert found.interval[0] < found.difference < found.interval[1]
        assert found.difference == pytest.approx(found.value - found.against)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), level=st.floats(1.8, 2.2))
def test_a_verdict_is_monotone_in_its_margin(seed: int, level: float) -> None:
    """A wider margin never makes `retains` worse, nor `improves_on` better."""
    order = ["fail", "inconclusive", "pass"]
    candidate = documents(level, seed=seed)
    for rule, sense in (("retains", 1), ("matches", 1), ("improves_on", -1)):
        ranks = [order.index(judged(gate(rule=rule, margin=margin), candidate, REFERENCE).verdict) for margin in (0.01, 0.05, 0.1, 0.2)]
        assert ranks == sorted(ranks, reverse=sense < 0)


def test_few_clusters_are_inconclusive_whatever_they_say() -> None:
    """Nineteen documents neither pass nor fail; twenty do."""
    for n, expected in ((19, "inconclusive"), (20, "pass")):
        found = judged(gate(rule="improves_on"), documents(1.0, n=n, seed=2), documents(2.0, n=n, seed=1))
        assert found.verdict == expected
    assert judged(gate(), documents(9.0, n=19, seed=2), documents(2.0, n=19, seed=1)).verdict == "inconclusive"
    assert "19 clusters; at least 20 are needed" in judged(gate(), documents(2.0, n=19), documents(2.0, n=19)).reason


def test_identical_rows_are_certainty() -> None:
    """The same checkpoint twice retains and matches, exactly, and improves on nothing (a learning rate of nought)."""
    same = documents(2.0, seed=1)
    for rule, expected in (("retains", "pass"), ("matches", "pass"), ("improves_on", "fail")):
        found = judged(gate(rule=rule, margin=0.0), same, REFERENCE)
        assert (found.verdict, found.exact) == (expected, True)
        assert found.reason.startswith("exact: every row equals the reference")


def test_a_constant_is_not_certainty() -> None:
    """An interval of width nought always clears its line: on the good side it is inconclusive, beyond it a fail."""
    shifted = documents(1.5, seed=1, noise=0.05)  # the same noise: every document differs by exactly the same
    assert judged(gate(rule="improves_on"), shifted, REFERENCE).verdict == "inconclusive"
    assert "a constant shows no sampling error" in judged(gate(rule="retains"), shifted, REFERENCE).reason
    assert judged(gate(rule="retains"), documents(2.5, seed=1), REFERENCE).verdict == "fail"
    stuck = items([0.5] * 30)
    choice = {"suite": "choice", "metric": "margin"}
    assert judged(gate(rule="at_least", line=0.2, **choice), stuck).verdict == "inconclusive"
    assert judged(gate(rule="at_least", line=0.7, **choice), stuck).verdict == "fail"
    assert judged(gate(rule="matches", line=0.5, margin=0.01, **choice), stuck).verdict == "pass"
    assert judged(gate(rule="matches", line=0.505, margin=0.01, **choice), stuck).verdict == "inconclusive"


def test_binary_all_right_is_not_constant() -> None:
    """Thirty of thirty right has an exact interval, so it may pass."""
    accuracy = {"suite": "choice", "metric": "accuracy"}
    assert judged(gate(rule="at_least", line=0.8, **accuracy), items([1.0] * 30, "right")).verdict == "pass"
    assert judged(gate(rule="at_least", line=0.95, **accuracy), items([1.0] * 30, "right")).verdict == "inconclusive"


def test_accuracy_gates_only_above_chance() -> None:
    """Where the reference guesses, nothing can be retained: XCOPA for a model of 135M parameters."""
    guessing = items([1.0, 0.0, 0.0, 0.0] * 10, "right")
    one = gate(rule="retains", margin=0.1, suite="choice", metric="accuracy")
    found = judged(one, items([1.0, 1.0, 0.0, 0.0] * 10, "right"), guessing)
    assert found.verdict == "inconclusive"
    assert "not above chance" in found.reason
    assert judged(one, items([1.0] * 36 + [0.0] * 4, "right"), items([1.0] * 30 + [0.0] * 10, "right")).verdict == "pass"


def test_what_is_absent_never_passes() -> None:
    """Rows that were not made are `not run`; a language, samples or numbers that lack are `inconclusive`, with the reason."""
    lookup = {"stage1": None, "expand": REFERENCE}.get
    assert judge_stage([gate()], lambda which, suite: lookup(which), METRICS)["stage1.g.ind"].verdict == "not run"
    assert judged(gate(), REFERENCE, None).reason == "perplexity has not been run on expand"
    assert judged(gate(metric="bits"), REFERENCE, REFERENCE).verdict == "not run"
    for one, candidate, reason in (
        (gate(languages=("ind", "khm"), macro=True), documents(1.0), "no samples in khm"),
        (gate(stratum="patterns"), documents(1.0), "no samples in ind"),
        (gate(), documents(1.0).take(np.arange(39)), "1 missing"),
        (
            gate(),
            dataclasses.replace(documents(1.0), values={"bits": np.full(40, np.nan), "bytes": np.ones(40)}),
            "bits of sample 'ind0' is nan",
        ),
    ):
        found = judged(one, candidate, REFERENCE)
        assert found.verdict == "inconclusive"
        assert reason in found.reason


def test_a_stratum_is_judged_alone() -> None:
    """A loss in one stratum is not hidden by the other."""
    half = np.array(["combos", "patterns"] * 20, dtype=object)
    candidate, reference = (dataclasses.replace(rows, stratum=half) for rows in (documents(1.5, seed=2), REFERENCE))
    worse = np.where(half == "patterns", 1.7, 1.0)
    candidate = dataclasses.replace(candidate, values={**candidate.values, "bits": candidate.values["bits"] * worse})
    assert judged(gate(stratum="combos"), candidate, reference).verdict == "pass"
    assert judged(gate(stratum="patterns"), candidate, reference).verdict == "fail"


def test_a_small_language_is_carried_by_the_macro_gate() -> None:
    """Five Lao documents among forty of others: the guard is inconclusive, the macro gate passes."""

    def corpus(level: float, seed: int) -> Rows:
        rng, rows = np.random.default_rng(seed), []
        for language, n in (("ind", 40), ("lao", 5)):
            rows += [
                Row(
                    sample=f"{language}{i}",
                    cluster=f"{language}{i}",
                    language=language,
                    values={"bits": 100 * (level + rng.normal(0, 0.1)), "bytes": 100.0},
                )
                for i in range(n)
            ]
        return Rows.of(rows)

    candidate, reference = corpus(1.5, 1), corpus(2.0, 2)
    assert judged(gate(rule="improves_on", languages=("lao",)), candidate, reference).verdict == "inconclusive"
    assert judged(gate(rule="improves_on", languages=("ind", "lao"), macro=True), candidate, reference).verdict == "pass"


# ------------------------------------------------------------------------------------------------------- the whole stage


def borderline(p_target: float = 0.02) -> Rows:
    """A candidate that `retains` contradicts at an uncorrected p-value of about `p_target`."""
    from harness.statistics import compare

    metric = METRICS["perplexity"]["bits_per_byte"]
    for level in np.linspace(2.1, 2.2, 201):
        candidate = documents(level, seed=2)
        if compare(candidate, REFERENCE, metric, ["ind"]).p_above(0.1) < p_target:
            return candidate
    raise AssertionError


def test_a_fail_is_corrected_for_the_family_of_the_file_not_of_the_selection() -> None:
    """p = .02 fails alone; as one of twenty gates it is inconclusive and says so, also when it is judged by itself."""
    candidate = borderline()
    assert judged(gate(), candidate, REFERENCE).verdict == "fail"
    found = judged(gate(family=20), candidate, REFERENCE)
    assert found.verdict == "inconclusive"
    assert "after correction for 20 gates" in found.reason
    assert judged(gate(family=20), documents(2.4, seed=2), REFERENCE).verdict == "fail"


def test_holms_step_lets_the_second_worst_fail_more_easily() -> None:
    """Beside a clear fail a borderline one needs one test less."""
    from harness.statistics import compare

    candidate = borderline(0.03)
    p = compare(candidate, REFERENCE, METRICS["perplexity"]["bits_per_byte"], ["ind"]).p_above(0.1)
    assert 0.025 < p < 0.03
    alone = [gate(name="stage1.a.ind", family=2), gate(name="stage1.b.ind", rule="at_most", line=9.0, family=2)]
    beside = [alone[0], gate(name="stage1.b.ind", rule="at_most", line=0.1, family=2)]
    lookup = {"stage1": candidate, "expand": REFERENCE}.get
    assert judge_stage(alone, lambda which, suite: lookup(which), METRICS)["stage1.a.ind"].verdict == "inconclusive"
    assert judge_stage(beside, lambda which, suite: lookup(which), METRICS)["stage1.a.ind"].verdict == "fail"


def test_passing_is_not_corrected() -> None:
    """All gates must pass, so each may at 5 %: the size of the family does not make passing harder."""
    one = gate(rule="improves_on")
    candidate = documents(1.86, seed=2)
    assert judged(one, candidate, REFERENCE).verdict == judged(dataclasses.replace(one, family=500), candidate, REFERENCE).verdict == "pass"


def test_another_training_seed_is_no_alarm() -> None:
    """A shortfall that another seed explains is inconclusive once the seeds' variance is known; a real one still fails. Passing stays."""
    spread = Calibrated(seed_sd=0.05, seeds=10, standard_error=0.01, degrees=39)
    slightly, badly = documents(2.16, seed=2), documents(2.6, seed=2)
    assert judged(gate(), slightly, REFERENCE).verdict == "fail"
    assert judged(gate(calibrated=spread), slightly, REFERENCE).verdict == "inconclusive"
    assert judged(gate(calibrated=spread), badly, REFERENCE).verdict == "fail"
    plain, wide = judged(gate(), documents(2.0, seed=2), REFERENCE), judged(gate(calibrated=spread), documents(2.0, seed=2), REFERENCE)
    assert plain.verdict == wide.verdict == "pass"
    assert wide.detectable > plain.detectable


def test_a_contrast_is_what_a_gate_is_decided_on() -> None:
    """What `calibrate` measures over seeds: the estimate, its line, and whether above it is good; None where nothing can be compared."""
    lookup = {"stage1": documents(1.7, seed=2), "expand": REFERENCE}.get
    estimate, line, above = contrast(gate(rule="improves_on"), lambda which, suite: lookup(which), METRICS)
    assert (line, above) == (-0.1, False)
    assert estimate.value == pytest.approx(-0.3, abs=0.05)
    assert contrast(gate(against="blessed"), lambda which, suite: lookup(which), METRICS) is None


def test_the_gates_of_one_stage_at_a_time() -> None:
    """The family is a stage's; mixing stages is a mistake of the caller. No gates, no verdicts."""
    with pytest.raises(ValueError, match="one stage"):
        judge_stage([gate(), gate(stage="stage2")], lambda which, suite: None, METRICS)
    assert judge_stage([], lambda which, suite: None, METRICS) == {}


def test_blessed_means_both_baselines() -> None:
    """The worse of the two decides, and names itself; none yet is `not run` and says how to get one."""
    one = gate(against="blessed")
    candidate = documents(2.0, seed=2)
    good, better = documents(2.0, seed=1), documents(1.5, seed=3)
    assert judged(one, candidate, blessed=good, release=good).verdict == "pass"
    found = judged(one, candidate, blessed=good, release=better)
    assert found.verdict == "fail"
    assert "against the release baseline" in found.reason
    assert judged(one, candidate, blessed=good.pooled()).verdict == "pass"
    none = judged(one, candidate)
    assert (none.verdict, none.awaits_baseline) == ("not run", True)


def test_small_losses_that_add_up_are_caught_by_the_release_baseline() -> None:
    """Each step stays within its margin of the last blessing; the fourth is too far from the release."""
    one = gate(against="blessed", margin=0.1)
    release = blessed = documents(2.0, seed=10)
    verdicts = []
    for step in range(1, 5):
        candidate = documents(2.0 + 0.06 * step, seed=10 + step)
        verdicts.append(judged(one, candidate, blessed=blessed.pooled(), release=release.pooled()).verdict)
        blessed = candidate
    assert verdicts[0] == "pass"
    assert verdicts[-1] == "fail"


# -------------------------------------------------------------------------------------------------------------- waivers


def test_a_waiver_shows_and_expires_and_is_never_a_pass() -> None:
    """On its last day it still stands; the day after it does not. It does not touch a pass."""
    until = datetime.date(2026, 6, 30)
    one = gate(waiver=Waiver(who="A. Tester", why="known tokenizer change", until=until))
    lookup = {"stage1": documents(2.5, seed=2), "expand": REFERENCE}.get

    def on(day: datetime.date) -> Verdict:
        return judge_stage([one], lambda which, suite: lookup(which), METRICS, today=day)[one.name]

    standing, late = on(until), on(until + datetime.timedelta(days=1))
    assert (standing.verdict, standing.waived, standing.passed, standing.blocks) == ("fail", True, False, False)
    assert "A. Tester until 2026-06-30" in standing.waiver
    assert (late.waived, late.blocks) == (False, True)
    assert "its waiver expired" in late.reason
    fine = judge_stage([one], lambda which, suite: {"stage1": documents(2.0, seed=2), "expand": REFERENCE}.get(which), METRICS, today=until)
    assert not fine[one.name].waived


def test_a_verdict_survives_json() -> None:
    """What the certificate keeps is what was decided."""
    found = judged(gate(), documents(2.5, seed=2), REFERENCE)
    assert Verdict.decode(json.loads(json.dumps(found.encode()))) == found


def test_a_margin_below_what_the_samples_detect_is_marked_and_its_pass_stays() -> None:
    """The bound cleared the line, so it is a pass; but a loss of the margin would often have been missed."""
    better = documents(1.5, seed=2)
    wide = judged(gate(), better, REFERENCE)
    assert (wide.verdict, wide.coarse, wide.uncalibrated) == ("pass", False, True)
    narrow = judged(gate(margin=wide.detectable / 2), better, REFERENCE)
    assert (narrow.verdict, narrow.coarse, narrow.margin) == ("pass", True, wide.detectable / 2)
    assert narrow.encode()["coarse"]
    assert not judged(gate(margin=1e-9), REFERENCE, REFERENCE).coarse, "exact rows need no power"
    seeds = Calibrated(seed_sd=0.0, seeds=5, standard_error=0.01, degrees=39)
    assert not judged(gate(calibrated=seeds), better, REFERENCE).uncalibrated


def test_the_telling_samples_are_the_worst_clusters() -> None:
    """Three planted disasters are the three that are shown, worst first, with their text."""
    bits = REFERENCE.values["bits"].copy()
    for place, factor in ((5, 1.6), (17, 2.4), (30, 1.9)):
        bits[place] *= factor
    candidate = dataclasses.replace(REFERENCE, values={**REFERENCE.values, "bits": bits + np.linspace(-1, 1, 40)})
    found = judged(gate(margin=0.01), candidate, REFERENCE)
    assert found.verdict != "pass"
    assert {telling.sample for telling in found.telling} == {"ind5", "ind17", "ind30"}
    pulls = [telling.pull for telling in found.telling]
    assert pulls == sorted(pulls)
    assert pulls[0] < 0
    first = found.telling[0]
    assert first.shown["text"] == f"t{first.sample[3:]}"
    assert first.value > first.against


def test_rows_are_read_from_directories_once(tmp_path: Path) -> None:
    """One Parquet file a suite; what has no file has no rows; a baseline comes before."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = {"sample": ["a"], "cluster": ["a"], "language": ["ind"], "stratum": [""], "v.bits": [1.0], "shown": ["{}"]}
    pq.write_table(pa.table(table), tmp_path / "perplexity.parquet")
    lookup = rows_lookup({"stage1": tmp_path}, {})
    first = lookup("stage1", "perplexity")
    assert len(first) == 1
    assert lookup("stage1", "perplexity") is first
    assert lookup("stage1", "choice") is None
    assert lookup("blessed", "perplexity") is None
