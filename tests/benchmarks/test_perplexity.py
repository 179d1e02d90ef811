"""Perplexity: the arithmetic of its rows, its clusters, and its byte 3-gram against a plain dictionary."""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.suites.perplexity import build
from benchmarks.suites.perplexity.trigram import Trigram
from harness import evaluation
from harness.rows import Rows, StatisticsError
from harness.statistics import score
from harness.suites import SuiteContext, SuiteError, SuiteSpec
from tests.harness.checkpoints import checkpoint
from training.recipe import HubText, TextFiles, WorldText, encode

FULL = SuiteContext(hub=None, profile_dir=".", samples="full")
QUICK = SuiteContext(hub=None, profile_dir=".", samples="quick")


def world(language: str, documents: int = 10) -> WorldText:
    return WorldText(language=language, documents=documents, split="held_out")


# ------------------------------------------------------------------------------------------------------------ the byte 3-gram


def by_dictionary(training: list[str], text: str) -> float:
    """Witten-Bell by the book, one byte at a time."""
    after: list[dict[tuple[int, ...], Counter[int]]] = [defaultdict(Counter) for _ in range(3)]
    for one in training:
        row = [-1, -1, *one.encode()]
        for at in range(2, len(row)):
            for order in range(3):
                after[order][tuple(row[at - order : at])][row[at]] += 1
    bits, row = 0.0, [-1, -1, *text.encode()]
    for at in range(2, len(row)):
        probability = 1 / 256
        for order in range(3):
            seen = after[order].get(tuple(row[at - order : at]))
            if seen:
                probability = (seen[row[at]] + len(seen) * probability) / (sum(seen.values()) + len(seen))
        bits -= math.log2(probability)
    return bits


some_text = st.text(st.sampled_from("abc xyzตล\n\x00"), max_size=30)


