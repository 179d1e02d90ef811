"""The culture suite: scores against a plain loop, both forms paired, an oracle and its opposite, countries by Wilson's interval."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.suites.culture import Culture, build, items
from harness import evaluation
from harness.backends.hf import HFBackend
from harness.backends.rendering import Renderer
from harness.evaluation_command import lines
from harness.rows import Rows, StatisticsError
from harness.statistics import estimate, wilson
from harness.suites import Sample, SuiteContext, SuiteError, SuiteSpec, load
from tests.harness.checkpoints import checkpoint, logprobs

FULL = SuiteContext(hub=None, profile_dir=".")
QUICK = SuiteContext(hub=None, profile_dir=".", samples="quick")


def made(*languages: str, context: SuiteContext = FULL, **options: Any) -> tuple[Culture, list[Sample]]:
    suite = load(SuiteSpec(suite="culture", languages=languages, options=options), "culture")
    return suite, list(suite.samples(context))


def likelihoods(sample: Sample, right: Callable[[str], bool]) -> list[dict[str, float]]:
    """Answers that favour, a byte, the gold of each form where `right` says so, and a distractor where not."""
    found = []
    for name, form in sample.data.forms.items():
        for part in form.parts:
            wanted = part.gold if right(name) else (part.gold + 1) % len(part.choices)
            found += [
                {"logprob": -(0.1 if at == wanted else 9.0) * len(choice.encode()), "tokens": 1} for at, choice in enumerate(part.choices)
            ]
    return found


def scored(suite: Culture, samples: Sequence[Sample], right: Callable[[Sample, str], bool]) -> Rows:
    return Rows.of([suite.row(sample, likelihoods(sample, lambda name, sample=sample: right(sample, name))) for sample in samples])


def value(rows: Rows, suite: Culture, name: str, *languages: str) -> float:
    return estimate(rows, next(metric for metric in suite.metrics if metric.name == name), languages).value


# ----------------------------------------------------------------------------------------------------------------- samples


def test_a_sample_is_an_item_with_the_requests_of_both_forms() -> None:
    suite, samples = made("tha")
    first = samples[0]
    assert (first.sample, first.cluster, first.stratum) == ("tha-cuisine-01", "culture#tha-cuisine-01", "cuisine")
    entry = items.document("tha").item[0]
    assert {request.context for request in first.requests[:4]} == {f"{entry.question}\n"}
    assert {request.continuation for request in first.requests[:4]} == {entry.answer, *entry.distractors}
    assert {request.context for request in first.requests[4:]} == {f"{entry.question_en}\n"}
    assert {request.continuation for request in first.requests[4:]} == {entry.answer_en, *entry.distractors_en}
    assert suite.groups == {"Thailand": ("tha",)}


def test_the_gold_stands_in_every_place() -> None:
    _, samples = made(*items.COUNTRY)
    places = [sample.data.forms["native"].parts[0].gold for sample in samples]
    assert all(places.count(at) > len(places) / 8 for at in range(4))


def test_all_languages_load_and_countries_are_groups_of_languages() -> None:
    suite, samples = made(*items.COUNTRY)
    assert {sample.language for sample in samples} == set(items.COUNTRY)
    assert len(samples) >= 13 * 15
    assert suite.groups["Philippines"] == ("tgl", "ceb", "ilo", "war")
    assert suite.groups["Indonesia"] == ("ind", "jav", "sun")
    assert sum(map(len, suite.groups.values())) == 13


def test_quick_samples_are_of_every_topic_and_of_the_full_ones() -> None:
    _, quick = made("lao", "war", context=QUICK, quick=2)
    _, full = made("lao", "war")
    assert {sample.sample for sample in quick} < {sample.sample for sample in full}
    for language in ("lao", "war"):
        assert sorted(sample.stratum for sample in quick if sample.language == language) == sorted(2 * items.TOPICS)


# ------------------------------------------------------------------------------------------------------------------ scores


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_oracle_gets_one_and_its_opposite_nought(share: float) -> None:
    suite, samples = made("khm", "ceb")
    rows = scored(suite, samples, lambda *_: bool(share))
    for metric in suite.metrics:
        found = value(rows, suite, metric.name, "khm", "ceb")
        if metric.binary:
            assert found == share
        elif metric.name.startswith("margin"):
            assert (found > 0) == bool(share)
        else:
            assert found == 0.0


def test_the_gap_is_paired_item_by_item() -> None:
    """Right in Lao on every item, in English on every second: the gap is one half, and its error that of the differences."""
    suite, samples = made("lao")
    number = {sample.sample: at for at, sample in enumerate(samples)}
    rows = scored(suite, samples, lambda sample, name: name == "native" or number[sample.sample] % 2 == 0)
    gap = next(metric for metric in suite.metrics if metric.name == "gap_per_byte")
    found = estimate(rows, gap, ["lao"])
    assert found.value == pytest.approx(0.5)
    differences = [float(at % 2) for at in range(len(samples))]
    assert found.standard_error == pytest.approx(statistics.stdev(differences) / math.sqrt(len(samples)))
    assert found.samples == found.clusters == len(samples)
    native, english = value(rows, suite, "accuracy_per_byte_native", "lao"), value(rows, suite, "accuracy_per_byte_english", "lao")
    assert found.value == pytest.approx(native - english)


def test_sums_and_bytes_may_disagree_and_each_has_its_metric() -> None:
    suite, samples = made("vie")
    sample = samples[0]
    found = []
    for form in sample.data.forms.values():
        part = form.parts[0]
        found += [{"logprob": -2.0 if at == part.gold else -1.9, "tokens": 1} for at in range(4)]  # sums favour the others
    values = suite.row(sample, found).values
    part = sample.data.forms["native"].parts[0]
    rates = [(-2.0 if at == part.gold else -1.9) / len(choice.encode()) for at, choice in enumerate(part.choices)]
    assert values["margin_native"] == pytest.approx(-0.1)
    assert values["correct_native"] == 0.0
    assert values["margin_per_byte_native"] == pytest.approx(rates[part.gold] - max(r for at, r in enumerate(rates) if at != part.gold))
    assert values["correct_per_byte_native"] == float(values["margin_per_byte_native"] > 0)


def test_nan_and_a_tie_are_never_right() -> None:
    suite, samples = made("vie")
    for answer in (math.nan, 0.0):
        row = suite.row(samples[0], [{"logprob": answer, "tokens": 1}] * 8)
        assert {row.values[name] for name in row.values if name.startswith("correct")} == {0.0}


def test_likelihoods_are_those_of_a_plain_loop() -> None:
    """A tiny model, one whole text at a time in float64: the same margins and predictions for every item of two scripts."""
    suite, samples = made("tha", "ilo", context=QUICK, quick=1)
    path = checkpoint(family="qwen2", context=2048)
    from training.models.load import load_tokenizer

    tokenizer = load_tokenizer(path)
    renderer = Renderer(tokenizer, 2048)
    rendered = [one for sample in samples for one in renderer.sample(sample)]
    answers = dict(pair for part, _ in HFBackend(path, tokenizer, batch_tokens=512).answers(rendered) for pair in part)
    at, seen = 0, set()
    for sample in samples:
        asked = rendered[at : at + len(sample.requests)]
        row = suite.row(sample, [answers[at + index] for index in range(len(asked))])
        at += len(asked)
        sums = []
        for request, one in zip(sample.requests, asked, strict=True):
            tokens = [*one.context, *one.continuation]
            assert tokenizer.decode(tokens, skip_special_tokens=True) == request.context + request.continuation
            table = logprobs(path, tokens)
            sums.append(sum(float(table[place - 1, tokens[place]]) for place in range(len(one.context), len(tokens))))
        for name, mine in (("native", sums[:4]), ("english", sums[4:])):
            part = sample.data.forms[name].parts[0]
            rates = [total / len(choice.encode("utf-8")) for total, choice in zip(mine, part.choices, strict=True)]
            best = max(rate for index, rate in enumerate(rates) if index != part.gold)
            assert row.values[f"margin_per_byte_{name}"] == pytest.approx(rates[part.gold] - best, abs=1e-4)
            assert row.values[f"correct_per_byte_{name}"] == float(int(np.argmax(rates)) == part.gold)
            seen.add(int(np.argmax(rates)) == part.gold)
    assert seen == {True, False}


# --------------------------------------------------------------------------------------------------------- answers in words


@pytest.mark.parametrize("oracle", [True, False])
def test_generated_answers_are_right_by_alias_and_wrong_by_distractor(oracle: bool) -> None:
    suite, samples = made(*items.COUNTRY, mode="generate")
    rows = []
    for sample in samples:
        forms = sample.data.forms.values()
        found = [{"text": f" {form.aliases[-1] if oracle else form.rivals[0]}.\nMore"} for form in forms]
        rows.append(suite.row(sample, found))
    for name in ("accuracy_native", "accuracy_english"):
        assert value(Rows.of(rows), suite, name, *items.COUNTRY) == float(oracle)
    assert [metric.name for metric in suite.metrics] == ["accuracy_native", "accuracy_english", "gap"]


def test_a_question_is_generated_for_in_one_line_or_as_a_conversation() -> None:
    _, samples = made("mya", mode="generate", max_tokens=9)
    request = samples[0].requests[0]
    assert (request.kind, request.context[-2:]) == ("generate", "?\n")
    assert request.settings == {"max_tokens": 9, "stop": ["\n"]}
    _, samples = made("mya", mode="generate", chat=True)
    request = samples[0].requests[1]
    assert request.settings == {"max_tokens": 64, "stop": [], "chat": True}
    (message,) = json.loads(request.context)["messages"]
    assert message == {"role": "user", "content": samples[0].data.forms["english"].parts[0].context.strip()}


# ---------------------------------------------------------------------------------------------------------------- countries


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilsons_ends_are_where_the_score_test_turns(counts: tuple[int, int], confidence: float) -> None:
    """At each end p0: |p - p0| = z * sqrt(p0 (1 - p0) / n), by the standard library's normal quantile."""
    hits, trials = counts
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    low, high = wilson(hits, trials, confidence)
    assert 0 <= low <= hits / trials <= high <= 1
    for end in (low, high):
        assert (hits / trials - end) ** 2 * trials == pytest.approx(z * z * end * (1 - end), abs=1e-9)


