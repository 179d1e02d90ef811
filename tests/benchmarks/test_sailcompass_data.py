"""All fourteen data sets on small made mirrors: layouts of item 0, predictions against a plain loop, options by letter, corpus scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.suites.sailcompass import BY_DATA, answers, options, scoring
from benchmarks.suites.sailcompass.scoring import PREFIXES
from benchmarks.suites.sailcompass.wording import LIKE
from harness.backends.hf import HFBackend
from harness.backends.rendering import Renderer
from harness.rows import Rows
from harness.statistics import estimate
from harness.suites import Sample, Suite, SuiteContext, SuiteError, SuiteSpec, load
from tests.benchmarks import parallel_kit
from tests.benchmarks import sailcompass_kit as kit
from tests.benchmarks import sailcompass_rows as made
from tests.benchmarks.parallel_kit import put
from tests.harness.checkpoints import checkpoint, logprobs

OURS = [pair for pair in LIKE if pair[1] in BY_DATA[pair[0]]]  # Belebele in Javanese is not SailCompass's
LIKELY = [pair for pair in OURS if BY_DATA[pair[0]][pair[1]].likelihood]


def loaded(data: str, language: str, **more: Any) -> Suite:
    return load(SuiteSpec(suite="sailcompass", languages=(language,), options={"task": data, **more}), data)


def read(suite: Suite, hub: Path, *originals: Path) -> list[Sample]:
    return list(suite.samples(SuiteContext(hub=str(hub), profile_dir=".", originals=tuple(map(str, originals)))))


# ------------------------------------------------------------------------------------------------------------------ layouts


GOLDEN = {
    ("xnli", "vie"): "Câu thứ nhất: lúa 0\nCâu thứ hai: thuyền trên sông 2\nTrả lời: chưa rõ",
    ("indolem", "ind"): "Ulasan: padi 0\nPenulis: puas",
    ("vsmec", "vie"): "Câu: lúa 0\nCảm xúc: Sợ hãi",
    ("tydiqa", "ind"): "Teks: padi 0\nPertanyaan: ikan besar 1\nJawaban:",
    ("m3exam", "jav"): "Pitakon: pari 0\nWangsulan: pari 0",
    ("m3exam", "tha"): "คำถาม: ข้าว 0\nคำตอบ: ข้าว 0",
    ("m3exam_generated", "jav"): "Pitakon: pari 0\nA. pari 0\nB. iwak gedhe 1\nC. prau ing kali 2\nD. pasar esuk sing rame 3\nWangsulan:",
    ("m3exam_generated", "vie"): "Câu hỏi: lúa 0\nA. lúa 0\nB. cá lớn 1\nC. thuyền trên sông 2\nD. chợ sáng đông người 3\nTrả lời:",
    ("belebele_generated", "ind"): (
        "Teks: padi 0\nPertanyaan: ikan besar 1\nA. ikan besar 1\nB. perahu di sungai 2\nC. pasar pagi yang ramai 3\nD. hujan 4\n"
        "E. Saya tidak tahu.\nJawaban:"
    ),
    ("flores_from_eng", "tha"): "อังกฤษ: Sentence number 0.\nไทย:",
    ("flores_to_eng", "tha"): "ไทย: ข้าว 0\nอังกฤษ:",
    ("thaisum", "tha"): "ข่าว: ข้าว 0\nสรุป:",
    ("indosum", "ind"): "Berita: padi 0\nRingkasan:",
    ("xlsum", "vie"): "Bản tin: lúa 0\nTóm tắt:",
}


@pytest.mark.parametrize(("data", "language"), OURS)
def test_item_0_follows_the_shots_after_an_empty_line_and_ends_without_a_blank(tmp_path: Path, data: str, language: str) -> None:
    suite = loaded(data, language, counts=made.fill(tmp_path, data, language))
    samples = read(suite, tmp_path)
    assert len(samples) == 6
    task, words = BY_DATA[data][language], LIKE[data, language]
    for request in samples[0].requests:
        text = request.context
        assert text.startswith(f"{words.system}\n\n")
        assert text.count("\n\n") == task.shots + 1
        assert text == text.rstrip()
        assert "{" not in text
        assert request.kind == ("rolling" if task.likelihood else "generate")
    if (data, language) in GOLDEN:
        assert samples[0].requests[0].context.rpartition("\n\n")[2] == GOLDEN[data, language]
    if not task.likelihood:
        assert samples[0].requests[0].settings == {"max_tokens": task.max_tokens, "stop": ["\n"], "encoding": "lm_eval"}


# -------------------------------------------------------------------------------------------------------------- likelihood


# Of each data set at least one language is quick; the longest prompts are among the slow tests.
LONG = {("belebele", "tha"), ("belebele", "vie"), ("xnli", "tha"), ("xcopa", "tha")}


@pytest.mark.parametrize(("data", "language"), [pytest.param(*each, marks=pytest.mark.slow) if each in LONG else each for each in LIKELY])
def test_every_likelihood_task_predicts_as_a_plain_loop_at_batch_1_and_8(tmp_path: Path, data: str, language: str) -> None:
    from training.models.load import load_tokenizer

    suite = loaded(data, language, counts=made.fill(tmp_path, data, language))
    samples, path = read(suite, tmp_path), checkpoint(family="qwen2", context=4096)
    tokenizer = load_tokenizer(path)
    expected = []
    for sample in samples:
        mine = []
        for request in sample.requests:
            tokens = tokenizer(request.context).input_ids
            table = logprobs(path, tokens)
            mine.append(-sum(float(table[at, token]) for at, token in enumerate(tokens[1:])) / len(tokens))
        expected.append(mine)
    renderer = Renderer(tokenizer, 4096)
    rendered = [one for sample in samples for one in renderer.sample(sample)]
    longest = max(len(one.context) + len(one.continuation) for one in rendered)
    for batch in (1, 16 * longest):
        found = dict(pair for part, _ in HFBackend(path, tokenizer, batch_tokens=batch).answers(rendered) for pair in part)
        at = 0
        for sample, scores in zip(samples, expected, strict=True):
            row = suite.row(sample, [found[at + index] for index in range(len(scores))])
            at += len(scores)
            gold = sample.data["gold"]
            assert row.values["correct"] == float(scores.index(min(scores)) == gold)
            others = min(score for index, score in enumerate(scores) if index != gold)
            assert row.values["margin"] == pytest.approx(others - scores[gold], abs=2e-5)


def test_equal_choices_tie_and_the_first_label_wins_whatever_stands_before() -> None:
    """A choice swapped for one of the same tokens leaves the prediction as it was."""
    sums, tokens = [-20.0, -21.0, -20.0], [10, 10, 10]
    assert answers.predict(answers.whole_scores(sums, tokens)) == 0
    assert answers.predict(answers.whole_scores([sums[2], sums[1], sums[0]], tokens)) == 0


# --------------------------------------------------------------------------------------------------------------- the exams


@pytest.mark.parametrize("data", ["m3exam", "m3exam_generated"])
def test_an_exam_over_files_of_option_counts_is_its_pooled_accuracy(tmp_path: Path, data: str) -> None:
    per, right = {2: 5, 4: 3, 5: 1}, {2: 1, 4: 3, 5: 0}  # questions of each count, and how many the model gets
    questions = {count: [made.exam("tha", count, number) for number in range(size)] for count, size in per.items()}
    for count, some in questions.items():
        made.write_json(tmp_path / made.HOME / f"m3exam/thai-questions-test-{count}.json", some)
    made.write_json(tmp_path / made.HOME / "m3exam/thai-questions-test.json", [one for some in questions.values() for one in some])
    suite = loaded(data, "tha")
    samples, rows, seen = read(suite, tmp_path), [], dict.fromkeys(per, 0)
    for sample, count in zip(samples, [count for count, size in per.items() for _ in range(size)], strict=True):
        good = seen[count] < right[count]
        seen[count] += 1
        if data == "m3exam":
            assert len(sample.requests) == count
            gold = sample.data["gold"] if good else (sample.data["gold"] + 1) % count
            found = [{"logprob": -1.0 if at == gold else -9.0, "tokens": 10} for at in range(count)]
        else:
            key = int(sample.data["gold"][0])
            found = [{"text": f" {key if good else key % count + 1}"}]
        rows.append(suite.row(sample, found))
    by_count = sum(right[count] / per[count] * per[count] for count in per) / sum(per.values())
    assert estimate(Rows.of(rows), suite.metrics[0], ("tha",)).value == pytest.approx(by_count) == pytest.approx(4 / 9)


def test_thai_and_arabic_digits_are_equal_in_golds_and_answers(tmp_path: Path) -> None:
    def accuracy(marks: str, said: str) -> list[float]:
        some = [{"question_text": f"q{n}", "options": [f"{mark}. o{mark}" for mark in marks], "answer_text": marks[n]} for n in range(4)]
        made.write_json(tmp_path / made.HOME / "m3exam/thai-questions-test.json", some)
        suite = loaded("m3exam_generated", "tha")
        return [suite.row(sample, [{"text": f" {said[n]} ครับ"}]).values["correct"] for n, sample in enumerate(read(suite, tmp_path))]

    for marks in ("1234", "๑๒๓๔"):
        for said in ("1234", "๑๒๓๔", "ABCD"):
            assert accuracy(marks, said) == [1.0] * 4
        assert accuracy(marks, "2๑๔3") == [0.0] * 4


def test_a_cyrillic_ve_is_a_b_in_options_and_answers(tmp_path: Path) -> None:
    some = [{"question_text": "q", "options": ["A. một", "\u0412. hai", "C. ba", "D. bốn"], "answer_text": "\u0412"}]
    made.write_json(tmp_path / made.HOME / "m3exam/vietnamese-questions-test.json", some)
    suite = loaded("m3exam_generated", "vie")
    (sample,) = read(suite, tmp_path)
    assert "\u0412" not in sample.requests[0].context
    assert "\nB. hai\n" in sample.requests[0].context
    assert suite.row(sample, [{"text": " B. hai"}]).values == {"correct": 1.0, "named": 1.0}
    assert suite.row(sample, [{"text": " hai"}]).values == {"correct": 0.0, "named": 0.0}


def test_the_hubs_exam_has_background_and_is_split_by_option_counts_and_what_is_dropped_is_counted(tmp_path: Path) -> None:
    some = [made.exam("tha", count, number, background="") for number, count in enumerate([4] * 60 + [5] * 20 + [2] * 3)]
    some[0]["background"] = "เรื่องของเรือ"
    some += [made.exam("tha", 3, 1, background=None), made.exam("tha", 4, 1, background=None, answer_text="9")]
    put(tmp_path, "chiayewken/m3exam/thai/test.jsonl", some)
    suite = loaded("m3exam", "tha")
    samples = read(suite, tmp_path)
    assert len(samples) == 83
    assert suite.facts["invalid"] == {"tha": 2}
    assert [len(sample.requests) for sample in samples] == [2] * 3 + [4] * 60 + [5] * 20
    assert samples[3].requests[0].context.rpartition("คำถาม: ")[2].startswith("เรื่องของเรือ\n\nข้าว 0\n")


# ------------------------------------------------------------------------------------------------------- options by letter


SOURCE = """
import somewhere
raise RuntimeError("never executed")

