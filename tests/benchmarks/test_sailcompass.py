"""SailCompass: its layout, its whole-sequence prediction against a plain loop, originals from a checkout, and data that is not what it should be."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.suites.sailcompass import BY_DATA, MORE, alone, answers
from benchmarks.suites.sailcompass.tasks import TASKS
from benchmarks.suites.sailcompass.wording import ASKED, LIKE
from harness.backends.hf import HFBackend
from harness.backends.rendering import Renderer
from harness.evaluation_command import table
from harness.suites import SuiteContext, SuiteError, SuiteSpec, load
from tests.benchmarks import sailcompass_kit as kit
from tests.benchmarks.parallel_kit import put
from tests.harness.checkpoints import checkpoint, logprobs


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    kit.put_xcopa(tmp_path, kit.xcopa())
    return tmp_path


# ---------------------------------------------------------------------------------------------------------------- the prompt


def test_item_0_is_laid_out_as_the_original_lays_it_out(hub: Path) -> None:
    first = kit.samples(hub, "xcopa", "ind")[0]
    texts = [request.context for request in first.requests]
    shots = "Kalimat: Lantai dapur basah.\nPertanyaan: Mengapa hal itu terjadi?\nJawaban: Air dari ember tumpah.\n\n"
    assert texts[0].startswith(f"Baca kalimat berikut, lalu jawab pertanyaannya.\n\n{shots}Kalimat: Budi")
    assert texts[0].endswith("\n\nKalimat: Air naik 0.\nPertanyaan: Mengapa hal itu terjadi?\nJawaban: Ikan habis sekali.")
    assert texts[1].endswith("\nJawaban: Padi menguning di desa seberang sungai.")
    assert texts[0].count("\n\n") == 4
    assert all(request.settings == {"first": "unscored"} for request in first.requests)


@pytest.mark.parametrize(("task", "language"), LIKE)
def test_our_words_have_the_originals_shots_fill_every_field_and_end_without_a_blank(task: str, language: str) -> None:
    words = LIKE[task, language]
    known = BY_DATA[task].get(language) or MORE[task, language]
    assert len(words.shots) == known.shots
    assert known.shots == (1 if task in ("thaisum", "indosum", "xlsum") else 3)
    assert bool(words.labels) == known.likelihood
    for pieces in words.pieces().values():
        shown = "\n".join(pieces[:-2])  # all but the item and its answer
        assert "{" not in shown
        assert pieces[0].endswith("\n")
        assert not pieces[0].endswith("\n\n")
        assert pieces[-1] == pieces[-1].strip()
        assert pieces[-1].startswith(words.lead)
    if words.labels and not any("{" in answer for answer in words.labels.values()):
        assert {answer for _, answer in words.shots} <= set(words.labels.values())
    assert words.lead.endswith(":")


def test_causes_and_effects_are_asked_for_in_words_of_their_own() -> None:
    assert all(asked["cause"] != asked["effect"] for asked in ASKED.values())


# ------------------------------------------------------------------------------------------------------------ the prediction


@pytest.fixture(scope="module")
def brute(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Sixteen items and, by a loop of one text at a time in float64, the score of each whole text."""
    hub = tmp_path_factory.mktemp("hub")
    kit.put_xcopa(hub, kit.xcopa(16))
    made = kit.samples(hub, "xcopa", "ind", counts={"ind": 16})
    path = checkpoint(family="qwen2", context=2048)
    from training.models.load import load_tokenizer

    tokenizer = load_tokenizer(path)
    scores = []
    for sample in made:
        mine = []
        for request in sample.requests:
            tokens = tokenizer(request.context).input_ids
            table = logprobs(path, tokens)
            mine.append(-sum(float(table[at, token]) for at, token in enumerate(tokens[1:])) / len(tokens))
        scores.append(mine)
    return {"samples": made, "path": path, "tokenizer": tokenizer, "scores": scores}