@pytest.mark.parametrize(("hits", "trials"), [(0, 0), (3, 2), (-1, 4)])
def test_what_is_no_proportion_has_no_interval(hits: int, trials: int) -> None:
    with pytest.raises(StatisticsError, match="no proportion"):
        wilson(hits, trials)


def test_a_country_pools_its_languages() -> None:
    suite, samples = made("tgl", "ceb", "ilo", "war", "tha")
    right = {"tgl", "tha"}
    rows = scored(suite, samples, lambda sample, _: sample.language in right)
    found = {(line.metric, line.language): line for line in lines(rows, "culture", suite.metrics, suite.languages, suite.groups)}
    line = found["accuracy_native", "Philippines"]
    count = {language: sum(sample.language == language for sample in samples) for language in suite.languages}
    trials = sum(count[language] for language in ("tgl", "ceb", "ilo", "war"))
    assert line.count == str(trials)
    assert line.value == pytest.approx(count["tgl"] / trials)
    assert line.interval == wilson(count["tgl"], trials)
    assert found["accuracy_native", "Thailand"].interval == wilson(count["tha"], count["tha"])
    assert ("gap", "Philippines") in found  # the mean of its languages
    assert ("gap", "Thailand") not in found  # the line of the language says it
    assert found["accuracy_native", "mean of 5"].value == pytest.approx(2 / 5)


