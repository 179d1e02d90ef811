"""The same items from plain lm-eval: its model, its loop, our tasks; predictions as our engine's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.suites.sailcompass.wording import LIKE
from benchmarks.suites.table13 import ROWS
from harness.backends.hf import HFBackend
from harness.backends.rendering import Renderer
from harness.rows import Rows
from harness.statistics import estimate
from harness.suites import Row, Suite, SuiteContext, SuiteError, SuiteSpec, load
from tests.benchmarks import parallel_kit, table13_kit
from tests.benchmarks import sailcompass_kit as kit
from tests.benchmarks import sailcompass_rows as rows
from tests.benchmarks.parallel_kit import put
from tests.harness.checkpoints import checkpoint

SUITES = Path(__file__).parents[2] / "benchmarks" / "suites"


def test_every_data_set_with_words_of_ours_is_a_task_of_its_name() -> None:
    files = {path.stem for path in (SUITES / "sailcompass" / "lm_eval").glob("*.yaml")}
    assert files == {f"sailcompass_{task}_{language}" for task, language in LIKE}
    for task, language in LIKE:
        lines = (SUITES / f"sailcompass/lm_eval/sailcompass_{task}_{language}.yaml").read_text(encoding="utf-8").splitlines()
        assert f"task: sailcompass_{task}_{language}" in lines
        assert f"  data: {task}" in lines
        assert f"  language: {language}" in lines


def test_lm_eval_and_our_engine_predict_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.tasks import TaskManager

    from training.models.load import load_tokenizer

    kit.put_xcopa(tmp_path, kit.xcopa(24))
    monkeypatch.setenv("SEATRIALS_HUB", str(tmp_path))
    path, count = checkpoint(family="qwen2", context=2048), {"ind": 24}
    manager = TaskManager(include_path=str(SUITES), include_defaults=False, metadata={"pretrained": str(path), "counts": count})
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(path), "dtype": "float32"},
        tasks=["sailcompass_xcopa_ind"],
        task_manager=manager,
        device="cpu",
        batch_size=3,
        log_samples=True,
        bootstrap_iters=0,
    )
    made = kit.samples(tmp_path, "xcopa", "ind", counts=count)
    suite = load(SuiteSpec(suite="sailcompass", languages=("ind",), options={"task": "xcopa"}), "xcopa")
    tokenizer = load_tokenizer(path)
    renderer, backend = Renderer(tokenizer, 2048), HFBackend(path, tokenizer)
    answers = dict(pair for part, _ in backend.answers([one for sample in made for one in renderer.sample(sample)]) for pair in part)
    rows = [suite.row(sample, [answers[2 * index], answers[2 * index + 1]]).values for index, sample in enumerate(made)]
    theirs = {sample["doc"]["number"]: sample for sample in found["samples"]["sailcompass_xcopa_ind"]}
    assert len(theirs) == 24
    for number, row in enumerate(rows):
        assert theirs[number]["sailcompass-like_margin"] == pytest.approx(row["margin"], abs=1e-4)
        assert theirs[number]["sailcompass-like_accuracy"] == row["correct"]
    accuracy = found["results"]["sailcompass_xcopa_ind"]["sailcompass-like_accuracy,none"]
    assert accuracy == pytest.approx(sum(row["correct"] for row in rows) / 24)
    assert 0 < accuracy < 1


def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], metadata: dict[str, Any]) -> tuple[Any, Path]:
    """The tasks by lm-eval's own model and loop, and the checkpoint."""
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("SEATRIALS_HUB", str(tmp_path))
    path = checkpoint(family="qwen2", context=4096)
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(path), "dtype": "float32"},
        tasks=names,
        task_manager=TaskManager(include_path=str(SUITES), include_defaults=False, metadata={"pretrained": str(path), **metadata}),
        device="cpu",
        batch_size=4,
        log_samples=True,
        bootstrap_iters=0,
    )
    return found, path


def by_us(spec: SuiteSpec, hub: Path, path: Path) -> tuple[Suite, list[Row]]:
    """The rows of a suite by our engine."""
    from training.models.load import load_tokenizer

    suite, tokenizer = load(spec, "x"), load_tokenizer(path)
    made = list(suite.samples(SuiteContext(hub=str(hub), profile_dir=".")))
    renderer, backend = Renderer(tokenizer, 4096), HFBackend(path, tokenizer)
    answers = dict(pair for part, _ in backend.answers([one for sample in made for one in renderer.sample(sample)]) for pair in part)
    rows, at = [], 0
    for sample in made:
        rows.append(suite.row(sample, [answers[at + index] for index in range(len(sample.requests))]))
        at += len(sample.requests)
    return suite, rows


