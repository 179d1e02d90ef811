"""The child process: orders in, result and done.json out; every fault is one message in error.json."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training import small
from training import progress as telling
from training import recipe as recipes
from training import run
from training.progress import Interruption, Progress

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """`main` takes over signals and the process's threads; the test process gets them back."""
    import torch

    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    small.write_text(tmp_path)
    return tmp_path


def error(workdir: Path) -> dict[str, str]:
    return dict(json.loads((workdir / "error.json").read_text(encoding="utf-8")))


def lines(workdir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workdir / "progress.jsonl").read_text(encoding="utf-8").splitlines()]


# ------------------------------------------------------------------------------------------------------------ a whole build


def test_a_build_leaves_a_checkpoint_its_facts_and_done_last(texts: Path) -> None:
    work = texts / "work"
    assert run.main([str(small.order(work, texts, small.scratch(steps=6)))]) == 0
    assert json.loads((work / "done.json").read_text(encoding="utf-8")) == {"ok": True}
    present = {path.name for path in (work / "result").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "metrics.jsonl", "build.json"} <= present
    assert not (work / "resume").exists()
    assert not (work / "error.json").exists()

    metrics = [json.loads(line) for line in (work / "result" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [metric["step"] for metric in metrics] == [1, 2, 3, 4, 5, 6]
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert metrics[-1]["learning_rate"] == pytest.approx(1e-3)
    facts = json.loads((work / "result" / "build.json").read_text(encoding="utf-8"))
    assert facts["tokens"] == 6 * 4 * 32
    assert sum(portion["tokens"] for portion in facts["portions"].values()) == facts["tokens"]
    assert facts["final_loss"] == metrics[-1]["loss"]
    assert facts["peak_memory_bytes"] > 0
    assert facts["wall_seconds"] >= facts["seconds"]
    assert len(facts["rows"]) == 64

    told = lines(work)
    assert [line["phase"] for line in told if line["phase"] != "start"][:1] == ["tokenizer"]
    last = [line for line in told if line["phase"] == "train"][-1]
    assert (last["step"], last["steps"], last["tokens"]) == (6, 6, 768)
    assert {"time", "loss", "tokens_per_second", "eta_seconds"} <= last.keys()


def test_a_complete_result_is_not_built_again(texts: Path) -> None:
    order = small.order(texts / "work", texts, small.scratch(steps=2))
    assert run.main([str(order)]) == 0
    before = {path: path.stat().st_mtime_ns for path in (texts / "work").rglob("*")}
    assert run.main([str(order)]) == 0
    assert {path: path.stat().st_mtime_ns for path in (texts / "work").rglob("*")} == before


def test_a_result_without_done_is_written_anew(texts: Path) -> None:
    work = texts / "work"
    order = small.order(work, texts, small.scratch(steps=2))
    (work / "result").mkdir()
    (work / "result" / "stray.bin").write_bytes(b"of a killed run")
    (work / "error.json").write_text("{}", encoding="utf-8")
    assert run.main([str(order)]) == 0
    assert not (work / "result" / "stray.bin").exists()
    assert not (work / "error.json").exists()


def test_two_builds_of_one_order_are_equal_in_every_byte(texts: Path) -> None:
    for name in ("one", "two"):
        assert run.main([str(small.order(texts / name, texts, small.scratch(steps=4)))]) == 0
    for path in (texts / "one" / "result").iterdir():
        if path.name != "build.json":
            assert path.read_bytes() == (texts / "two" / "result" / path.name).read_bytes(), path.name


# ------------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"device": "tpu"}, "OrderError", "device 'tpu'; there are cpu, cuda and auto"),
        ({"threads": 0}, "OrderError", "0 threads"),
        ({"schema": 2}, "OrderError", "not of schema 1"),
        (
            {"recipe": {"__type__": "training.recipe:Optimisation", "learning_rate": 1.0}},
            "OrderError",
            "Optimisation is not the recipe of a stage",
        ),
        ({"recipe": {"__type__": "training.recipe:encode"}}, "RecipeError", "training.recipe:encode is not a recipe type"),
        ({"recipe": recipes.encode(small.continual())}, "OrderError", "built on one parent's checkpoint; the order names none"),
        ({"profile_dir": "/nowhere"}, "SourceError", "no text file /nowhere/eng.jsonl"),
        ({"recipe": recipes.encode(small.scratch(portions=small.portions(0, 0)))}, "PackingError", "no portion has a token"),
    ],
)
def test_an_order_that_cannot_be_carried_out_says_why(texts: Path, changes: dict[str, Any], kind: str, words: str) -> None:
    work = texts / "work"
    assert run.main([str(small.order(work, texts, small.scratch(), **changes))]) == 1
    assert error(work)["type"] == kind
    assert words in error(work)["message"]
    assert "Traceback" not in error(work)["message"]
    assert not (work / "done.json").exists()


