"""Faults of a whole run, on the real pipeline: killed, raced, interrupted, damaged, detached; each ends in a valid store and one clear word."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness.rows import Rows
from harness.store import Store
from tests.plugin.conftest import ROOT, TOY, Run, plugin_arguments, run_pytest

COMMAND = [sys.executable, "-m", "pytest", *plugin_arguments(), "-m", "stage1", f"--gate-profile={TOY}"]


def start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "SEATRIALS_"))}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=directory,
        env={**plain, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell that starts something in the background has it ignore Ctrl-C, and so does what that starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def contents(store: Path) -> dict[str, str]:
    """The content digest of each stage's artifact."""
    return {artifact.record.stage: artifact.record.content for artifact in Store(store).artifacts()}


def forget(store: Path, *stages: str) -> None:
    """Take stages out of a copied store, so that they have to be built again."""
    for stage in stages:
        shutil.rmtree(store / "toy" / stage)
    shutil.rmtree(store / "certificates")


def wait_for(found, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


def training_child(store: Path) -> int:
    """The process id of the child that builds in a store, once it trains."""
    progress = lambda: [path for path in store.glob(".building/*/progress.jsonl") if '"train"' in path.read_text()]  # noqa: E731
    wait_for(progress)
    found = child_of("training.run", progress()[0].with_name("order.json"))
    assert found, "no child"
    return found


def child_of(module: str, order: Path) -> int | None:
    """The process id of the child that runs `module` on an order (or on one under that directory)."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_text()
            except OSError:
                continue
            if str(order) in command and module in command:
                return int(entry.name)
    return None


def answers(store: Path) -> int:
    """How many answers the journals of a store hold."""
    return sum(path.read_bytes().count(b"\n") for path in (store / "answers").rglob("*.jsonl"))


def decided(store: Path) -> dict[str, str]:
    """The verdicts of the newest run."""
    newest = max((store / "runs").glob("*.json"), key=lambda path: path.stat().st_mtime)
    return {row["gate"]: row["verdict"] for row in json.loads(newest.read_text())["gates"]}


@pytest.mark.slow
def test_a_killed_pytest_loses_nothing_and_the_weights_are_the_same(toy: Run, tmp_path: Path, warm_store: Path) -> None:
    store = tmp_path / ".seatrials"
    forget(store, "stage1")
    first = start(tmp_path)
    training_child(store)
    first.kill()
    first.wait()
    result = toy("-m", "stage1")
    assert result.returncode == 0, result.stdout
    assert contents(store) == contents(warm_store)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_evaluations_killed_at_random_points_end_in_the_same_rows_and_verdicts(
    toy: Run, tmp_path: Path, warm_store: Path, seed: int
) -> None:
    """Through the pipeline, over every stage: after a random number of answers or a random time, the child or pytest itself."""
    store, rng, kills = tmp_path / ".seatrials", random.Random(seed), 0
    for name in ("answers", "rows", "certificates", "runs"):
        shutil.rmtree(store / name)
    while kills < 5:
        process = start(tmp_path)
        target = answers(store) + rng.randrange(1, 120)
        until = time.monotonic() + (rng.uniform(0.5, 8) if rng.random() < 1 / 3 else 120)
        while process.poll() is None and answers(store) < target and time.monotonic() < until:
            time.sleep(0.01)
        child = child_of("harness.evaluation", store / "rows")
        if process.poll() is None:
            if child is not None and rng.random() < 2 / 3:
                os.kill(child, signal.SIGKILL)
            else:
                process.kill()
            kills += 1
        said, _ = process.communicate(timeout=600)  # a kill of an orphan leaves a run that goes on to its end
        if process.returncode == 0:
            break  # it was quicker than the kills
        assert process.returncode in (4, -signal.SIGKILL), said
    assert kills
    result = toy("-m", "stage1")
    assert result.returncode == 0, result.stdout
    assert decided(store) == decided(warm_store)
    whole = {path.relative_to(warm_store): Rows.read(path) for path in (warm_store / "rows").rglob("*.parquet")}
    assert len(whole) == 6  # three stages, two suites
    for path, expected in whole.items():
        found = Rows.read(store / path)
        assert list(found.sample) == list(expected.sample)
        for name, values in expected.values.items():  # other batches after a kill: sums of float32 in another order
            np.testing.assert_allclose(found.values[name], values, rtol=1e-5, atol=1e-5, err_msg=f"{path} {name}")


@pytest.mark.slow
def test_a_killed_child_is_told_and_the_next_run_resumes_it(toy: Run, tmp_path: Path, warm_store: Path) -> None:
    store = tmp_path / ".seatrials"
    forget(store, "stage1")
    first = start(tmp_path)
    os.kill(training_child(store), signal.SIGKILL)
    said, _ = first.communicate(timeout=120)
    assert first.returncode == 4
    assert "killed by signal 9" in said
    assert toy("-m", "stage1").returncode == 0
    assert contents(store) == contents(warm_store)


@pytest.mark.slow
def test_ctrl_c_ends_the_child_and_leaves_a_state_to_go_on_from(toy: Run, tmp_path: Path, warm_store: Path) -> None:
    store = tmp_path / ".seatrials"
    forget(store, "stage1")
    first = start(tmp_path)
    child = training_child(store)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=120)
    assert first.returncode == 2
    assert not Path(f"/proc/{child}").exists()
    assert list(store.glob(".building/*/resume/*"))
    assert toy("-m", "stage1").returncode == 0
    assert contents(store) == contents(warm_store)


def flip_a_byte(store: Path, stage: str) -> Path:
    """Damage the weights of a stage; returns their file."""
    (weights,) = (store / "toy" / stage).rglob("model.safetensors")
    weights.chmod(0o644)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    return weights


def store_says(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m harness.store` on the store."""
    command = [sys.executable, "-m", "harness.store", "--store", str(store), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120)


@pytest.mark.slow
def test_two_processes_build_once(tmp_path: Path, warm_store: Path) -> None:
    shutil.copytree(warm_store, tmp_path / ".seatrials")
    forget(tmp_path / ".seatrials", "stage1")
    both = [start(tmp_path) for _ in range(2)]
    said = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("stage1: built in" in text for text in said) == 1
    assert contents(tmp_path / ".seatrials") == contents(warm_store)


def test_a_flipped_byte_is_named_and_nothing_is_built_on_it(toy: Run, tmp_path: Path) -> None:
    store = tmp_path / ".seatrials"
    forget(store, "stage1")
    flip_a_byte(store, "expand")
    result = toy("-m", "stage1")
    assert result.returncode == 4, result.stdout
    assert "model.safetensors" in result.stdout
    assert not list((store / "toy" / "stage1").rglob("record.json")) if (store / "toy" / "stage1").exists() else True
    assert store_says(store, "verify").returncode != 0


def test_a_flipped_byte_of_a_certified_checkpoint_is_found_before_it_is_handed_over(toy: Run, tmp_path: Path) -> None:
    """The certificate stands; whoever asks for the checkpoint would load other weights. With the artifact gone, it is built again."""
    store = tmp_path / ".seatrials"
    weights = flip_a_byte(store, "stage1")
    result = toy("-m", "stage1")
    assert result.returncode == 4, result.stdout
    assert "stage1: BUILD ERROR" in result.stdout
    assert "model.safetensors" in result.stdout
    assert "INTERNALERROR" not in result.stdout
    shutil.rmtree(weights.parent)
    assert store_says(store, "verify").returncode == 0
    assert toy("-m", "stage1").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "said"), [("runs", "NO RECORD"), ("certificates", "the certificate cannot be written")])
