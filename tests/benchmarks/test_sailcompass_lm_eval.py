"""The same items from plain lm-eval: its model, its loop, our tasks; predictions as our engine's."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.suites.sailcompass.wording import LIKE
from harness.backends.hf import HFBackend
from harness.backends.rendering import Renderer
from harness.suites import SuiteError, SuiteSpec, load
from tests.benchmarks import sailcompass_kit as kit
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
    manager = TaskManager(include_path=str(SUITES), metadata={"pretrained": str(path), "counts": count})
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


def test_a_task_without_a_mirror_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval.tasks import TaskManager

    monkeypatch.delenv("SEATRIALS_HUB", raising=False)
    with pytest.raises(SuiteError, match="set SEATRIALS_HUB"):
        TaskManager(include_path=str(SUITES)).load(["sailcompass_xcopa_ind"])
