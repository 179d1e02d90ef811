"""More than one process: whole or split over them (FSDP2), the weights are those of one process, and a kill costs nothing."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.training import processes, small
from training.models import load
from training.pretraining import continual, expand, scratch
from training.pretraining.sources import file_digest
from training.recipe import ContinuePretraining, ExpandBlocks, Portion, TextFiles

TIED = {"tied": True, "untied": False}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The texts, and parents under `tied/result` (embedding and head are one) and `untied/result`, both expanded by a block."""
    root = tmp_path_factory.mktemp("base")
    small.write_text(root)
    scratch.build(small.scratch(), small.job(root / "base", root))
    for name, tied in TIED.items():
        job = small.job(root / name, root, parents={"base": root / "base" / "result"})
        expand.build(ExpandBlocks(new_blocks=1, untie=not tied), job)
    return root


def order(base: Path, work: Path, parent: str = "tied", recipe: ContinuePretraining | None = None, **changes: Any) -> Path:
    settings = {"stage": "stage1", "parents": {"expand": str(base / parent / "result")}, "save_every_seconds": 1e9, **changes}
    return small.order(work, base, recipe or small.continual(), **settings)


def alone(base: Path, work: Path, parent: str = "tied", recipe: ContinuePretraining | None = None) -> Path:
    job = small.job(work, base, parents={"expand": base / parent / "result"})
    continual.build(recipe or small.continual(), job)
    return job.result


def facts(work: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((work / "result" / "build.json").read_text(encoding="utf-8"))
    return found


def furthest(one: Path, other: Path) -> float:
    """The largest difference of a weight between two checkpoints of the same tensors."""
    before, after = (load.load_model(path).state_dict() for path in (one, other))
    assert before.keys() == after.keys()
    return max((before[name] - after[name]).abs().max().item() for name in before)


@pytest.mark.parametrize(("sharding", "parent"), [("whole", "tied"), ("fsdp", "tied"), ("fsdp", "untied")])
def test_two_processes_train_as_one(base: Path, tmp_path: Path, sharding: str, parent: str) -> None:
    """The same losses and weights within rounding, files of the same names and configuration, written by rank 0."""
    one = alone(base, tmp_path / "one", parent)
    work = tmp_path / "two"
    assert processes.run(order(base, work, parent, sharding=sharding)) == [0, 0]
    assert small.losses(work / "result") == pytest.approx(small.losses(one), abs=1e-5)
    # 6 steps at a rate of 5e-3: a weight has moved by up to 3e-2.
    assert furthest(one, work / "result") < 5e-5
    assert {path.name for path in one.iterdir()} == {path.name for path in (work / "result").iterdir()}
    for name in ("config.json", "tokenizer.json"):
        assert file_digest(one / name) == file_digest(work / "result" / name)
    built = facts(work)
    assert (built["processes"], built["sharding"], built["attention"]) == (2, sharding, "packed")
    assert built["parameters"] == facts(tmp_path / "one")["parameters"]
    assert max(built["leaked_share"]) == 0.0
    assert (work / "done.json").exists()


def test_text_that_is_missing_ends_all_and_is_named(base: Path, tmp_path: Path) -> None:
    gone = Portion(name="far", language="ind", tokens=64, sources=(TextFiles(path="gone.jsonl", language="ind"),))
    assert processes.run(order(base, tmp_path / "two", recipe=small.continual(portions=(gone,)))) == [1, 1]
    error = json.loads((tmp_path / "two" / "error.json").read_text(encoding="utf-8"))
    assert error["type"] == "SourceError"
    assert error["message"].startswith("portion far: no text file")


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"precision": "bfloat16"}, {"train": "new_blocks"}], ids=str)
def test_split_in_bfloat16_and_with_frozen_layers(base: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    recipe = small.continual(**changes)
    one = alone(base, tmp_path / "one", recipe=recipe)
    work = tmp_path / "two"
    assert processes.run(order(base, work, recipe=recipe, sharding="fsdp")) == [0, 0]
    near = 1e-5 if recipe.precision == "float32" else 5e-3
    assert small.losses(work / "result") == pytest.approx(small.losses(one), abs=near)
    assert facts(work)["trained_parameters"] == facts(tmp_path / "one")["trained_parameters"]
    if recipe.train == "new_blocks":
        assert furthest(one, work / "result") < 5e-5


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [("fsdp", "whole"), ("whole", "fsdp")])
def test_a_stopped_run_goes_on_split_or_whole(base: Path, tmp_path: Path, first: str, then: str) -> None:
    """SIGTERM to one process stops all of them after the step with a snapshot; how the model lies in memory is no part of it."""
    recipe = small.continual(steps=30)
    one = alone(base, tmp_path / "one", recipe=recipe)
    work = tmp_path / "two"
    children = processes.start(order(base, work, recipe=recipe, sharding=first), 2)
    try:
        while '"train"' not in (work / "progress.jsonl").read_text() if (work / "progress.jsonl").exists() else True:
            assert all(child.poll() is None for child in children)
            time.sleep(0.02)
        children[1].send_signal(signal.SIGTERM)
        assert [child.wait(timeout=300) for child in children] == [130, 130]
    finally:
        for child in children:
            child.kill()
    assert not (work / "done.json").exists()
    assert processes.run(order(base, work, recipe=recipe, sharding=then)) == [0, 0]
    assert 0 < facts(work)["resumed_at"][0] < 30
    assert small.losses(work / "result") == pytest.approx(small.losses(one), abs=2e-4)
    assert furthest(one, work / "result") < 5e-3