@pytest.mark.parametrize("rows", [1, 8])
def test_every_prediction_is_that_of_a_plain_loop_at_batch_size(brute: dict[str, Any], rows: int) -> None:
    renderer = Renderer(brute["tokenizer"], 2048)
    made = brute["samples"]
    rendered = [one for sample in made for one in renderer.sample(sample)]
    longest = max(len(one.context) + len(one.continuation) for one in rendered)
    backend = HFBackend(brute["path"], brute["tokenizer"], batch_tokens=1 if rows == 1 else rows * 2 * longest)
    found = dict(pair for part, _ in backend.answers(rendered) for pair in part)
    suite = load(SuiteSpec(suite="sailcompass", languages=("ind",), options={"task": "xcopa"}), "xcopa")
    predicted = set()
    for index, (sample, scores) in enumerate(zip(made, brute["scores"], strict=True)):
        row = suite.row(sample, [found[2 * index], found[2 * index + 1]])
        best, gold = scores.index(min(scores)), sample.data["gold"]
        assert row.values["correct"] == float(best == gold)
        assert row.values["margin"] == pytest.approx(scores[1 - gold] - scores[gold], abs=2e-5)
        predicted.add(best)
    assert predicted == {0, 1}  # items of both kinds, or nothing was shown


def test_the_prediction_is_no_sum_and_no_mean_of_the_answer() -> None:
    """A prompt's own loss counts: adding to every answer's can change the choice, which it never could under `acc`."""
    short, long = (10.0, 5), (16.0, 9)  # nats and tokens of two answers

    def best(prompt: float, tokens: int) -> int:
        return answers.predict(answers.whole_scores([-(prompt + one) for one, _ in (short, long)], [tokens + n for _, n in (short, long)]))

    assert best(20.0, 20) == 0
    assert best(60.0, 20) == 1


# --------------------------------------------------------------------------------------------------------------- originals


def test_the_originals_words_come_from_the_checkout_and_nothing_of_it_runs(hub: Path, tmp_path: Path) -> None:
    home = kit.checkout(tmp_path / "checkout")
    suite = load(SuiteSpec(suite="sailcompass", languages=("ind",), options={"task": "xcopa", "originals": "given"}), "xcopa")
    assert [metric.name for metric in suite.metrics] == ["sailcompass_accuracy", "sailcompass_margin"]
    context = SuiteContext(hub=str(hub), profile_dir=".", originals=(str(tmp_path), str(home)))
    first, second = list(suite.samples(context))[:2]
    assert first.requests[0].context == "Asked by a test.\n\nSay: Air naik 0. Because?\nSo: Ikan habis sekali."
    assert second.requests[1].context.startswith("Asked by a test.\n\nSay: Ikan habis 1. Then?\nSo: ")
    with pytest.raises(SuiteError, match="--gate-originals"):
        list(suite.samples(SuiteContext(hub=str(hub), profile_dir=".")))


def exam(count: int, answer: str, number: int) -> dict[str, Any]:
    return {"question_text": f"Q{number}", "options": [f"{n}. option {n}" for n in range(1, count + 1)], "answer_text": answer}


def test_an_exam_is_pooled_over_its_option_counts_and_thai_digits_are_digits(tmp_path: Path) -> None:
    home = kit.checkout(tmp_path / "checkout")
    for count, given in ((2, ["1", "๒"]), (4, ["๔", "4", "3"]), (5, ["๕"])):
        file = tmp_path / f"sail/Sailcompass_data/m3exam/thai-questions-test-{count}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([exam(count, answer, number) for number, answer in enumerate(given)]), encoding="utf-8")
    suite = load(SuiteSpec(suite="sailcompass", languages=("tha",), options={"task": "m3exam", "originals": "given"}), "m3exam")
    made = list(suite.samples(SuiteContext(hub=str(tmp_path), profile_dir=".", originals=(str(home),))))
    assert [len(sample.requests) for sample in made] == [2, 2, 4, 4, 4, 5]
    assert [sample.data["gold"] for sample in made] == [0, 1, 3, 3, 2, 4]
    assert len({sample.sample for sample in made}) == len({sample.cluster for sample in made}) == 6
    assert made[-1].requests[4].context == "Asked by a test.\n\nExam: Q0\nPick: option 5"
    right = [{"logprob": -float(index), "tokens": 10} for index in range(5)]  # the first option is always the likeliest
    rows = [suite.row(sample, right[: len(sample.requests)]) for sample in made]
    assert sum(row.values["correct"] for row in rows) / 6 == pytest.approx(1 / 6)  # pooled: weighted by items, not a mean of three files