def test_what_cannot_be_written_is_told_beside_the_table(toy: Run, tmp_path: Path, name: str, said: str) -> None:
    """As on a full disk: the system refuses the directory. The gates are shown, nothing is half-written, and with room the run goes through."""
    store = tmp_path / ".seatrials"
    shutil.rmtree(store / name)
    (store / name).write_text("no directory")
    result = toy("-m", "stage1")
    assert result.returncode == 4, result.stdout
    assert said in result.stdout
    assert "run again" in result.stdout
    assert "gates: " in result.stdout
    assert "INTERNALERROR" not in result.stdout + result.stderr
    (store / name).unlink()
    again = toy("-m", "stage1")
    assert again.returncode == 0, again.stdout
    assert "built in" not in again.stdout
    assert store_says(store, "verify").returncode == 0


def test_a_crash_of_pytest_is_no_inconclusive_run(toy: Run, tmp_path: Path) -> None:
    """pytest's own number for it is 3, which a nightly lets pass."""
    (tmp_path / "crash.py").write_text("def pytest_runtest_logreport(report):\n    raise RuntimeError('a plugin at fault')\n")
    result = toy("-m", "stage1", "-p", "crash", environment={"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"})
    assert "a plugin at fault" in result.stdout + result.stderr
    assert result.returncode == 4


def test_a_truncated_record_is_named(toy: Run, tmp_path: Path) -> None:
    (record,) = (tmp_path / ".seatrials" / "toy" / "base").rglob("record.json")
    record.chmod(0o644)
    record.write_text(record.read_text()[:100])
    result = toy("-m", "stage1")
    assert result.returncode == 4, result.stdout
    assert "record.json" in result.stdout + result.stderr
    assert "is truncated or not JSON" in result.stdout
    assert "INTERNALERROR" not in result.stdout
    shutil.rmtree(record.parent)
    assert store_says(tmp_path / ".seatrials", "verify").returncode == 0


