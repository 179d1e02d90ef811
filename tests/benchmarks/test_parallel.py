"""Suites of parallel text: their scores against sacrebleu's own corpus scores, the languages of answers, and gates over them."""

from __future__ import annotations

import json
import math
import random

import pytest
from sacrebleu.metrics import BLEU, CHRF

from benchmarks.suites.parallel import prompts
from harness import evaluation_command
from harness.gates import Gate, judge_stage
from harness.rows import Rows, StatisticsError
from harness.statistics import estimate, score
from harness.suites import SuiteError
from tests.benchmarks import parallel_kit as kit

OTHERS = ("ind", "tha", "ceb")
SIDES = ("from_english", "into_english")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    return kit.flores(tmp_path_factory.mktemp("hub"))


def drawn(hub, *languages, samples="quick", **options):
    made = kit.suite("flores200", *languages, **options)
    return made, list(made.samples(kit.context(hub, samples))), {metric.name: metric for metric in made.metrics}


def scrambled(sample):
    """A poor translation: half of the words, some of them twice."""
    rng, words = random.Random(sample.sample), sample.data.reference.split()
    return " ".join(word * rng.randint(1, 2) for word in words if rng.random() < 0.6)


# ------------------------------------------------------------------------------------------------------------------- scores


def test_the_scores_are_sacrebleus_corpus_scores_and_no_mean_of_sentences(hub):
    made, samples, metrics = drawn(hub, *OTHERS)
    table = kit.answered(made, samples, lambda sample: f" {scrambled(sample)}\nmore")
    for language in OTHERS:
        for side, pair in (("from_english", f"eng-{language}"), ("into_english", f"{language}-eng")):
            chosen = [sample for sample in samples if sample.stratum == pair]
            said, gold = [scrambled(one).strip() for one in chosen], [one.data.reference for one in chosen]
            for name, reference in (("chrf", CHRF(word_order=2)), ("bleu", BLEU())):
                whole = reference.corpus_score(said, [gold]).score
                assert 1 < whole < 99
                assert score(table, metrics[f"{name}_{side}"], [language]) == pytest.approx(whole, abs=1e-9)
            sentences = [CHRF(word_order=2).sentence_score(text, [right]).score for text, right in zip(said, gold, strict=True)]
            assert abs(sum(sentences) / len(sentences) - score(table, metrics[f"chrf_{side}"], [language])) > 1e-3
            assert CHRF().corpus_score(said, [gold]).score != pytest.approx(score(table, metrics[f"chrf_{side}"], [language]), abs=0.01)


def test_gold_answers_give_100_and_empty_ones_0_and_order_counts_for_nothing(hub):
    made, samples, metrics = drawn(hub, *OTHERS)
    gold = kit.answered(made, samples, lambda sample: sample.data.reference)
    empty = kit.answered(made, samples, lambda sample: "")
    backwards = kit.answered(made, samples[::-1], scrambled)
    for side in SIDES:
        assert score(gold, metrics[f"chrf_{side}"], OTHERS) == pytest.approx(100)
        assert score(gold, metrics[f"set_target_language_{side}"], OTHERS) == 1.0
        assert score(empty, metrics[f"chrf_{side}"], OTHERS) == score(empty, metrics[f"bleu_{side}"], OTHERS) == 0
        assert score(empty, metrics[f"undecided_{side}"], OTHERS) == 1.0
        with pytest.raises(StatisticsError, match="decided"):
            score(empty, metrics[f"target_language_{side}"], OTHERS)
        forwards = score(kit.answered(made, samples, scrambled), metrics[f"chrf_{side}"], OTHERS)
        assert score(backwards, metrics[f"chrf_{side}"], OTHERS) == pytest.approx(forwards, abs=1e-9)