@settings(max_examples=150, deadline=None)
@given(training=st.lists(some_text.filter(bool), min_size=1, max_size=5), text=some_text)
def test_the_3_gram_is_witten_bells(training, text):
    assert Trigram(training).bits(text) == pytest.approx(by_dictionary(training, text), rel=1e-9, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(training=st.lists(some_text.filter(bool), min_size=1, max_size=4), before=st.text(st.sampled_from("abตz"), max_size=2))
def test_its_probabilities_sum_to_one(training, before):
    model = Trigram(training)
    whole = 0.0
    for byte in range(128):  # bytes that stand alone; the rest is what begins, or goes on, a longer character
        whole += 2 ** -(model.bits(before + chr(byte)) - model.bits(before))
    assert 0 < whole <= 1 + 1e-9


def test_it_learns_and_is_the_same_each_time():
    text = "the boat to the harbour leaves in the morning " * 20
    model = Trigram([text])
    assert model.bits(text) / len(text) < 1.0 < model.bits("zqxj" * 9) / 36
    assert Trigram([text]).bits("boat") == model.bits("boat")
    assert model.bits("") == 0.0
    with pytest.raises(ValueError, match="needs text"):
        Trigram(["", ""])


def test_it_is_fast_enough_for_every_language():
    import time

    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnop", k=5)) for _ in range(2000)]
    texts = [" ".join(rng.choices(words, k=60)) for _ in range(3000)]
    begun = time.perf_counter()
    model = Trigram(texts)
    sum(model.bits(text) for text in texts[:300])
    assert time.perf_counter() - begun < 5  # 1 MB; measured .3 s on one quiet core


# ------------------------------------------------------------------------------------------------------------------ the rows


def test_a_row_is_sufficient_for_the_field_s_numbers():
    suite = build("p", ("eng",), {"eng": [world("eng", 2)]}, {"eng": [WorldText(language="eng", documents=50)]})
    samples = list(suite.samples(FULL))
    rows = [suite.row(sample, [{"logprob": -100.0 * (i + 1), "tokens": 40}]) for i, sample in enumerate(samples)]
    first = rows[0].values
    text = samples[0].requests[0].context
    assert first["bytes"] == len(text.encode())
    assert first["bits"] == pytest.approx(100 / math.log(2))
    assert (first["nats"], first["tokens"]) == (100.0, 40.0)
    training = WorldText(language="eng", documents=50)
    trigram = Trigram([sample.data[0].text for sample in build("p", ("eng",), {"eng": [training]}).samples(FULL)])
    assert first["trigram_gain"] == pytest.approx(trigram.bits(text) - first["bits"])
    assert first["trigram_bytes"] == first["bytes"]
    assert first["words"] == len(re.findall(r"\S+", text))
    assert first["characters"] == len(re.sub(r"\s", "", text))
    assert text.startswith(rows[0].shown["text"])
    metrics = {metric.name: metric for metric in suite.metrics}
    total = {
        name: sum(row.values[metric.numerator] for row in rows) / sum(row.values[metric.denominator] for row in rows)
        for name, metric in metrics.items()
    }
    assert math.exp(total["token_perplexity"]) == pytest.approx(math.exp(300 / 80))
    assert total["bits_per_byte"] == pytest.approx(300 / math.log(2) / sum(row.values["bytes"] for row in rows))
    assert metrics["token_perplexity"].transform == "exp"
    assert [metric.direction for metric in suite.metrics] == ["lower", "lower", "lower", "lower", "higher"]


def test_without_a_3_gram_there_is_no_such_metric():
    suite = build("p", ("eng",), {"eng": [world("eng")]})
    assert [metric.name for metric in suite.metrics] == ["bits_per_byte", "token_perplexity", "fertility", "tokens_per_character"]
    sample = next(iter(suite.samples(FULL)))
    assert set(suite.row(sample, [{"logprob": -1.0, "tokens": 1}]).values) == {"bits", "bytes", "nats", "tokens", "words", "characters"}


def test_a_language_without_a_3_gram_or_words_has_no_such_score():
    suite = build("p", ("eng", "tha"), {one: [world(one, 2)] for one in ("eng", "tha")}, {"eng": [WorldText(language="eng", documents=20)]})
    rows = Rows.of(suite.row(sample, [{"logprob": -1.0, "tokens": 1}]) for sample in suite.samples(FULL))
    metrics = {metric.name: metric for metric in suite.metrics}
    for name, column in (("trigram_advantage", "trigram_bytes"), ("fertility", "words")):
        assert math.isfinite(score(rows, metrics[name], ["eng"]))
        with pytest.raises(StatisticsError, match=f"{column} of tha sums to 0"):
            score(rows, metrics[name], ["tha"])
    assert score(rows, metrics["tokens_per_character"], ["tha"]) > 0


def test_the_tellings_of_one_story_are_one_cluster():
    suite = build("p", ("eng", "vie"), {one: [encode(world(one))] for one in ("eng", "vie")})
    samples = list(suite.samples(FULL))
    clusters = {language: [s.cluster for s in samples if s.language == language] for language in ("eng", "vie")}
    assert clusters["eng"] == clusters["vie"]
    assert len({sample.sample for sample in samples}) == 20
    assert {sample.stratum for sample in samples} == {"combos", "patterns"}


def test_quick_samples_keep_the_same_stories_in_every_language():
    suite = build("p", ("eng", "vie"), {one: [world(one, 40)] for one in ("eng", "vie")}, quick=5)
    samples = list(suite.samples(QUICK))
    assert len(samples) == 2 * 2 * 5  # languages, strata
    assert {s.cluster for s in samples if s.language == "eng"} == {s.cluster for s in samples if s.language == "vie"}


def test_articles_of_a_parallel_text_are_one_cluster(hub):
    def udhr(language: str) -> HubText:
        return HubText(
            dataset="un/udhr", config=language, split="train", field="text", language=language, licence="public", select="udhr_held_out"
        )

    from training.pretraining.select import RULES

    if "udhr_held_out" not in RULES:
        pytest.skip("no such rule")
    suite = build("p", ("eng", "lao"), {one: [udhr(one)] for one in ("eng", "lao")})
    samples = list(suite.samples(SuiteContext(hub=str(hub), profile_dir=".")))
    clusters = {language: {s.cluster for s in samples if s.language == language} for language in ("eng", "lao")}
    assert clusters["eng"] == clusters["lao"]


def test_a_users_own_files_have_a_cluster_a_document(tmp_path):
    for language in ("eng", "vie"):
        lines = [json.dumps({"body": f"document {i}"}) for i in range(3)]
        (tmp_path / f"{language}.jsonl").write_text("\n".join(lines))
    given_ = {one: [TextFiles(path=f"{one}.jsonl", language=one, field="body")] for one in ("eng", "vie")}
    samples = list(build("p", ("eng", "vie"), given_).samples(SuiteContext(hub=None, profile_dir=str(tmp_path))))
    assert len({sample.cluster for sample in samples}) == len({sample.sample for sample in samples}) == 6


def test_a_shorter_window_is_asked_of_the_model():
    suite = build("p", ("eng",), {"eng": [world("eng", 1)]}, window=128)
    (sample,) = suite.samples(FULL)
    assert sample.requests[0].settings == {"window": 128}


@pytest.mark.parametrize(
    ("languages", "sources", "message"),
    [
        (("eng", "lao"), {"eng": [world("eng")]}, "no source for lao"),
        (("eng",), {"eng": [world("vie")]}, "it is listed under eng"),
        (("eng",), {"eng": [TextFiles(path="nowhere.jsonl", language="eng")]}, "nowhere"),
        (("xxx",), {"xxx": [world("xxx")]}, "xxx"),
        (("eng",), {"eng": [HubText(dataset="no/such", config="a", split="b", field="c", language="eng", licence="")]}, "mirror"),
    ],
)
def test_missing_text_is_named(languages, sources, message):
    with pytest.raises(SuiteError, match=message):
        list(build("p", languages, sources).samples(FULL))


@pytest.mark.parametrize("text", ["\ud800", "a\x00b"])
def test_text_that_is_not_text_is_named(tmp_path, text):
    (tmp_path / "eng.jsonl").write_text(json.dumps({"text": text}))
    with pytest.raises(SuiteError, match=r"eng\.jsonl"):
        list(
            build("p", ("eng",), {"eng": [TextFiles(path="eng.jsonl", language="eng")]}).samples(
                SuiteContext(hub=None, profile_dir=str(tmp_path))
            )
        )


def test_an_empty_corpus_is_named(tmp_path):
    (tmp_path / "eng.jsonl").write_text("\n")
    with pytest.raises(SuiteError, match="no document"):
        list(
            build("p", ("eng",), {"eng": [TextFiles(path="eng.jsonl", language="eng")]}).samples(
                SuiteContext(hub=None, profile_dir=str(tmp_path))
            )
        )


def test_every_suite_has_its_readme():
    root = Path(__file__).resolve().parents[2] / "benchmarks" / "suites"
    for folder in (path for path in root.iterdir() if (path / "__init__.py").is_file()):
        text = (folder / "README.md").read_text(encoding="utf-8")
        for heading in ("What", "Source", "Metric", "Shots", "Counts", "Deviations"):
            assert f"**{heading}" in text, f"{folder.name}: {heading}"


def test_a_document_that_training_repeats_is_left_out_and_counted(tmp_path):
    from training.world import text

    held_out = [document.text for document in text.documents(WorldText(language="ind", documents=6, split="held_out"))]
    train = [document.text for document in text.documents(WorldText(language="ind", documents=30, seed=5))]
    for name, texts in (("held", held_out), ("train", [*train, held_out[2].upper()])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in texts), encoding="utf-8")
    source, training = (TextFiles(path=f"{name}.jsonl", language="ind") for name in ("held", "train"))
    suite = build("p", ("ind",), {"ind": [source]}, apart_from={"ind": [training]})
    kept = [sample.data[0].text for sample in suite.samples(SuiteContext(hub=None, profile_dir=str(tmp_path)))]
    assert kept == [each for each in held_out if each != held_out[2]]
    assert suite.facts == {"invalid": {}, "left out, in the training text": 1}


