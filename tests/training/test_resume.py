"""Snapshots are whole or passed over, and a run that was stopped ends with the same weights, bit for bit."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training import small
from training.pretraining import corpus, loop, resume, scratch
from training.progress import Interrupted, Interruption


def snapshot(step: int) -> resume.Snapshot:
    import torch

    model = {"a": torch.full((3, 2), float(step)), "b": torch.arange(4.0) + step}
    moments = {"a/exp_avg": torch.ones(3, 2) * step}
    return resume.Snapshot(step=step, model=model, optimizer=moments, state={"reader": {"p": [step, 0, 0, 0]}})


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    import torch

    resume.save(tmp_path, snapshot(7))
    said: list[str] = []
    found = resume.load(tmp_path, said.append)
    assert found is not None
    assert (found.step, found.state, said) == (7, {"reader": {"p": [7, 0, 0, 0]}}, [])
    assert torch.equal(found.model["a"], snapshot(7).model["a"])
    assert torch.equal(found.optimizer["a/exp_avg"], snapshot(7).optimizer["a/exp_avg"])


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert resume.load(tmp_path / "absent", print) is None
    assert resume.load(tmp_path, print) is None


def test_the_two_newest_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15, 20):
        resume.save(tmp_path, snapshot(step))
    assert names(tmp_path) == ["step-00000015", "step-00000020"]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("fault", ["flip", "truncate", "remove", "empty"])
def test_a_damaged_newest_one_is_passed_over_and_said(tmp_path: Path, name: str, fault: str) -> None:
    for step in (5, 10):
        resume.save(tmp_path, snapshot(step))
    damage(tmp_path / "step-00000010" / name, fault)
    said: list[str] = []
    found = resume.load(tmp_path, said.append)
    assert found is not None
    assert found.step == 5
    assert len(said) == 1
    assert said[0].startswith("resume: step-00000010 is passed over: ")


def damage(path: Path, fault: str) -> None:
    content = path.read_bytes()
    match fault:
        case "flip":
            middle = len(content) // 2
            path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        case "truncate":
            path.write_bytes(content[: len(content) // 2])
        case "remove":
            path.unlink()
        case "empty":
            path.write_bytes(b"")


def test_all_damaged_is_a_fresh_start(tmp_path: Path) -> None:
    resume.save(tmp_path, snapshot(5))
    damage(tmp_path / "step-00000005" / "state.json", "remove")
    assert resume.load(tmp_path, lambda text: None) is None


def test_the_valid_one_outlives_a_damaged_one_between(tmp_path: Path) -> None:
    for step in (5, 10):
        resume.save(tmp_path, snapshot(step))
    damage(tmp_path / "step-00000010" / "model.safetensors", "flip")
    resume.save(tmp_path, snapshot(7))  # the run went on from 5
    assert names(tmp_path) == ["step-00000005", "step-00000007"]


def test_a_half_written_one_is_never_seen_and_swept_up(tmp_path: Path) -> None:
    resume.save(tmp_path, snapshot(5))
    shutil.copytree(tmp_path / "step-00000005", tmp_path / ".step-00000010.99")
    found = resume.load(tmp_path, print)
    assert found is not None
    assert found.step == 5
    resume.save(tmp_path, snapshot(6))
    assert names(tmp_path) == ["step-00000005", "step-00000006"]


def test_a_full_disk_leaves_the_last_one_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resume.save(tmp_path, snapshot(5))

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resume, "sync", full)
    with pytest.raises(OSError, match="No space left"):
        resume.save(tmp_path, snapshot(6))
    assert names(tmp_path) == ["step-00000005"]


def test_a_damaged_snapshot_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    resume.save(tmp_path, snapshot(5))
    damage(tmp_path / "step-00000005" / "model.safetensors", "flip")
    resume.save(tmp_path, snapshot(5))
    resume.check(tmp_path / "step-00000005")


# --------------------------------------------------------------------------------------------------------- whole trainings


def build(directory: Path, texts: Path, stops: list[int] = [], **changes: Any) -> tuple[str, list[float]]:  # noqa: B006
    """Build, interrupted after each step of `stops`; returns the digest of the weights and the losses."""
    from training.pretraining.sources import file_digest

    waiting = sorted(stops)
    recipe = small.scratch(**changes)
    while True:
        job = small.job(directory, texts)

        def progress(phase: str, step: int = 0, job: Any = job, **values: Any) -> None:
            if phase == "train" and waiting and step >= waiting[0]:
                while waiting and step >= waiting[0]:
                    waiting.pop(0)
                job.interruption.wanted = True

        try:
            scratch.build(recipe, small.job(directory, texts, progress, interruption=job.interruption))
        except Interrupted:
            continue
        return file_digest(directory / "result" / "model.safetensors"), small.losses(directory / "result")


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[float]]:
    """The run that was never stopped."""
    root = tmp_path_factory.mktemp("straight")
    small.write_text(root)
    return root, *build(root / "work", root)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stops=st.sets(st.integers(1, 11), min_size=1, max_size=4))
def test_stopped_anywhere_the_weights_are_the_same(
    straight: tuple[Path, str, list[float]], tmp_path_factory: pytest.TempPathFactory, stops: set[int]
) -> None:
    texts, weights, losses = straight
    assert build(tmp_path_factory.mktemp("stopped"), texts, sorted(stops)) == (weights, losses)


def test_it_resumes_and_says_where(straight: tuple[Path, str, list[float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(tmp_path, straight[0], [4, 9])
    facts = json.loads((tmp_path / "result" / "build.json").read_text(encoding="utf-8"))
    assert facts["resumed_at"] == [4, 9]
    assert "going on after step 9 of 12" in capsys.readouterr().err


def test_what_is_tokenised_is_not_tokenised_again(
    straight: tuple[Path, str, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, weights, losses = straight
    stop_at(tmp_path, texts, 4)
    monkeypatch.setattr(corpus, "tokenise", lambda *_: pytest.fail("tokenised again"))
    assert build(tmp_path, texts) == (weights, losses)


def test_a_flipped_byte_in_the_newest_costs_steps_not_the_result(
    straight: tuple[Path, str, list[float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, weights, losses = straight
    stop_at(tmp_path, texts, 4)
    stop_at(tmp_path, texts, 8)
    damage(tmp_path / "resume" / "step-00000008" / "model.safetensors", "flip")
    assert build(tmp_path, texts) == (weights, losses)
    told = capsys.readouterr().err
    assert "step-00000008 is passed over: model.safetensors is not what was written" in told
    assert "going on after step 4 of 12" in told


def stop_at(directory: Path, texts: Path, step: int, **changes: Any) -> None:
    job = small.job(directory, texts)

    def progress(phase: str, step_now: int = 0, **values: Any) -> None:
        job.interruption.wanted |= phase == "train" and values.get("step", 0) >= step

    with pytest.raises(Interrupted):
        scratch.build(small.scratch(**changes), small.job(directory, texts, progress, interruption=job.interruption))


def test_a_snapshot_of_another_recipe_is_not_taken_up(
    straight: tuple[Path, str, list[float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, weights, losses = straight
    stop_at(tmp_path, texts, 5, seed=99)
    assert build(tmp_path, texts) == (weights, losses)
    assert "of another recipe or other text" in capsys.readouterr().err


def test_saving_by_the_clock_does_not_change_the_result(
    straight: tuple[Path, str, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, _, losses = straight
    monkeypatch.setattr(loop, "SAVING_SHARE", float("inf"))
    scratch.build(small.scratch(), small.job(tmp_path, texts, save_every_seconds=0.0))
    assert names(tmp_path / "resume") == ["step-00000010", "step-00000011", "tokens"]
    assert small.losses(tmp_path / "result") == losses


def test_a_full_disk_does_not_stop_the_training(
    straight: tuple[Path, str, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(directory: Path, what: resume.Snapshot) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resume, "save", full)
    scratch.build(small.scratch(), small.job(tmp_path, straight[0], save_every_seconds=0.0))
    assert small.losses(tmp_path / "result") == straight[2]
    assert "is not saved: [Errno 28] No space left" in capsys.readouterr().err


def test_an_interrupt_while_reading_text_stops_at_once(tmp_path: Path) -> None:
    interruption = Interruption()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    interruption.listen()
    try:
        with pytest.raises(Interrupted, match="SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted), interruption.deferred():
            os.kill(os.getpid(), signal.SIGINT)
        assert interruption.wanted
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


# ------------------------------------------------------------------------------------------------------------ real SIGKILLs

KILLER = Path(__file__).parent / "killer.py"


def killed(tmp_path: Path, texts: Path, attempts: int, seed: int, steps: int) -> dict[str, Any]:
    """Run killer.py: a real child, killed at random moments and started again until it is done."""
    small.order(tmp_path / "work", texts, small.scratch(steps=steps))
    done = subprocess.run(
        [sys.executable, str(KILLER), str(tmp_path / "work" / "order.json"), str(attempts), str(seed)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_killed_in_mid_run_the_weights_are_the_same(tmp_path: Path) -> None:
    small.write_text(tmp_path)
    told = killed(tmp_path, tmp_path, attempts=3, seed=1, steps=40)
    assert told["kills"] >= 2
    assert told["resumed_at"]
    assert told["killed"] == told["straight"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_killed_at_random_points_the_weights_are_the_same(tmp_path: Path, seed: int) -> None:
    small.write_text(tmp_path)
    told = killed(tmp_path, tmp_path, attempts=25, seed=seed, steps=random.Random(seed).randint(20, 120))
    assert told["killed"] == told["straight"]