def test_an_answer_in_the_wrong_language_is_seen_where_chrf_is_not_nought(hub):
    made, samples, metrics = drawn(hub, "ceb")
    copied = kit.answered(made, samples, lambda sample: sample.data.source)
    for side in SIDES:
        assert score(copied, metrics[f"target_language_{side}"], ["ceb"]) < 0.05
        assert score(copied, metrics[f"chrf_{side}"], ["ceb"]) > 5


def test_a_direction_counts_nothing_of_the_other(hub):
    made, samples, metrics = drawn(hub, "ind")
    table = kit.answered(made, samples, lambda sample: sample.data.reference if sample.stratum == "eng-ind" else "")
    assert score(table, metrics["chrf_from_english"], ["ind"]) == pytest.approx(100)
    assert score(table, metrics["chrf_into_english"], ["ind"]) == 0
    one_way, _, named = drawn(hub, "ind", pairs=["eng-ind"])
    assert not [name for name in named if name.endswith("into_english")]
    assert not [column for column in one_way.columns if column.endswith("into_english")]


def test_likelihood_is_bits_of_the_reference_over_its_bytes(hub):
    made, samples, metrics = drawn(hub, *OTHERS, modes=["likelihood"])
    assert {name.rpartition("_")[0].removesuffix("_from").removesuffix("_into") for name in metrics} == {"bits_per_byte"}
    table = kit.answered(made, samples, lambda sample: "")
    for side in SIDES:
        assert score(table, metrics[f"bits_per_byte_{side}"], OTHERS) == pytest.approx(1 / math.log(2))
    for sample in samples:
        (request,) = sample.requests
        assert request.kind == "loglikelihood"
        assert request.continuation == f" {sample.data.reference}"


# -------------------------------------------------------------------------------------------------------------------- gates


def gate(metric: str, line: float, *languages: str, macro: bool = False) -> Gate:
    name = f"stage2.mt.{'macro' if macro else languages[0]}"
    return Gate(
        name=name, stage="stage2", label="mt", suite="flores200", metric=metric, rule="at_least", line=line, languages=languages,
        macro=macro, reason="a test",
    )  # fmt: skip


def judged(one: Gate, table: Rows, metrics):
    return judge_stage([one], lambda which, suite: table, {"flores200": metrics})[one.name]


def test_a_macro_gate_averages_languages_and_a_guard_sees_the_one_that_is_lost(hub):
    made, samples, metrics = drawn(hub, *OTHERS)
    table = kit.answered(
        made, samples, lambda sample: sample.data.reference.split()[0] if sample.stratum == "eng-ceb" else scrambled(sample)
    )
    alone = {language: score(table, metrics["chrf_from_english"], [language]) for language in OTHERS}
    mean = sum(alone.values()) / 3
    macro = judged(gate("chrf_from_english", mean - 10, *OTHERS, macro=True), table, metrics)
    assert macro.value == pytest.approx(mean)
    assert macro.verdict == "pass"
    assert judged(gate("chrf_from_english", mean + 10, *OTHERS, macro=True), table, metrics).verdict == "fail"
    assert judged(gate("chrf_from_english", mean - 10, "ceb"), table, metrics).verdict == "fail"
    assert judged(gate("chrf_into_english", mean - 10, "ceb"), table, metrics).verdict == "pass"


def test_the_interval_of_a_macro_average_is_the_jackknife_over_sentences(hub):
    made, samples, metrics = drawn(hub, "ind", "tha")
    table = kit.answered(made, samples, scrambled)

    def corpus(without: str = "") -> float:
        kept = [one for one in samples if one.data.pair.source == "eng" and one.cluster != without]
        by_language = [[one for one in kept if one.language == language] for language in ("ind", "tha")]
        found = [
            CHRF(word_order=2).corpus_score([scrambled(o) for o in some], [[o.data.reference for o in some]]).score for some in by_language
        ]
        return sum(found) / 2

    names = sorted({sample.cluster for sample in samples})
    assert len(names) == 25, "the same sentences in both languages and directions"
    squares = sum((corpus() - corpus(name)) ** 2 for name in names)
    found = estimate(table, metrics["chrf_from_english"], ["ind", "tha"])
    assert found.value == pytest.approx(corpus(), abs=1e-9)
    assert found.standard_error == pytest.approx(((len(names) - 1) / len(names) * squares) ** 0.5, rel=1e-6)