def test_the_command_prints_forms_gap_and_countries_and_writes_them(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEATRIALS_HUB", raising=False)
    told = [str(checkpoint()), "--suite=culture", "--languages=ind,sun,khm", "--samples=quick", "--device=cpu", "--output=scores.parquet"]
    assert evaluation.main(told) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("culture ")]
    names = {(cells[1], cells[2]) for cells in shown}
    assert {("accuracy_per_byte_native", one) for one in ("ind", "sun", "khm", "mean", "Indonesia", "Cambodia")} <= names
    assert {("gap_per_byte", one) for one in ("ind", "sun", "khm", "mean", "Indonesia")} <= names
    table = pyarrow.parquet.read_table(tmp_path / "scores.parquet").to_pandas()
    country = table["shown"].map(lambda text: json.loads(text)["country"])
    mine = table[country == "Indonesia"]
    hits, trials = int(mine["v.correct_per_byte_native"].sum()), len(mine)
    cells = next(cells for cells in shown if cells[1:3] == ["accuracy_per_byte_native", "Indonesia"])
    assert float(cells[3]) == pytest.approx(hits / trials, abs=6e-5)
    assert [float(part.strip("[],")) for part in cells[4:6]] == pytest.approx(wilson(hits, trials), abs=6e-5)


# ---------------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("languages", "options", "message"),
    [
        (("eng",), {}, "has nothing on eng; it has vie"),
        (("tha",), {"mode": "guess"}, "choice or generate"),
        (("tha",), {"max_tokens": 0}, "1 or more"),
        (("tha",), {"quick": -1}, "1 or more"),
        (("tha",), {"dataset": "culture_bank"}, "one of culturalbench_easy"),
        (("tha",), {"colour": "red"}, "does not take these options"),
    ],
)
def test_options_that_cannot_be_carried_out_are_named(languages: tuple[str, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        load(SuiteSpec(suite="culture", languages=languages, options=options), "culture")


def test_the_factory_stands_in_the_contract() -> None:
    suite = build("mine", ("tha",))
    assert suite.name == "mine"
    assert {metric.chance for metric in suite.metrics if metric.binary} == {0.25}
    assert {metric.direction for metric in suite.metrics} == {"higher"}
