"""The paper's base-model list: thirteen rows with names, layouts, normalisations against a plain loop, and data that is not what it should be."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.suites.sailcompass import BY_DATA
from benchmarks.suites.table13 import ROWS, alone
from benchmarks.suites.table13.exam import Exam, tidy
from benchmarks.suites.table13.sources import bare
from harness import evaluation_command
from harness.backends.hf import HFBackend
from harness.backends.rendering import Renderer
from harness.suites import BUILT_IN, Sample, Suite, SuiteContext, SuiteError, SuiteSpec, load
from tests.benchmarks import parallel_kit, table13_kit
from tests.benchmarks import sailcompass_rows as made
from tests.benchmarks.parallel_kit import put
from tests.harness.checkpoints import checkpoint, logprobs

EXAMS = [name for name, row in ROWS.items() if row.suite.endswith("exam:build")]
GOLDENS = Path(__file__).parents[2] / "goldens" / "paper" / "table_13.csv"


def loaded(row: str, **options: Any) -> Suite:
    return load(SuiteSpec(suite=f"table13_{row}", languages=ROWS[row].languages, options=options), row)


def read(suite: Suite, hub: Path, size: Any = "full") -> list[Sample]:
    return list(suite.samples(SuiteContext(hub=str(hub), profile_dir=".", samples=size)))


# -------------------------------------------------------------------------------------------------------------- the list


def test_the_rows_are_those_of_the_papers_table_with_its_shots() -> None:
    with GOLDENS.open(encoding="utf-8") as file:
        expected = [(row["language"], row["benchmark"], int(row["shots"])) for row in csv.DictReader(file)]
    found = [(row.languages[0] if len(row.languages) == 1 else "multi", row.benchmark, row.shots) for row in ROWS.values()]
    assert found == expected
    for name, row in ROWS.items():
        if row.suite == "sailcompass":
            assert {BY_DATA[row.options["task"]][language].shots for language in row.languages} == {row.shots}
        else:
            assert row.options["shots"] == row.shots
        assert f"table13_{name}" in BUILT_IN


@pytest.mark.parametrize("row", ROWS)
def test_each_row_is_a_suite_of_a_profile_and_of_the_command_line(row: str) -> None:
    languages = ["ind", "tha", "vie", "zsm", "jav"]
    specs = evaluation_command.specs([f"table13_{row}"], languages, {}, None)
    (spec,) = specs.values()
    assert set(spec.languages) == set(ROWS[row].languages) & set(languages)
    suite = load(spec, row)
    assert suite.metrics
    same = load(SuiteSpec(suite="table13", languages=spec.languages, options={"row": row}), row)
    assert [metric.name for metric in same.metrics] == [metric.name for metric in suite.metrics]
    if ROWS[row].suite != "flores200":  # whose prompts are nobody's benchmark
        assert all("-like_" in metric.name for metric in suite.metrics)


def test_the_bare_name_takes_what_the_mirror_holds_and_says_what_it_lacks(tmp_path: Path) -> None:
    table13_kit.fill(tmp_path, "indoculture_ind")
    parallel_kit.flores(tmp_path)
    found = alone(("ind", "zsm"), tmp_path)
    assert {name: spec.languages for name, spec in found.items()} == {"table13_indoculture_ind": ("ind",), "table13_flores200": ("ind",)}
    suite = load(found["table13_indoculture_ind"], "x")
    read(suite, tmp_path)
    absent = suite.facts["not in the mirror"]  # type: ignore[attr-defined]
    assert absent == "tydiqa_ind, belebele_ind, tatabahasa_zsm, flores200_zsm, xcopa_ind"
    with pytest.raises(SuiteError, match="nothing in lao"):
        alone(("lao",), tmp_path / "none")


def test_a_row_in_a_language_that_it_has_not_is_refused() -> None:
    with pytest.raises(SuiteError, match="VMLU of the list is in vie, not in tha"):
        load(SuiteSpec(suite="table13_vmlu_vie", languages=("tha",)), "x")
    with pytest.raises(SuiteError, match="it is one of indoculture_ind"):
        load(SuiteSpec(suite="table13", languages=("tha",), options={"row": "mmmu"}), "x")
    with pytest.raises(SuiteError, match="form is 'essay'"):
        loaded("vmlu_vie", form="essay")


# --------------------------------------------------------------------------------------------------------------- layouts


def test_indoculture_tells_the_province_or_not_and_shows_nothing(tmp_path: Path) -> None:
    table13_kit.fill(tmp_path, "indoculture_ind")
    first = read(loaded("indoculture_ind"), tmp_path)[0]
    assert first.requests[0].context == "Daerah: Jambi 0\nKalimat: Di pasar ada 0.\nLanjutan:"
    assert [request.continuation for request in first.requests] == [" Padi 0", " Ikan besar 1", " Perahu di sungai 2"]
    assert read(loaded("indoculture_ind", told=False), tmp_path)[0].requests[0].context == "Kalimat: Di pasar ada 0.\nLanjutan:"
    put(tmp_path, "indolem/IndoCulture/default/test.jsonl", table13_kit.indoculture(as_text=False))
    assert read(loaded("indoculture_ind"), tmp_path)[0].requests == first.requests


def test_thai_mmlu_shows_five_others_of_its_subject_and_asks_each_choice_also_alone(tmp_path: Path) -> None:
    table13_kit.fill(tmp_path, "mmlu_tha")
    samples = read(loaded("mmlu_tha"), tmp_path)
    assert len(samples) == 14  # of another language's rows none
    assert [sample.data["gold"] for sample in samples[:4]] == [0, 1, 2, 3]
    text = samples[0].requests[0].context
    assert text.split("\n\n") == [
        f"คำถาม: {made.word('tha', n)} {n}\nคำตอบ: {made.word('tha', n + n % 4)} {n % 4}" for n in (2, 4, 6, 8, 10)
    ] + ["คำถาม: ข้าว 0\nคำตอบ:"]
    assert [request.context for request in samples[0].requests[4:]] == ["คำตอบ:"] * 4
    assert [request.continuation for request in samples[0].requests[4:]] == [request.continuation for request in samples[0].requests[:4]]
    for sample in samples:  # never itself among its shots
        shots, _, asked = sample.requests[0].context.rpartition("\n\n")
        assert asked.removesuffix("\nคำตอบ:") + "\n" not in shots


def test_finetasks_m3exam_has_background_bare_options_and_shots_of_dev(tmp_path: Path) -> None:
    table13_kit.fill(tmp_path, "m3exam_tha")
    samples = read(loaded("m3exam_tha"), tmp_path)
    assert [len(sample.requests) for sample in samples] == [2, 4, 5, 2, 4, 5]
    blocks = samples[0].requests[0].context.split("\n\n")
    assert len(blocks) == 6
    assert blocks[0].startswith("เรื่องยาว\nคำถาม: ตัวอย่าง 0\nคำตอบ: ")
    assert blocks[-1] == "เรื่องยาว\nคำถาม: ข้าว 0\nคำตอบ:"
    assert samples[1].requests[1].continuation == f" {made.word('tha', 2)} 1"  # no mark, whether 2. or ๒.
    assert samples[0].cluster == samples[1].cluster  # one background
    assert len({sample.cluster for sample in samples}) == 5


def test_vmlu_lists_its_options_scores_letters_and_shows_its_own_subject_first(tmp_path: Path) -> None:
    options = table13_kit.fill(tmp_path, "vmlu_vie")
    samples = read(loaded("vmlu_vie", **options), tmp_path)
    assert [len(sample.requests) for sample in samples] == [4, 5, 4, 5, 4, 5]
    blocks = samples[0].requests[0].context.split("\n\n")
    assert blocks[0] == "Chọn câu trả lời đúng cho mỗi câu hỏi."
    assert blocks[1] == "Câu hỏi: Mẫu lúa 0\nA. Lúa 0\nB. Cá lớn 1\nC. Thuyền trên sông 2\nD. Chợ sáng đông người 3\nTrả lời: A"
    assert blocks[-1].startswith("Câu hỏi: Lúa 0\nA. Lúa 0\n")
    assert blocks[-1].endswith("\nTrả lời:")
    assert [request.continuation for request in samples[0].requests] == [" A", " B", " C", " D"]


def test_tatabahasa_reads_its_sources_fields_and_seacrowds_alike(tmp_path: Path) -> None:
    options = table13_kit.fill(tmp_path, "tatabahasa_zsm")
    samples = read(loaded("tatabahasa_zsm", **options), tmp_path)
    assert samples[1].requests[0].context.endswith("\n\nArahan: Pilih 1\nSoalan: Ayat ikan besar 1\nJawapan:")
    assert samples[0].requests[0].context.endswith("\n\nSoalan: Ayat padi 0\nJawapan:")
    common = [
        {
            "question": row["question"],
            "context": row["instruction"],
            "choices": [one["text"] for one in row["choices"].values()],
            "answer": [one["text"] for one in row["choices"].values() if one["answer"]],
        }
        for row in table13_kit.tatabahasa()
    ]
    put(tmp_path / "other", "SEACrowd/tatabahasa/tatabahasa_seacrowd_qa/train.jsonl", common)
    assert [sample.requests for sample in read(loaded("tatabahasa_zsm", **options), tmp_path / "other")] == [
        sample.requests for sample in samples
    ]


@pytest.mark.parametrize("row", EXAMS)
def test_no_prompt_ends_with_a_blank_and_each_has_its_shots(tmp_path: Path, row: str) -> None:
    suite = loaded(row, **table13_kit.fill(tmp_path, row))
    answer = {"ind": "Lanjutan:", "tha": "คำตอบ:", "vie": "Trả lời:", "zsm": "Jawapan:"}[ROWS[row].languages[0]]
    for sample in read(suite, tmp_path):
        context = sample.requests[0].context
        assert context.endswith(answer)
        assert context.count(f"{answer} ") == ROWS[row].shots
        assert all(request.settings == {"encoding": "lm_eval"} for request in sample.requests)


# -------------------------------------------------------------------------------------------------------- normalisations


@pytest.mark.parametrize("row", [pytest.param(row, marks=pytest.mark.slow) if row == "mmlu_tha" else row for row in EXAMS])  # 22 s
def test_every_normalisation_is_that_of_a_plain_loop_at_batch_1_and_8(tmp_path: Path, row: str) -> None:
    from training.models.load import load_tokenizer

    suite = loaded(row, **table13_kit.fill(tmp_path, row))
    samples, path = read(suite, tmp_path), checkpoint(family="qwen2", context=4096)
    tokenizer = load_tokenizer(path)

    def alone(context: str, continuation: str) -> tuple[float, int]:
        before, whole = tokenizer(context).input_ids, tokenizer(context + continuation).input_ids
        table = logprobs(path, whole)
        return sum(float(table[at - 1, whole[at]]) for at in range(len(before), len(whole))), len(whole) - len(before)

    renderer = Renderer(tokenizer, 4096)
    rendered = [one for sample in samples for one in renderer.sample(sample)]
    longest = max(len(one.context) + len(one.continuation) for one in rendered)
    expected = [[alone(request.context, request.continuation) for request in sample.requests] for sample in samples]
    for batch in (1, 16 * longest):
        found = dict(pair for part, _ in HFBackend(path, tokenizer, batch_tokens=batch).answers(rendered) for pair in part)
        at = 0
        for sample, scores in zip(samples, expected, strict=True):
            values = suite.row(sample, [found[at + index] for index in range(len(scores))]).values
            at += len(scores)
            size, gold = len(sample.data["choices"]), sample.data["gold"]
            wanted = {
                "correct": [total for total, _ in scores[:size]],
                "correct_token": [total / count for total, count in scores[:size]],
                "correct_char": [total / len(choice) for (total, _), choice in zip(scores[:size], sample.data["choices"], strict=True)],
            }
            if len(scores) > size:
                wanted["correct_pmi"] = [one[0] - two[0] for one, two in zip(scores[:size], scores[size:], strict=True)]
            for name, column in wanted.items():
                if name in values:
                    assert values[name] == float(column.index(max(column)) == gold)
            first = wanted["correct" if "correct" in values else "correct_token"]
            best = max(score for index, score in enumerate(first) if index != gold)
            assert values["margin"] == pytest.approx(first[gold] - best, abs=1e-4)
            assert set(values) - {"margin"} <= set(wanted)


def test_the_three_normalisations_can_each_choose_another(tmp_path: Path) -> None:
    table13_kit.fill(tmp_path, "mmlu_tha")
    suite = loaded("mmlu_tha")
    sample = read(suite, tmp_path)[0]
    sample.data["choices"] = [" a", " bbbbbbbbb", " cccc", " d"]
    given = [(-4.0, 4), (-6.0, 3), (-5.0, 6), (-9.0, 1)]
    unasked = [-5.0, -6.5, -5.5, -20.0]
    answers = [{"logprob": total, "tokens": count} for total, count in given] + [{"logprob": one, "tokens": 1} for one in unasked]
    found = {}
    for gold in range(4):
        sample.data["gold"] = gold
        found[gold] = suite.row(sample, answers).values
    assert [found[gold]["correct_token"] for gold in range(4)] == [0, 0, 1, 0]
    assert [found[gold]["correct_char"] for gold in range(4)] == [0, 1, 0, 0]
    assert [found[gold]["correct_pmi"] for gold in range(4)] == [0, 0, 0, 1]


# ------------------------------------------------------------------------------------------------------------------ rows


@pytest.mark.parametrize(
    ("option", "expected"),
    [("(A) x", "x"), ("A. x", "x"), ("๓. x", "x"), ("(๒)x", "x"), ("3.x", "x"), ("b. x", "x"), ("\u0412. x", "x"), ("1 ปี", "1 ปี"), ("A", "A"), ("Ab. c", "Ab. c")],
)  # fmt: skip
def test_the_mark_before_an_option_goes_and_nothing_else(option: str, expected: str) -> None:
    assert bare(option) == expected


@given(st.text(alphabet="ab .?!ก", max_size=10))
def test_tidy_is_a_fixed_point(text: str) -> None:
    assert tidy(tidy(text)) == tidy(text)


def test_rows_without_a_gold_are_dropped_and_counted_and_too_many_stop_what_drops_none(tmp_path: Path) -> None:
    some = [
        *table13_kit.m3exam(),
        {**table13_kit.m3exam(1)[0], "answer_text": "7"},
        {**table13_kit.m3exam(1)[0], "options": ["1. ", "2. x"]},
    ]
    put(tmp_path, "chiayewken/m3exam/thai/test.jsonl", some)
    suite = loaded("m3exam_tha", shots=0)
    assert len(read(suite, tmp_path)) == 6
    assert suite.facts["invalid"] == {"the answer is none of the options": 1, "an empty question or option": 1}  # type: ignore[attr-defined]
    put(tmp_path, "SEACrowd/tatabahasa/tatabahasa_source/train.jsonl", [*table13_kit.tatabahasa(9), {"question": "x"}])
    with pytest.raises(SuiteError, match=r"1 of 10 rows of .* cannot be judged"):
        read(loaded("tatabahasa_zsm", counts={"zsm": 10}), tmp_path)


@pytest.mark.parametrize("row", EXAMS)
def test_data_that_is_absent_or_short_is_named_with_the_mend(tmp_path: Path, row: str) -> None:
    with pytest.raises(SuiteError, match=r"does not exist.*fetch .* into the mirror"):
        read(loaded(row), tmp_path)
    with pytest.raises(SuiteError, match="--gate-hub DIR"):
        list(loaded(row).samples(SuiteContext(hub=None, profile_dir=".")))
    if options := table13_kit.fill(tmp_path, row):
        with pytest.raises(SuiteError, match=r"holds 6 rows, .* has (744|349)"):
            read(loaded(row), tmp_path)
        assert len(read(loaded(row, **options), tmp_path)) == 6


def test_thai_and_arabic_digits_give_one_and_the_same_gold(tmp_path: Path) -> None:
    for number, marks in enumerate(("12345", "๑๒๓๔๕")):
        rows = [
            {"question_text": f"q{n}", "background": "", "options": [f"({m}) o{m}{n}" for m in "12345"], "answer_text": marks[n]}
            for n in range(5)
        ]
        put(tmp_path / str(number), "chiayewken/m3exam/thai/test.jsonl", rows)
    first, second = (read(loaded("m3exam_tha", shots=0), tmp_path / str(number)) for number in (0, 1))
    assert [sample.data["gold"] for sample in first] == [sample.data["gold"] for sample in second] == [0, 1, 2, 3, 4]


def test_quick_samples_are_a_part_of_all(tmp_path: Path) -> None:
    table13_kit.fill(tmp_path, "m3exam_tha")
    suite = loaded("m3exam_tha", quick=3)
    assert isinstance(suite, Exam)
    few = {sample.sample for sample in read(suite, tmp_path, "quick")}
    assert len(few) == 3
    assert few < {sample.sample for sample in read(suite, tmp_path)}
