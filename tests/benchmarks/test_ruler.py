"""RULER's invariants: lengths in the model's tokens, answers in the text, scores of an oracle, and the same bytes whatever else runs."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.suites.ruler import TASKS, build, build_sea
from benchmarks.suites.ruler.lists import counts
from benchmarks.suites.ruler.scoring import averages, by_length, clean, effective_length, match_all, match_part, table
from benchmarks.suites.ruler.tasks import TooShort, fit
from harness.suites import Measure, Request, SuiteContext, SuiteError
from tests.benchmarks.ruler_kit import RENDERERS, measured, samples_of

LONG = 2048
NIAH = [name for name in TASKS if name.startswith("niah")]


@pytest.fixture(params=sorted(RENDERERS))
def renderer(request):
    return RENDERERS[request.param]()


@pytest.mark.parametrize("length", [1024, LONG, 8192])
def test_every_sample_fills_its_length_and_never_more(renderer, length):
    suite = build("r", lengths=(length,), count=3)
    shares = []
    for sample in suite.samples(measured(renderer)):
        (request,) = sample.requests
        rendered = renderer.request(request)
        assert rendered.truncated == 0
        assert rendered.context.count(renderer.prefix) == 1, "exactly one prefix token"
        total = len(rendered.context) + TASKS[sample.stratum.partition("@")[0]].generate
        assert total <= length, sample.sample
        shares.append(total / length)
    assert len(shares) == 3 * 13
    assert sum(share >= 0.9 for share in shares) >= 0.95 * len(shares), sorted(shares)[:4]


@pytest.mark.parametrize("task", TASKS)
def test_every_answer_stands_in_the_text_and_no_wrong_one_is_right(task):
    for sample in samples_of(build("r", lengths=(LONG,), tasks=(task,), count=8)):
        drawn, text = sample.data[2], sample.requests[0].context
        assert text.endswith(drawn.prefix)
        assert len(set(drawn.refs)) == len(drawn.refs)
        assert all(ref.lower() in text.lower() for ref in drawn.refs)
        if not task.startswith("qa"):
            assert all(ref in text for ref in drawn.refs)
        assert len(set(drawn.wrong)) == 3
        assert not set(drawn.wrong) & set(drawn.refs)


@pytest.mark.parametrize("task", TASKS)
def test_an_oracle_is_right_an_empty_answer_is_wrong_and_one_of_several_is_its_share(task):
    suite = build("r", lengths=(LONG,), tasks=(task,), count=4)
    for sample in samples_of(suite):
        refs = sample.data[2].refs
        assert suite.row(sample, [{"text": "They are: " + ", ".join(refs).upper() + "."}]).values["score"] == 1.0
        assert suite.row(sample, [{"text": ""}]).values["score"] == 0.0
        row = suite.row(sample, [{"text": refs[-1]}])
        assert row.values["score"] == pytest.approx(1.0 if task.startswith("qa") else 1 / len(refs))


@given(st.text(max_size=60), st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=6))
def test_any_of_is_never_less_than_the_share_of_all(answer, refs):
    by_hand = [1 if answer.lower().find(ref.lower()) >= 0 else 0 for ref in refs]
    assert match_all(answer, refs) == pytest.approx(sum(by_hand) / len(by_hand))
    assert match_part(answer, refs) == max(by_hand)
    assert match_part(answer, refs) >= match_all(answer, refs)
    assert not set(clean(answer)) & {chr(code) for code in range(32)} - {"\n"}


@settings(max_examples=12, deadline=None)
@given(
    st.sets(st.sampled_from(sorted(TASKS)), min_size=1, max_size=2), st.sampled_from([(1024,), (LONG,), (1024, LONG)]), st.integers(1, 3)
)
def test_a_seed_gives_the_same_bytes_whatever_runs_beside_it(tasks, lengths, count):
    whole = _bytes(build("r", lengths=(1024, LONG), count=3))
    part = _bytes(build("other", lengths=lengths, tasks=tuple(tasks), count=count))
    assert part.items() <= whole.items()
    assert len(part) == len(tasks) * len(lengths) * count


_KEPT: dict[tuple, dict[str, str]] = {}


def _bytes(suite) -> dict[str, str]:
    key = (suite.lengths, suite.tasks, suite.count, suite.seed)
    if key not in _KEPT:
        _KEPT[key] = {sample.sample: sample.requests[0].context for sample in samples_of(suite)}
    return _KEPT[key]


def test_languages_do_not_move_each_other_and_seeds_do():
    alone = {s.sample: s.requests for s in samples_of(build_sea("s", languages=("tha",), lengths=(LONG,), count=1))}
    beside = {s.sample: s.requests for s in samples_of(build_sea("s", languages=("ind", "tha"), lengths=(LONG,), count=1))}
    assert alone.items() <= beside.items()
    other = samples_of(build_sea("s", languages=("tha",), lengths=(LONG,), count=1, seed=43))
    assert not {s.requests[0].context for s in other} & {requests[0].context for requests in alone.values()}


def test_a_longer_length_keeps_the_needles_apart():
    short, long = (samples_of(build("r", lengths=(n,), tasks=("niah_single_2",), count=5)) for n in (1024, LONG))
    texts = [sample.data[2].refs for sample in (*short, *long)]
    assert len(set(texts)) == 10, "no two samples share a needle"


@pytest.mark.parametrize("task", NIAH)
def test_needles_are_as_many_as_the_task_says(task):
    for sample in samples_of(build("r", lengths=(LONG,), tasks=(task,), count=4)):
        drawn, text = sample.data[2], sample.requests[0].context
        body = text.removesuffix(drawn.prefix).rpartition("\n")[0]
        needles = body.count("The secret number of ") + body.count("The secret code of ")
        expected = {"niah_multikey_1": 4, "niah_multivalue": 4, "niah_multiquery": 4}.get(task, 1)
        if task in ("niah_multikey_2", "niah_multikey_3"):
            assert needles > 5, "every sentence is a needle"
        else:
            assert needles == expected
        assert len(drawn.refs) == (4 if task in ("niah_multivalue", "niah_multiquery") else 1)
        assert all(body.count(ref) == 1 for ref in drawn.refs)


def test_a_chain_leads_from_its_value_to_every_name():
    for sample in samples_of(build("r", lengths=(LONG,), tasks=("vt",), count=4)):
        drawn, text = sample.data[2], sample.requests[0].context
        values = {}
        for line in text.split("\n"):
            if line.startswith("LET "):
                name, _, value = line[4:].partition(" = ")
                values[name] = values.get(value, value)  # the assigned names stand in order
        assert {name for name, value in values.items() if value == drawn.slots["query"]} == set(drawn.refs)
        assert len(drawn.refs) == 5


def test_common_words_are_the_most_common():
    for sample in samples_of(build("r", lengths=(LONG,), tasks=("cwe",), count=4)):
        drawn = sample.data[2]
        listed = Counter(word for word in drawn.context(60).split(" ") if not word[0].isdigit())
        top = listed.most_common()
        assert {word for word, _ in top[:10]} == set(drawn.refs)
        assert top[9][1] > top[10][1]
        assert not any(ref in word for ref in drawn.refs for word, _ in top[10:])


def test_coded_words_have_strict_ranks():
    for sample in samples_of(build("r", lengths=(1024, LONG), tasks=("fwe",), count=4)):
        listed = Counter(sample.requests[0].context.split("\n")[1].split(" "))
        ranked = listed.most_common()
        assert ranked[0][0] == "..."
        assert [word for word, _ in ranked[1:4]] == list(sample.data[2].refs)
        assert ranked[1][1] > ranked[2][1] > ranked[3][1] > ranked[4][1]


@given(st.integers(0, 5000), st.integers(10, 300))
def test_counts_of_coded_words_fall(words, vocabulary):
    found = counts(words, vocabulary)
    assert all(a > b for a, b in itertools.pairwise(found[:5]))
    assert all(a >= b for a, b in itertools.pairwise(found))
    expected = [words * 6 / (math.pi * rank) ** 2 for rank in range(1, vocabulary + 1)]
    assert all(one > by_law - 1 for one, by_law in zip(found, expected, strict=True))


@given(st.integers(1, 3000), st.integers(0, 300), st.integers(0, 400), st.lists(st.integers(1, 40), min_size=1, max_size=7))
def test_fitting_finds_what_a_linear_search_finds_or_ends_within_one_per_cent(budget, base, most, sizes):
    def count(units):
        return base + sum(sizes[i % len(sizes)] for i in range(units))

    calls = []
    if base > budget:
        with pytest.raises(TooShort):
            fit(count, budget, most)
        return
    found = fit(lambda units: calls.append(units) or count(units), budget, most)
    best = max(units for units in range(most + 1) if count(units) <= budget)
    assert found <= best
    assert found == best or count(found) >= 0.99 * budget
    assert len(calls) <= 3 * (most.bit_length() + 2)


def test_fitting_ends_where_counts_are_not_regular():
    jagged = [3 * i + (17 * i) % 29 for i in range(500)]
    assert jagged[fit(lambda units: jagged[units], 700, 499)] <= 700


def test_a_language_too_short_for_a_length_is_not_run_there_and_leaves_the_others() -> None:
    """Burmese does not fit 512 tokens of these: its score there is NaN and said; Vietnamese's, and its own at 2,048, are numbers."""
    suite = build_sea("r", ("vie", "mya"), lengths=(512, 2048), tasks=("niah_multikey_3",), count=2)
    found = samples_of(suite, byte_like=True)
    assert list(suite.facts["too short in this model's tokens"]) == ["niah_multikey_3 at 512 in mya"]
    assert suite.facts["beyond the window"] == 0
    rows = {sample.sample: suite.row(sample, [{"text": " ".join(sample.data[2].refs)}] if sample.requests else []) for sample in found}
    assert len(rows) == 8
    for name, row in rows.items():
        short = name.startswith("mya/niah_multikey_3@512")
        assert math.isnan(row.values["score@512"]) == short
        assert not math.isnan(row.values["score@2048"])
        assert ("takes" in row.shown.get("not run", "")) == short