def test_a_language_may_have_a_quick_sample_of_its_own_size():
    languages = ("eng", "ind")
    given_ = {language: [WorldText(language=language, documents=40, split="held_out")] for language in languages}
    suite = build("p", languages, given_, quick={"": 3, "eng": 8})
    counted = Counter(
        (sample.language, sample.stratum) for sample in suite.samples(SuiteContext(hub=None, profile_dir=".", samples="quick"))
    )
    assert set(counted.values()) == {3, 8}
    assert all(count == (8 if language == "eng" else 3) for (language, _), count in counted.items())


BAD = [{"text": "  "}, {"text": None}, {"text": "a\x00b"}, {"texts": "other field"}]


@pytest.mark.parametrize(("bad", "said"), [(1, "left out"), (4, "too many")])
def test_rows_that_are_no_text_or_blank_are_counted_and_beyond_one_per_cent_take_the_value(tmp_path, bad, said):
    lines = [{"text": f"rice {i}"} for i in range(120)] + BAD[:bad]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    suite = build("p", ("eng",), {"eng": [TextFiles(path="t.jsonl", language="eng")]}, quick=9)
    found = list(suite.samples(SuiteContext(hub=None, profile_dir=str(tmp_path), samples="quick")))
    assert suite.facts["invalid"]["eng"][said] == bad
    assert [sample.invalid for sample in found].count("") == 9
    assert len(found) == (9 if bad == 1 else 9 + bad)