def test_a_language_without_a_direction_has_no_score_rather_than_0(hub):
    made, samples, metrics = drawn(hub, "ind", "tha", pairs=["eng-ind", "ind-eng", "eng-tha"])
    table = kit.answered(made, samples, lambda sample: sample.data.reference)
    assert score(table, metrics["chrf_into_english"], ["ind"]) == pytest.approx(100)
    verdict = judged(gate("chrf_into_english", 0, "ind", "tha", macro=True), table, metrics)
    assert verdict.verdict == "inconclusive"
    assert "not a finite number" in verdict.reason


# ------------------------------------------------------------------------------------------------------------------- prompts


def test_a_prompt_is_shots_of_dev_and_the_sentence_alone(hub):
    made, samples, _ = drawn(hub, "ind", "tha", samples="full", modes=["generate"])
    assert len(samples) == 4 * 1012
    shots = made.facts["shots"]["eng-ind"]
    assert len(shots) == 3
    assert set(map(tuple, made.facts["shots"].values())) == {tuple(shots)}
    assert not {name.split("/")[1] for name in (sample.sample for sample in samples)} & set(shots)
    sample = next(one for one in samples if one.stratum == "eng-ind")
    numbers = [int(one.removeprefix("dev-")) - 1 for one in shots]
    blocks = [f"English: {kit.sentence('eng', i)}\nIndonesian: {kit.sentence('ind', i)}\n\n" for i in numbers]
    assert sample.requests[0].context == "".join(blocks) + f"English: {sample.data.source}\nIndonesian:"
    assert sample.requests[0].settings["stop"] == ["\n"]
    _, other, _ = drawn(hub, "ind", seed=1)
    assert other[0].requests[0].context.count("English: ") == 4
    assert not other[0].requests[0].context.startswith(blocks[0])
    _, bare, _ = drawn(hub, "ind", shots=0)
    assert bare[0].requests[0].context == f"English: {bare[0].data.source}\nIndonesian:"


def test_a_chat_prompt_is_a_conversation_whose_turns_are_the_shots(hub):
    made, samples, _ = drawn(hub, "tha", chat=True)
    generate, likelihood = samples[0].requests
    messages = json.loads(generate.context)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 3 + ["user"]
    assert messages[-1]["content"].endswith(samples[0].data.source)
    assert generate.settings["chat"] is likelihood.settings["chat"] is True
    assert generate.settings["stop"] == []
    assert likelihood.continuation == samples[0].data.reference
    two_lines = made.row(samples[0], [{"text": "Here it is:\n\n" + samples[0].data.reference}, {"logprob": -1.0}])
    assert two_lines.shown["answer"].startswith("Here it is: ")


def test_a_translation_may_take_what_its_source_says_in_bytes(hub):
    _, samples, _ = drawn(hub, *OTHERS)
    for sample in samples:
        expected = prompts.most_tokens(sample.data.pair.source, sample.data.pair.target, sample.data.source, 1024)
        assert sample.requests[0].settings["max_tokens"] == expected
    assert prompts.most_tokens("eng", "mya", "a" * 100, 1024) == 645  # 100 * 4.3 * 1.5
    assert prompts.most_tokens("mya", "eng", "က" * 200, 1024) == 84  # 600 / 4.3 * 1.5 * .4
    assert prompts.most_tokens("eng", "mya", "a" * 100, 200) == 200
    assert prompts.most_tokens("eng", "ind", "a", 1024) == 32


