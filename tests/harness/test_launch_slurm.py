"""The slurm launcher, with stand-ins for srun and scontrol that start the tasks here: several nodes meet and build one artifact."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.launch import Launcher, LaunchError
from tests.training import small
from training import run
from training.pretraining import scratch

ROOT = Path(__file__).parents[2]
# Starts --nodes tasks of one step, each with what Slurm tells it.
SRUN = """#!{python}
import os, subprocess, sys
asked = dict(word.lstrip("-").split("=", 1) for word in sys.argv[1:] if word.startswith("--") and "=" in word)
start = next(i for i, word in enumerate(sys.argv[1:], 1) if not word.startswith("--"))
nodes = int(asked["nodes"])
told = dict(os.environ, SLURM_JOB_ID="4", SLURM_STEP_ID="1", SLURM_STEP_NODELIST="here[1-2]", SLURM_STEP_NUM_TASKS=str(nodes))
tasks = [subprocess.Popen(sys.argv[start:], env=dict(told, SLURM_PROCID=str(node), SLURM_NODEID=str(node))) for node in range(nodes)]
sys.exit(max(task.wait() for task in tasks))
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the stand-ins, first on the path."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("srun", SRUN.format(python=sys.executable)), ("scontrol", "#!/bin/sh\necho localhost\necho elsewhere\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_JOB_NUM_NODES", raising=False)
    return tools


@pytest.mark.parametrize(
    ("text", "nodes", "gpus"), [("slurm", 0, 0), ("slurm:4", 4, 0), ("slurm:8x4", 8, 4), ("torchrun", 0, 0), ("torchrun:2", 0, 2)]
)
def test_sizes_of_a_launcher(text: str, nodes: int, gpus: int) -> None:
    found = Launcher.parse(text)
    assert (found.nodes, found.gpus) == (nodes, gpus)


@pytest.mark.parametrize("text", ["slurm:", "slurm:0", "slurm:2x", "slurm:x8", "slurm:2x8x1", "torchrun:0", "torchrun:2x8"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(LaunchError, match="use one of local"):
        Launcher.parse(text)


def test_the_allocation_says_how_many_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    order = Path("/store/FP-stage1/order.json")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "16")
    command = Launcher.parse("slurm").command("training.run", order)
    assert "--nodes=16" in command
    assert "--nnodes=16" in command
    assert command[-4:] == ["--nproc-per-node=gpu", "-m", "training.run", str(order)]
    command = Launcher.parse("slurm:2x8").command("training.run", order)
    assert {"--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=8", "--nnodes=2", "--nproc-per-node=8"} <= set(command)


def test_an_evaluation_takes_one_node_and_what_is_one_process_one_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "16")
    order, slurm = Path("/store/rows/order.json"), Launcher.parse("slurm:8x4")
    command = slurm.command("harness.evaluation", order)
    assert command[:3] == ["srun", "--nodes=1", "--ntasks-per-node=1"]
    assert command[-6:] == ["--standalone", "--nproc-per-node=4", "-m", "harness.evaluation", "--order", str(order)]
    for launcher in (slurm, Launcher.parse("torchrun")):
        command = dataclasses.replace(launcher, alone=True).command("harness.overlap", order)
        assert command[-4:] == [sys.executable, "-m", "harness.overlap", str(order)]
        assert "torch.distributed.run" not in command


@pytest.mark.slow
def test_two_nodes_build_one_artifact(slurm: Path, tmp_path: Path) -> None:
    small.write_text(tmp_path)
    alone = small.job(tmp_path / "alone", tmp_path)
    scratch.build(small.scratch(), alone)
    work = tmp_path / "work"
    order = small.order(work, tmp_path, small.scratch(), save_every_seconds=1e9)
    command = Launcher.parse("slurm:2x1").command("training.run", order)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads((work / "result" / "build.json").read_text())
    assert (facts["processes"], facts["sharding"]) == (2, "whole"), "auto splits on CUDA alone"
    assert small.losses(work / "result") == pytest.approx(small.losses(alone.result), abs=1e-5)


def test_tasks_that_know_nothing_of_each_other_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A bare srun of several tasks: each would take itself for rank 0 of 1 and clear one folder."""
    small.write_text(tmp_path)
    work = tmp_path / "work"
    order = small.order(work, tmp_path, small.scratch())
    kept = work / "result" / "of-another-task"
    kept.parent.mkdir()
    kept.touch()
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert run.main([str(order)]) == 1
    assert kept.exists()
    assert "srun started 4 tasks" in json.loads((work / "error.json").read_text())["message"]
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    run.one_of_one()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("WORLD_SIZE", "4")
    run.one_of_one()  # torchrun has told them
    capfd.readouterr()