def test_a_whole_run_with_invalid_rows_has_rows_without_a_value_and_no_verdict(tmp_path):
    """Below 1 % the score is that of the others; above it every metric of the language is without a value, and of no other language."""
    sources = {}
    for language, bad in (("eng", 1), ("ind", 4)):
        lines = [{"text": f"rice {i}"} for i in range(120)] + BAD[:bad]
        (tmp_path / f"{language}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        sources[language] = [encode(TextFiles(path=f"{language}.jsonl", language=language))]
    told = evaluation.Order(
        checkpoint=checkpoint(),
        model_digest="a" * 64,
        tokenizer_digest="b" * 64,
        suites={"p": SuiteSpec(suite="perplexity", languages=("eng", "ind"), options={"sources": sources})},
        store=tmp_path / "store",
        output=tmp_path / "out",
        profile_dir=str(tmp_path),
        threads=1,
    )
    facts = evaluation.run(told)["p"]["facts"]
    assert {language: (entry.get("left out"), entry.get("too many")) for language, entry in facts["invalid"].items()} == {
        "eng": (1, None),
        "ind": (None, 4),
    }
    rows = Rows.read(tmp_path / "out" / "p.parquet")
    bits = build("p", ("eng",), {"eng": [world("eng")]}).metrics[0]
    assert len(rows.select(["eng"])) == 120
    assert score(rows, bits, ["eng"]) > 0
    with pytest.raises(StatisticsError, match="is nan"):
        score(rows, bits, ["ind"])


def test_a_mirrors_documents_are_those_of_training_under_every_rule(tmp_path):
    """What is sifted reads as `sources.read` does: same ids, texts and clusters where nothing is amiss."""
    from benchmarks.suites.perplexity.texts import _documents
    from training.pretraining import sources as reading

    folder = tmp_path / "org" / "set" / "en"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text(
        "\n".join(json.dumps({"text": text, "article": i // 2}) for i, text in enumerate(["a", " ", "b", "c", "a"]))
    )
    (tmp_path / "MANIFEST.json").write_text('{"org/set/en/train.jsonl": {"rows": 5}}')
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in "abc"))
    for source in (
        *(
            HubText(dataset="org/set", config="en", split="train", field="text", language="eng", licence="x", select=rule)
            for rule in ("distinct", "udhr-articles")
            if rule in reading.RULES
        ),
        TextFiles(path="t.jsonl", language="eng"),
    ):
        found = [document for document in _documents(source, tmp_path, tmp_path) if isinstance(document, reading.Document)]
        assert found == list(reading.read(source, tmp_path, tmp_path))
        assert found