def test_too_short_a_length_names_the_task_and_the_least():
    with pytest.raises(SuiteError, match=r"niah_multikey_3 at 512 in mya takes at least \d{3,4}; give longer"):
        samples_of(build_sea("s", languages=("mya",), lengths=(512,), tasks=("niah_multikey_3",), count=1), byte_like=True)


def test_a_length_beyond_the_window_is_not_run_and_is_no_zero():
    suite = build("r", lengths=(1024, 4096), tasks=("niah_single_1",), count=2)
    context = measured(RENDERERS["bytes"]())
    narrow = dataclasses.replace(context, measure=dataclasses.replace(context.measure, window=2000))
    rows = [suite.row(sample, [{"text": ""}] * len(sample.requests)) for sample in suite.samples(narrow)]
    assert [math.isnan(row.values["score"]) for row in rows] == [False, False, True, True]
    assert [row.values["score@1024"] for row in rows] == [0, 0, 0, 0]
    assert suite.facts["beyond the window"] == 2
    scores = averages(by_length(rows))
    assert scores[1024] == 0
    assert math.isnan(scores[4096])
    assert effective_length(scores) == 0


def test_metrics_name_a_length_and_a_group_and_agree_with_a_mean_by_hand():
    suite = build("r", lengths=(1024, LONG), count=2)
    rows = []
    for number, sample in enumerate(samples_of(suite)):
        refs = sample.data[2].refs
        rows.append(suite.row(sample, [{"text": " ".join(refs[: number % (len(refs) + 1)])}]))
    by_name = {metric.name: metric for metric in suite.metrics}
    assert {"ruler-like", "ruler-like@1024", "ruler-like_niah", "ruler-like_qa@2048"} <= set(by_name)
    for name, metric in by_name.items():
        label = name.removeprefix("ruler-like")
        group, _, length = label.removeprefix("_").partition("@")
        chosen = [r for r in rows if (not length or r.stratum.endswith(f"@{length}")) and (not group or group == _group(r))]
        score = sum(r.values[metric.numerator] for r in rows) / (
            sum(r.values[metric.denominator] for r in rows) if metric.denominator else len(rows)
        )
        assert score == pytest.approx(sum(r.values["score"] for r in chosen) / len(chosen)), name
    tasks = by_length(rows)[1024]
    assert averages(by_length(rows))[1024] == pytest.approx(sum(tasks.values()) / 13)
    assert "effective length: none" in table(rows)