def test_an_order_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text("{", encoding="utf-8")
    assert run.main([str(tmp_path / "order.json")]) == 1
    assert "cannot be read" in error(tmp_path)["message"]
    (tmp_path / "order.json").write_text('{"schema": 1, "stage": "base"}', encoding="utf-8")
    assert run.main([str(tmp_path / "order.json")]) == 1
    assert "lacks recipe, parents, hub" in error(tmp_path)["message"]
    assert run.main([]) == 2


def test_cuda_where_there_is_none_is_refused(texts: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    assert run.main([str(small.order(texts / "work", texts, small.scratch(), device="cuda"))]) == 1
    assert "sees no CUDA device" in error(texts / "work")["message"]


def test_a_build_that_failed_is_built_when_the_fault_is_mended(texts: Path) -> None:
    order = small.order(texts / "work", texts, small.scratch(steps=2))
    (texts / "eng.jsonl").rename(texts / "away.jsonl")
    assert run.main([str(order)]) == 1
    (texts / "away.jsonl").rename(texts / "eng.jsonl")
    assert run.main([str(order)]) == 0
    assert not (texts / "work" / "error.json").exists()


# ---------------------------------------------------------------------------------------------------------- a real process


def test_sigterm_saves_and_exits_130_and_the_same_order_goes_on(texts: Path) -> None:
    """One real child: the module runs as a program, never imports the harness, and stops when told."""
    work = texts / "work"
    order = small.order(work, texts, small.scratch(steps=4000), save_every_seconds=1e9)
    log = texts / "log.txt"
    with log.open("w", encoding="utf-8") as output:
        command = [sys.executable, "-X", "importtime", "-m", "training.run", str(order)]
        child = subprocess.Popen(command, cwd=ROOT, stderr=output, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        deadline = time.time() + 120
        while time.time() < deadline and child.poll() is None:
            if (work / "progress.jsonl").exists() and any(line["phase"] == "train" for line in lines(work)):
                break
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
        child.wait(timeout=60)
    finally:
        child.kill()
    told = log.read_text(encoding="utf-8")
    assert child.returncode == 130, told[-2000:]
    assert not (work / "done.json").exists()
    assert not (work / "error.json").exists()
    (snapshot,) = (work / "resume").glob("step-*")
    assert int(snapshot.name[5:]) >= 1
    modules = {line.rsplit("|", 1)[1].strip() for line in told.splitlines() if line.startswith("import time:")}
    assert not {module for module in modules if module.split(".")[0] in ("harness", "benchmarks", "lm_eval")}


# ----------------------------------------------------------------------------------------------------------------- progress


def test_the_heart_beats_through_a_silent_phase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "HEARTBEAT", 0.04)
    with Progress(tmp_path / "progress.jsonl") as progress:
        progress("data", step=1, steps=2, loss=None)
        time.sleep(0.4)
    told = lines(tmp_path)
    assert len(told) >= 4
    assert all(line == {"phase": "data", "step": 1, "steps": 2, "time": line["time"]} for line in told)
    times = [line["time"] for line in told]
    assert times == sorted(times)


def test_frequent_lines_are_thinned_and_the_last_is_kept(tmp_path: Path) -> None:
    with Progress(tmp_path / "progress.jsonl") as progress:
        for step in range(1, 1001):
            progress("train", often=step < 1000, step=step)
    told = lines(tmp_path)
    assert len(told) < 50
    assert told[-1]["step"] == 1000


def test_a_progress_file_that_cannot_be_written_does_not_stop_the_work(tmp_path: Path) -> None:
    with Progress(tmp_path / "absent" / "progress.jsonl") as progress:
        progress("data")
    with Progress(None) as progress:
        progress("data")


# ------------------------------------------------------------------------------------------------------ identity or runtime

# Every field of every recipe bears on identity: `encode` hashes them all. What does not belongs to the Job.
IDENTITY = {
    "WorldText": {"language", "documents", "split", "seed"},
    "HubText": {"dataset", "config", "split", "field", "language", "licence", "select", "mirror_only"},
    "TextFiles": {"path", "language", "field", "licence"},
    "CuratedText": {"language", "stage", "sources"},
    "Portion": {"name", "language", "tokens", "sources"},
    "CrawlFiles": {"paths"},
    "CrawlTexts": {"sources"},
    "CurateCorpus": {"crawl", "chain", "positives", "negatives", "reads"},
    "Optimisation": {"learning_rate", "final_fraction", "decay", "warmup_fraction", "weight_decay", "betas", "epsilon", "clip"},
    "Architecture": {"family", "vocabulary", "hidden", "intermediate", "layers", "heads", "kv_heads", "tied", "context", "rope_theta"},
    "FromScratch": {"architecture", "tokenizer_sources", "portions", "optimisation", "sequence", "batch", "seed", "precision"},
    "ImportCheckpoint": {"model", "revision", "gguf", "sha256", "precision"},
    "ExpandBlocks": {"new_blocks", "untie", "vocabulary", "zeroed"},
    "ContinuePretraining": {
        "portions", "optimisation", "sequence", "batch", "seed", "train", "precision", "document_isolation", "label_shift", "swapped_tokenizer",
        "most_epochs",
    },
}  # fmt: skip
RUNTIME = {
    "parents", "hub", "profile_dir", "result", "resume", "progress", "threads", "device", "stage", "save_every_seconds", "attention",
    "sharding", "evaluation", "ray", "interruption",
}  # fmt: skip


def test_every_field_is_classified_as_identity_or_runtime() -> None:
    """A new field fails here until somebody has said which it is."""
    kinds = [kind for kind in vars(recipes).values() if dataclasses.is_dataclass(kind) and isinstance(kind, type)]
    assert {kind.__name__: {field.name for field in dataclasses.fields(kind)} for kind in kinds} == IDENTITY
    assert {field.name for field in dataclasses.fields(run.Job)} == RUNTIME


@pytest.mark.parametrize("recipe", [small.scratch(), small.continual()], ids=["scratch", "continual"])
def test_every_field_of_a_recipe_moves_the_digest(recipe: Any) -> None:
    before = recipes.digest(recipes.encode(recipe))
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        match value:
            case bool():
                other: Any = not value
            case int():
                other = value + 1
            case None:
                other = 4.0
            case str():
                other = value + "x"
            case tuple():
                other = value[:-1]
            case _:
                first = dataclasses.fields(value)[0]
                other = dataclasses.replace(value, **{first.name: "llama" if isinstance(getattr(value, first.name), str) else 0.5})
        assert recipes.digest(recipes.encode(dataclasses.replace(recipe, **{field.name: other}))) != before, field.name


def test_a_field_that_came_later_moves_no_fingerprint_until_it_is_set() -> None:
    before, capped = small.continual(), small.continual(most_epochs=4.0)
    assert "most_epochs" not in recipes.encode(before)
    assert recipes.decode(recipes.encode(before)) == before
    assert recipes.encode(capped)["most_epochs"] == 4.0
    assert recipes.decode(recipes.encode(capped)) == capped


def test_a_job_knows_its_one_parent(tmp_path: Path) -> None:
    assert small.job(tmp_path, tmp_path, parents={"expand": tmp_path}).parent() == tmp_path
    both = small.job(tmp_path, tmp_path, parents={"expand": tmp_path, "curation": tmp_path / "corpus"})
    assert both.parent() == tmp_path  # a corpus is trained on, not from
    assert both.corpora == {"curation": tmp_path / "corpus"}
    for parents in ({}, {"curation": tmp_path}, {"a": tmp_path, "b": tmp_path}):
        with pytest.raises(run.OrderError, match="built on one parent"):
            small.job(tmp_path, tmp_path, parents=parents).parent()
    assert isinstance(small.job(tmp_path, tmp_path).interruption, Interruption)