@pytest.mark.slow
def test_a_detached_build_is_submitted_watched_and_certified(toy: Run, tmp_path: Path, warm_store: Path) -> None:
    store = tmp_path / ".seatrials"
    forget(store, "stage1")
    first = toy("-m", "stage1", "--gate-detach")
    assert first.returncode == 3, first.stdout
    assert "building: submitted as process" in first.stdout
    training_child(store)
    second = toy("-m", "stage1")
    assert "not run: building (" in second.stdout or "4 passed" in second.stdout
    wait_for(lambda: list(store.glob(".building/*/done.json")) or contents(store).keys() >= {"stage1"}, 120)
    third = toy("-m", "stage1")
    assert third.returncode == 0, third.stdout
    assert contents(store) == contents(warm_store)


def test_blessing_refuses_and_then_moves_only_with_a_reason(toy: Run, tmp_path: Path) -> None:
    """In a repository of its own: dirty is refused, clean is blessed, and `retains` against it is then judged."""
    home = tmp_path / "repository"
    home.mkdir()
    (home / "goldens" / "gates").mkdir(parents=True)
    shutil.copy(TOY.parent / "toy_gates.toml", home / "goldens" / "gates" / "toy.toml")
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    subprocess.run([*git, "init", "-q"], cwd=home, check=True)
    environment = {"TOY_GATES": str(home / "goldens" / "gates" / "toy.toml")}
    arguments = ["-m", "stage1", "--gate-bless", "--gate-reason", "first light"]
    dirty = toy(*arguments, environment=environment)
    assert dirty.returncode == 1, dirty.stdout
    assert "NOT BLESSED" in dirty.stdout
    subprocess.run([*git, "add", "."], cwd=home, check=True)
    subprocess.run([*git, "commit", "-qm", "gates"], cwd=home, check=True)
    clean = toy(*arguments, environment=environment)
    assert clean.returncode == 0, clean.stdout
    (blessed,) = (home / "goldens" / "blessed").rglob("stage1.json")
    assert json.loads(blessed.read_text())["reason"] == "first light"
    ungated = toy(*arguments, "--gate-ungated", environment=environment)
    assert "NOT BLESSED" in ungated.stdout


def test_a_first_blessing_goes_through_gates_that_await_it(toy: Run, tmp_path: Path) -> None:
    home = tmp_path / "repository"
    (home / "goldens" / "gates").mkdir(parents=True)
    gates = home / "goldens" / "gates" / "toy.toml"
    held = (
        '\n[[gate]]\nname = "no_worse"\nstage = "{}"\nsuite = "perplexity"\nmetric = "bits_per_byte"\nrule = "retains"\nagainst = "blessed"\n'
        'margin = 0.5\nlanguages = ["eng"]\nreason = "what was once reached"\n'
    )
    gates.write_text((TOY.parent / "toy_gates.toml").read_text() + held.format("base") + held.format("stage1"))
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "gates"]):
        subprocess.run([*git, *command], cwd=home, check=True)
    environment = {"TOY_GATES": str(gates)}
    before = toy("-m", "stage1", environment=environment)
    assert before.returncode == 3
    assert "blocked by base.no_worse.eng (not run)" in before.stdout
    blessing = toy("-m", "stage1", "--gate-bless", "--gate-reason", "first light", environment=environment)
    assert "NOT BLESSED" not in blessing.stdout, blessing.stdout
    after = toy("-m", "stage1", environment=environment)
    assert after.returncode == 0, after.stdout
    assert "gates: 6 pass" in after.stdout


def test_an_adopted_checkpoint_stands_in_for_a_build(toy: Run, tmp_path: Path) -> None:
    store = tmp_path / ".seatrials"
    (made,) = Store(store).artifacts("toy", "stage1")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in made.record.files:
        if name not in ("metrics.jsonl", "build.json", "log.txt"):
            shutil.copy(made.path / name, elsewhere / name)
    forget(store, "stage1")
    (parent,) = Store(store).artifacts("toy", "expand")
    command = [sys.executable, "-m", "harness.store", "--store", str(store), "adopt", "stage1", str(elsewhere), "--profile", "toy"]
    command += ["--parent", parent.record.fingerprint[:12]]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    result = toy("-m", "stage1")
    assert result.returncode == 0, result.stdout
    assert "adopted" in result.stdout


def test_weights_that_could_run_code_are_not_adopted(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text("{}")
    (tmp_path / "theirs" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    command = [sys.executable, "-m", "harness.store", "--store", str(tmp_path / "s"), "adopt", "base", str(tmp_path / "theirs")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode != 0
    assert "pytorch_model.bin" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_profile_of_days_builds_only_what_is_named(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, ["-m", "stage1", f"--gate-profile={TOY}"], {"TOY_BUILD": "named"})
    assert result.returncode == 3, result.stdout
    assert "only what --gate-build names" in result.stdout
    assert "blocked by base" in result.stdout