# ------------------------------------------------------------------------------------------------------------- generation


def test_exact_match_and_f1_over_the_best_gold(tmp_path: Path) -> None:
    context = "Perahu Sari berangkat dari Ambon."
    rows = [{"context": context, "question": f"Q{i}?", "answers": {"text": ["Ambon", "kota"], "answer_start": [0]}} for i in range(1190)]
    put(tmp_path, "google/xquad/xquad.vi/validation.jsonl", rows)
    suite = load(SuiteSpec(suite="sailcompass", languages=("vie",), options={"task": "xquad"}), "xquad")
    sample = kit.samples(tmp_path, "xquad", "vie")[0]
    (request,) = sample.requests
    assert request.kind == "generate"
    assert request.settings == {"max_tokens": 95, "stop": ["\n"], "encoding": "lm_eval"}
    assert request.context.endswith("\nCâu hỏi: Q0?\nTrả lời:")

    def said(text: str) -> dict[str, float]:
        return dict(suite.row(sample, [{"text": text}]).values)

    assert said(" Ambon.\nmore") == {"exact": 1.0, "f1": 1.0}
    assert said("Trả lời: ambon") == {"exact": 1.0, "f1": 1.0}
    assert said("di Ambon") == {"exact": 0.0, "f1": pytest.approx(2 / 3)}

    both = {"task": "xquad", "modes": ["generate", "likelihood"]}
    asked = load(SuiteSpec(suite="sailcompass", languages=("vie",), options=both), "xquad")
    assert [metric.name for metric in asked.metrics] == [f"sailcompass-like_{name}" for name in ("exact", "f1", "answer_bits_per_byte")]
    one = next(iter(asked.samples(SuiteContext(hub=str(tmp_path), profile_dir="."))))
    assert [one.kind for one in one.requests] == ["generate", "loglikelihood"]
    assert one.requests[1].context == one.requests[0].context
    assert one.requests[1].continuation == " Ambon"
    values = asked.row(one, [{"text": " Ambon"}, {"logprob": -12 * math.log(2), "tokens": 3}]).values
    assert values == {"exact": 1.0, "f1": 1.0, "bits": pytest.approx(12.0), "bytes": 6.0}
    assert said("") == {"exact": 0.0, "f1": 0.0}


# ------------------------------------------------------------------------------------------------------------------ bad data


def test_a_short_file_is_no_benchmark_unless_it_is_said(tmp_path: Path) -> None:
    kit.put_xcopa(tmp_path, kit.xcopa(499))
    with pytest.raises(SuiteError, match=r"499 rows, xcopa has 500.*counts = \{\"ind\": 499\}"):
        kit.samples(tmp_path, "xcopa", "ind")
    assert len(kit.samples(tmp_path, "xcopa", "ind", counts={"ind": 499})) == 499


def test_rows_that_cannot_be_judged_are_counted_and_too_many_stop_the_suite(tmp_path: Path) -> None:
    rows = kit.xcopa()
    for number in range(5):
        rows[number] |= {"choice2": rows[number]["choice1"]}
    kit.put_xcopa(tmp_path, rows)
    assert len(kit.samples(tmp_path, "xcopa", "ind")) == 495
    rows[7] |= {"label": None}
    kit.put_xcopa(tmp_path, rows)
    with pytest.raises(SuiteError, match="6 of 500 rows cannot be judged"):
        kit.samples(tmp_path, "xcopa", "ind")


def test_questions_are_no_sentiment_and_names_and_numbers_are_the_same_label(tmp_path: Path) -> None:
    given = ["pos", "neu", "neg", "q", 0, 1, 2, 3]
    put(
        tmp_path,
        "pythainlp/wisesight_sentiment/wisesight_sentiment/test.jsonl",
        [{"texts": f"t{i}", "category": c} for i, c in enumerate(given)],
    )
    made = kit.samples(tmp_path, "wisesight", "tha")
    assert [sample.data["gold"] for sample in made] == [0, 1, 2, 0, 1, 2]