def first_option_parse(text, options, cushion=True):
    patterns = [
        f'it is ([{options}])',
        f'1.\\\\s?(.*?)',
        f'(\\\\s|^)[{options}](\\\\s|$)',
    ]
    cushion_patterns = [f'([{options}]):', f'[{options}]']
"""
LOADER = """
class X:
    def load(path):
        if lang == 'tha':
            example['mc_answer5'] = 'th?'
        elif lang == 'ind':
            example['mc_answer5'] = 'id?'
"""


def test_with_a_checkout_its_patterns_read_the_answer_and_nothing_of_it_runs(tmp_path: Path) -> None:
    (tmp_path / "sailor_text_postprocessors.py").write_text(SOURCE, encoding="utf-8")
    parse = options.parser_of(tmp_path)
    assert parse("A, no: it is C", "ABCD") == "C"
    assert parse("1. x B y", "ABCD") == "B"  # the second pattern matches without an option, and the search goes on
    assert parse("xA:", "ABCD") == "A"
    assert parse("zzz", "ABCD") == ""
    assert parse("ข้อ ๓", "12345๑๒๓๔๕ABCD") == "๓"
    (tmp_path / "sailor_text_postprocessors.py").write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(SuiteError, match="no patterns of first_option_parse"):
        options.parser_of(tmp_path)


def test_generated_belebele_with_a_checkout_has_its_fifth_option_and_says_who_reads_the_answer(tmp_path: Path) -> None:
    home = kit.checkout(tmp_path / "checkout")
    (home / "configs/datasets/belebele").mkdir()
    text = kit.configuration("belebele/ind_Latn.jsonl", "Q: {question}\n{options}", kit._round("", "'So:'"))
    (home / "configs/datasets/belebele/belebele_id_aa11.py").write_text(text, encoding="utf-8")
    (home / "datasets/belebele.py").write_text(LOADER, encoding="utf-8")
    (home / "sailor_text_postprocessors.py").write_text(SOURCE, encoding="utf-8")
    counts = made.fill(tmp_path, "belebele_generated", "ind")
    suite = loaded("belebele_generated", "ind", originals="given", counts=counts)
    samples = read(suite, tmp_path, home)
    assert samples[0].requests[0].context.endswith("D. hujan 4\nE. id?\nSo:")
    assert suite.facts["answers"] == "read by the checkout's first_option_parse"
    assert suite.row(samples[2], [{"text": "A? it is C"}]).values["correct"] == 1.0
    ours = loaded("belebele_generated", "ind", counts=counts)
    read(ours, tmp_path)
    assert ours.facts["answers"] == "read by us, not by first_option_parse"


@pytest.mark.parametrize("said", ["C", " C", "C.", "C. hujan", "(C)", "Jawabannya C", "C\nA"])
def test_our_reading_finds_an_option_as_models_write_it(said: str) -> None:
    assert options.named(said, "belebele_generated", "ind", answers.option) == "3"


# ------------------------------------------------------------------------------------------------------ answers and texts


TEXT = st.text(alphabet=st.sampled_from("ab ,.!?\u0e01\u0e021-é"), max_size=12)


@given(TEXT, TEXT)
def test_exact_match_of_normal_texts_never_exceeds_f1(said: str, meant: str) -> None:
    same = answers.predicted(said.lower(), PREFIXES) == answers.normal(meant.lower()) != ""
    assert float(same) <= answers.f1(said, meant, PREFIXES)


@given(TEXT)
def test_normal_is_a_fixed_point_once_no_blank_stands_before_a_mark(text: str) -> None:
    once = answers.normal(answers.normal(text))
    assert answers.normal(answers.normal(once)) == answers.normal(once)


def test_the_best_of_several_golds_counts(tmp_path: Path) -> None:
    suite = loaded("tydiqa", "ind", counts=made.fill(tmp_path, "tydiqa", "ind"))
    sample = read(suite, tmp_path)[0]
    assert sample.data["gold"] == ("padi", "perahu di sungai")
    assert suite.row(sample, [{"text": " Perahu di sungai."}]).values == {"exact": 1.0, "f1": 1.0}
    assert suite.row(sample, [{"text": " perahu"}]).values == {"exact": 0.0, "f1": pytest.approx(0.5)}


@pytest.mark.parametrize(("data", "language"), [("flores_from_eng", "ind"), ("flores_to_eng", "vie"), ("thaisum", "tha"), ("xlsum", "vie")])
def test_corpus_scores_are_sacrebleus_of_lower_cased_texts_without_last_marks(tmp_path: Path, data: str, language: str) -> None:
    from sacrebleu.metrics import BLEU, CHRF

    suite = loaded(data, language, counts=made.fill(tmp_path, data, language))
    samples = read(suite, tmp_path)
    said = [f" {sample.data['gold'][0].upper()} tambah {number}!\nmore" for number, sample in enumerate(samples)]
    rows = [suite.row(sample, [{"text": text}]) for sample, text in zip(samples, said, strict=True)]
    mine = [text.partition("\n")[0].lower().strip().removesuffix("!") for text in said]
    golds = [[sample.data["gold"][0].lower() for sample in samples]]
    chrf, bleu = (estimate(Rows.of(rows), metric, (language,)).value for metric in suite.metrics)
    assert chrf == pytest.approx(CHRF(word_order=2).corpus_score(mine, golds).score)
    assert bleu == pytest.approx(BLEU().corpus_score(mine, golds).score)
    assert 0 < chrf < 100


def test_flores_comes_from_the_hub_where_sailcompass_has_no_file_and_directions_are_apart(tmp_path: Path) -> None:
    parallel_kit.flores(tmp_path)
    there, back = (read(loaded(data, "ind"), tmp_path) for data in ("flores_from_eng", "flores_to_eng"))
    assert len(there) == len(back) == 1012
    assert there[5].data["gold"] == (parallel_kit.sentence("ind", 997 + 5),)
    assert back[5].data["gold"] == (parallel_kit.sentence("eng", 997 + 5),)
    assert there[5].cluster == back[5].cluster
    assert {sample.sample for sample in there}.isdisjoint({sample.sample for sample in back})


@pytest.mark.parametrize("data", ["indolem", "vsmec", "thaisum", "indosum", "xlsum", "flores_from_eng", "xnli", "tydiqa", "m3exam"])
def test_data_that_is_absent_is_named_with_the_mend(tmp_path: Path, data: str) -> None:
    language = next(iter(BY_DATA[data]))
    with pytest.raises(SuiteError, match=r"does not exist.*fetch"):
        read(loaded(data, language), tmp_path)


def test_the_hubs_fields_become_sailcompasss(tmp_path: Path) -> None:
    put(tmp_path, "facebook/xnli/th/test.jsonl", [{"premise": "p", "hypothesis": "h", "label": n} for n in (0, 1, 2)])
    assert [sample.data["gold"] for sample in read(loaded("xnli", "tha"), tmp_path)] == [1, 0, 2]  # neutral stands first
    rows = [
        {"id": f"{name}-{n}", "context": "c", "question": "q", "answers": {"text": ["a", "b"], "answer_start": [0, 1]}}
        for n, name in enumerate(["indonesian", "korean", "indonesian"])
    ]
    put(tmp_path, "google-research-datasets/tydiqa/secondary_task/validation.jsonl", rows)
    samples = read(loaded("tydiqa", "ind"), tmp_path)
    assert len(samples) == 2
    assert samples[0].data["gold"] == ("a", "b")
    put(tmp_path, "facebook/xnli/vi/test.jsonl", [{"text": "?"}])
    with pytest.raises(SuiteError, match="not the columns of facebook/xnli"):
        read(loaded("xnli", "vie"), tmp_path)


def test_every_task_states_its_metrics_and_their_columns(tmp_path: Path) -> None:
    for data, language in OURS:
        suite = loaded(data, language)
        assert all(metric.name.startswith("sailcompass-like_") for metric in suite.metrics)
    assert [metric.name for metric in scoring.metrics("option", "m3exam_generated", "sailcompass")] == [
        "sailcompass_accuracy",
        "sailcompass_named",
    ]