def test_every_kind_of_task_scores_in_lm_eval_as_in_our_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exam of several option counts, answers, letters and texts; of the list a cloze with three normalisations, letters, and two languages."""
    ours: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {}
    for data in ("m3exam", "xquad", "m3exam_generated", "flores_to_eng"):
        ours[f"sailcompass_{data}_vie"] = ("sailcompass", ("vie",), {"task": data})
        rows.fill(tmp_path, data, "vie")
    for language in ("ind", "vie"):
        rows.fill(tmp_path, "xcopa", language)
    for row, language in (("mmlu_tha", "tha"), ("vmlu_vie", "vie"), ("m3exam_tha", "tha"), ("tatabahasa_zsm", "zsm")):
        table13_kit.fill(tmp_path, row)
        ours[f"table13_{row}"] = (f"table13_{row}", (language,), {})
    put(tmp_path, "chiayewken/m3exam/thai/test.jsonl", table13_kit.m3exam(12))
    put(tmp_path, table13_kit.META, table13_kit.mmlu(12)[1:])
    ours["table13_xcopa"] = ("table13_xcopa", ("ind", "vie"), {})
    counts = {"ind": 6, "tha": 12, "vie": 6, "zsm": 6}
    found, path = evaluated(tmp_path, monkeypatch, [*ours], {"counts": counts, "languages": ["ind", "vie"]})
    for name, (suite_name, languages, options) in ours.items():
        suite, made = by_us(SuiteSpec(suite=suite_name, languages=languages, options={**options, "counts": counts}), tmp_path, path)
        for metric in suite.metrics:
            each = {language: estimate(Rows.of(made).select([language]), metric, (language,)).value for language in languages}
            told = found["results"][name]
            if len(languages) == 1:
                assert told[f"{metric.name},none"] == pytest.approx(each[languages[0]], abs=1e-4)
                continue
            theirs = [told[f"{metric.name}_{language},none"] for language in languages]
            assert told[f"{metric.name},none"] == pytest.approx(sum(theirs) / len(theirs))
            # the Vietnamese prompt begins with a letter of several tokens here, of which lm-eval's model predicts none
            assert theirs[0] == pytest.approx(each["ind"], abs=1e-4)


def test_every_row_of_the_list_is_a_task_of_its_name() -> None:
    files = {path.stem for path in (SUITES / "table13" / "lm_eval").glob("*.yaml")}
    assert files == {f"table13_{row}" for row in ROWS}
    for row in ROWS:
        lines = (SUITES / f"table13/lm_eval/table13_{row}.yaml").read_text(encoding="utf-8").splitlines()
        assert f"task: table13_{row}" in lines
        assert f"  row: {row}" in lines


def test_translation_of_the_list_is_a_task_in_the_languages_that_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.tasks import TaskManager

    parallel_kit.flores(tmp_path)
    monkeypatch.setenv("SEATRIALS_HUB", str(tmp_path))
    manager = TaskManager(include_path=str(SUITES), include_defaults=False, metadata={"languages": ["ind", "ceb"], "counts": {"ind": 6}})
    task = manager.load(["table13_flores200"])["tasks"]["table13_flores200"]
    assert len(task.eval_docs) == 4 * 1012
    sample = task._sample({"number": 0})
    values = task.process_results({"number": 0}, ["Perahu itu pulang."])
    assert set(values) >= {"chrf_from_english", f"chrf_from_english_{sample.language}"}
    into = [name for name in values if name.startswith("chrf_into")]
    reduce = task.aggregation()["chrf_from_english"]
    both = [task.process_results({"number": at}, [task._sample({"number": at}).data.reference])["chrf_from_english"] for at in (0, 1)]
    assert reduce(both) == pytest.approx(100.0)
    assert into


def test_a_task_without_a_mirror_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.tasks import TaskManager

    monkeypatch.delenv("SEATRIALS_HUB", raising=False)
    with pytest.raises(SuiteError, match="set SEATRIALS_HUB"):
        TaskManager(include_path=str(SUITES), include_defaults=False).load(["sailcompass_xcopa_ind"])