def test_questions_on_one_passage_are_one_cluster_and_quick_is_spread(tmp_path: Path) -> None:
    put(tmp_path, "facebook/belebele/ind_Latn/test.jsonl", kit.belebele())
    made = kit.samples(tmp_path, "belebele", "ind")
    assert len(made) == 900
    assert len({sample.cluster for sample in made}) == 450
    few = kit.samples(tmp_path, "belebele", "ind", size="quick", quick=30)
    assert len(few) == len({sample.cluster for sample in few}) == 30  # a passage gives its second question only when all have given one
    most = kit.samples(tmp_path, "belebele", "ind", size="quick", quick=460)
    assert (len(most), len({sample.cluster for sample in most})) == (460, 450)
    assert {sample.sample for sample in few} <= {sample.sample for sample in most}
    assert {sample.data["gold"] for sample in made} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("task", "languages", "options", "what"),
    [
        ("", ("tha",), {}, "it is one of xquad"),
        ("xcopa", ("tha",), {"modes": ["likelihood"]}, "for xcopa it is one or more of generate"),
        ("xcopa", ("lao",), {}, "xcopa is not there in lao; it is in"),
        ("xnli", ("ind",), {}, "xnli is not there in ind; it is in tha, vie"),
        ("belebele", ("jav",), {"originals": "given"}, "belebele is not there in jav"),
    ],
)
def test_an_option_that_cannot_be_is_named(task: str, languages: tuple[str, ...], options: dict[str, Any], what: str) -> None:
    with pytest.raises(SuiteError, match=what):
        load(SuiteSpec(suite="sailcompass", languages=languages, options={"task": task, **options}), "mine")


def test_no_mirror_and_no_file_are_named_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="--gate-hub DIR"):
        kit.samples(None, "xcopa", "ind")
    put(tmp_path, "cambridgeltl/xcopa/id/validation.jsonl", kit.xcopa(3))
    with pytest.raises(SuiteError, match="holds validation; fetch the split into the mirror, or name another by the option `split`"):
        kit.samples(tmp_path, "xcopa", "ind")
    assert len(kit.samples(tmp_path, "xcopa", "ind", split="validation")) == 3


def test_the_bare_name_takes_what_the_mirror_holds_and_says_what_it_lacks(hub: Path) -> None:
    put(hub, "pythainlp/wisesight_sentiment/wisesight_sentiment/validation.jsonl", [{"texts": "t", "category": "pos"}])
    found = alone(("ind", "tha"), hub)
    assert {name: spec.languages for name, spec in found.items()} == {
        "sailcompass_xcopa": ("ind",),
        "sailcompass_wisesight_validation": ("tha",),
    }
    (lacking,) = [spec.options["absent"] for spec in found.values() if "absent" in spec.options]
    every = {known.name for known in TASKS if known.language in ("ind", "tha")}
    assert set(lacking) == every - {"xcopa_ind", "wisesight_tha"}
    assert set(alone(("jav",), None)) == {"sailcompass_m3exam", "sailcompass_m3exam_generated"}
    with pytest.raises(SuiteError, match="nothing in lao"):
        alone(("lao",), hub)


def test_with_a_checkout_the_bare_name_means_the_originals_words(hub: Path, tmp_path: Path) -> None:
    home = kit.checkout(tmp_path / "checkout")
    (spec,) = alone(("ind",), hub, [str(tmp_path), str(home)]).values()
    assert spec.options["originals"] == "given"
    assert load(spec, "x").metrics[0].name == "sailcompass_accuracy"


def test_the_table_ends_with_what_the_mirror_lacks(hub: Path) -> None:
    (spec,) = alone(("ind",), hub).values()
    suite = load(spec, "x")
    list(suite.samples(SuiteContext(hub=str(hub), profile_dir=".")))
    said = table([], {"x": {"rows": 500, "seconds": 1.0, "facts": suite.facts}})  # type: ignore[attr-defined]
    assert said.splitlines()[-1].startswith("not in the mirror, so not scored: tydiqa_ind, ")