# ------------------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("languages", "options", "message"),
    [
        (("eng",), {}, "leave it out"),
        (("ind", "tha"), {"pairs": ["eng-ind"]}, "tha stands in `languages` or in a pair"),
        (("ind",), {"pairs": ["ind"]}, "has no language of 'ind'"),
        (("ind",), {"pairs": ["eng-xyz"]}, "has no xyz"),
        (("ind",), {"modes": ["sing"]}, "generate, likelihood"),
        (("ind",), {"shots": -1}, "shots is -1"),
        (("ind",), {"spm": "here.model"}, "absolute path"),
        (("ind",), {"shot": 1}, "does not take these options"),
    ],
)
def test_an_option_that_cannot_be_is_named(languages, options, message):
    with pytest.raises(SuiteError, match=message):
        kit.suite("flores200", *languages, **options)


def test_pairs_without_english_are_about_their_target(hub):
    made, samples, metrics = drawn(hub, "tha", pairs=["ind-tha", "ceb-tha"])
    assert {(one.language, one.stratum) for one in samples} == {("tha", "ind-tha"), ("tha", "ceb-tha")}
    table = kit.answered(made, samples, lambda sample: sample.data.reference if sample.stratum == "ind-tha" else "")
    assert score(table.select(["tha"], "ind-tha"), metrics["chrf_without_english"], ["tha"]) == pytest.approx(100)
    assert score(table.select(["tha"], "ceb-tha"), metrics["chrf_without_english"], ["tha"]) == 0


def test_shares_lie_between_nought_and_one_and_n_counts_the_direction(hub):
    made, samples, _metrics = drawn(hub, "tha", pairs=["eng-tha", "tha-eng"])
    table = kit.answered(made, samples, lambda sample: "" if sample.sample.endswith("1") else sample.data.reference)
    shown = {line.metric: line for line in evaluation_command.lines(table, "flores200", made.metrics, ["tha"])}
    assert {shown[f"{name}_{side}"].interval[1] <= 1 for name in ("undecided", "target_language") for side in SIDES} == {True}
    assert shown["chrf_from_english"].count == str(sum(sample.stratum == "eng-tha" for sample in samples))


# -------------------------------------------------------------------------------------------------------------------- spBLEU


def test_spbleu_is_absent_without_its_model_and_right_with_one(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("SACREBLEU", str(tmp_path / "sacrebleu"))
    without, _, metrics = drawn(hub, "tha")
    assert not [name for name in metrics if name.startswith("spbleu")]
    assert without.facts["signatures"]["spbleu"].startswith("absent")
    with pytest.raises(SuiteError, match=r"no\.model is not a SentencePiece model"):
        drawn(hub, "tha", spm=str(tmp_path / "no.model"))

    sentencepiece = pytest.importorskip("sentencepiece", reason="the extra spbleu is not installed")
    lines = [kit.sentence(language, i) for language in ("eng", "tha") for i in range(200)]
    folder = tmp_path / "sacrebleu" / "models"
    folder.mkdir(parents=True)
    prefix = folder / "small"
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(lines), model_prefix=str(prefix), vocab_size=300, hard_vocab_limit=False, num_threads=1, minloglevel=2
    )
    (folder / "small.model").rename(folder / "flores200sacrebleuspm")
    made, samples, metrics = drawn(hub, "tha")
    assert "tok:spm|" in made.facts["signatures"]["spbleu"]
    assert "unverified model, as flores200, sha256:" in made.facts["signatures"]["spbleu"], "no digest of the original is published"
    table = kit.answered(made, samples, scrambled)

    from sacrebleu.tokenizers import tokenizer_spm

    monkeypatch.setattr(tokenizer_spm, "SACREBLEU_DIR", str(tmp_path / "sacrebleu"))
    for side in SIDES:
        chosen = [one for one in samples if one.data.pair.side == side]
        theirs = BLEU(tokenize="flores200").corpus_score([scrambled(o) for o in chosen], [[o.data.reference for o in chosen]])
        assert 1 < theirs.score < 99
        assert score(table, metrics[f"spbleu_{side}"], ["tha"]) == pytest.approx(theirs.score, abs=1e-9)