def _group(row):
    return TASKS[row.stratum.partition("@")[0]].group


def test_the_effective_length_is_the_longest_that_reaches_the_line():
    assert effective_length({4096: 96.0, 8192: 85.6, 16384: 85.59, 32768: math.nan}) == 8192
    assert effective_length({4096: 80.0}) == 0


def test_the_margin_holds_the_right_value_against_three_of_its_kind():
    suite = build("r", lengths=(LONG,), mode="margin", count=2)
    for sample in samples_of(suite):
        drawn = sample.data[2]
        assert len({request.context for request in sample.requests}) == 1
        assert [request.continuation.strip() for request in sample.requests] == [drawn.refs[0], *drawn.wrong]
        right = suite.row(sample, [{"logprob": value} for value in (-1.0, -3.0, -2.5, -9.0)])
        assert right.values["margin"] == 1.5
        assert right.values["score"] == 1.0
        assert suite.row(sample, [{"logprob": value} for value in (-3.0, -3.0, -5.0, -9.0)]).values["score"] == 0.0
    assert suite.metrics[0].name == "ruler-like_margin"


def test_the_quick_samples_are_the_first_of_the_full_ones():
    suite = build("r", lengths=(LONG,), tasks=("vt",), count=40)
    full = samples_of(suite)
    context = dataclasses.replace(measured(RENDERERS["bytes"]()), samples="quick")
    assert [s.sample for s in suite.samples(context)] == [s.sample for s in full[:25]]
    assert suite._count(131072, context) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ("niah",)}, "no task 'niah'"),
        ({"lengths": (256,)}, "512 or more"),
        ({"lengths": ()}, "must not be empty"),
        ({"lengths": (512, 512)}, "names one twice"),
        ({"mode": "loud"}, "answer or margin"),
        ({"questions": "web"}, "own or hub"),
        ({"languages": ("tha",)}, "are `ruler-sea`"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(SuiteError, match=message):
        build("r", **options)


def test_without_a_checkpoint_there_is_no_length():
    with pytest.raises(SuiteError, match="run it on a checkpoint"):
        list(build("r").samples(SuiteContext(hub=None, profile_dir=".")))


def test_the_measure_counts_what_is_rendered(renderer):
    for text in ("The boat", "ตลาดริมแม่น้ำ <|endoftext|> x", ""):
        request = Request(kind="generate", context=text, settings={"max_tokens": 4})
        assert renderer.tokens(request) == len(renderer.request(request).context)
        assert isinstance(Measure(tokens=renderer.tokens, tokenizer="", window=1).tokens(request), int)


def test_a_second_run_counts_once_a_sample_and_draws_the_same_bytes(tmp_path):
    def run(folder, tokenizer="digest"):
        context = measured(RENDERERS["bytes"]())
        calls = []
        measure = dataclasses.replace(
            context.measure, tokens=lambda r: calls.append(1) or context.measure.tokens(r), kept=folder, tokenizer=tokenizer
        )
        suite = build("r", lengths=(4096,), tasks=("niah_single_2", "fwe"), count=3)
        return [s.requests[0].context for s in suite.samples(dataclasses.replace(context, measure=measure))], len(calls)

    first, long = run(tmp_path)
    assert run(tmp_path) == (first, 6)
    assert run(None) == (first, long), "what is kept changes nothing"
    assert run(tmp_path, "another tokenizer") == (first, long)
    for path in tmp_path.glob("*.json"):
        path.write_text(path.read_text()[:-7])
    assert run(tmp_path) == (first, long), "a broken file is as none"
    for path in tmp_path.glob("*.json"):
        path.write_text('{"0": [90000, 0], "1": [90000, 0], "2": [90000, 0]}')
    assert run(tmp_path) == (first, long + 6), "a size that does not fit is searched for again"
