"""Every layer there is, in one chain: killed all along it, and on a local Ray cluster, it leaves the bytes of an undisturbed run here."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.curation import whole_chain
from training.curation.layer import LAYERS

pytestmark = pytest.mark.slow

CHANGES = ("lines", "pii", "decontaminate")  # layers that cut and mask where others drop


def started(directory: Path, output: Path, how: str, workers: int) -> str:
    """Run whole_chain.py in a process of its own, as Daft sets its runner once; what it printed last."""
    environment = {**os.environ, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    command = [sys.executable, "-m", whole_chain.__name__, str(directory), str(output), how, str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[3], timeout=1800)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().rpartition("\n")[2]


def files(output: Path) -> dict[str, bytes]:
    """Documents, dropped files, facts, quarantine, report: every file there is."""
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in sorted(output.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The crawl and what the layers are told."""
    made = tmp_path_factory.mktemp("crawl")
    whole_chain.prepare(made)
    return made


@pytest.fixture(scope="module")
def undisturbed(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the native runner leaves."""
    output = tmp_path_factory.mktemp("undisturbed") / "output"
    started(directory, output, "native", 1)
    return files(output)


def test_every_layer_has_work_here(undisturbed: dict[str, bytes]) -> None:
    report = json.loads(undisturbed["report.json"])
    assert [layer["name"] for layer in report["layers"]] == ["ids", *LAYERS]
    for layer in report["layers"]:
        assert layer["changed" if layer["name"] in CHANGES else "dropped"] > 0, layer["name"]
        assert (
            sum(undisturbed[name].count(b"\n") for name in undisturbed if name.startswith(f"dropped/{layer['step']}/")) == layer["dropped"]
        )
    for step in (layer["step"] for layer in report["layers"] if layer["name"] in (*CHANGES, "exact")):
        assert undisturbed[f"cut/{step}/samples.jsonl"].count(b"\n") > 0, step
    assert len([name for name in undisturbed if name.startswith("shards/")]) == 3
    assert {entry["language"] for entry in report["corpus"]} == set(whole_chain.LANGUAGES)
    assert report["quarantined"] > 0


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_in_every_pass_of_every_layer_it_goes_on_and_ends_the_same(
    directory: Path, undisturbed: dict[str, bytes], tmp_path: Path, workers: int
) -> None:
    """Each attempt gets one mark further than the last. Of two workers one may have judged the next shard when the run dies: then no line tells of it."""
    met = json.loads(started(directory, tmp_path / "output", "killed", workers))
    assert files(tmp_path / "output") == undisturbed
    steps = [f"{number:02d}-{name}" for number, name in enumerate(("ids", *LAYERS))]
    for step in steps:
        of_step = [mark.partition(" ")[2] for mark in met if mark.startswith(f"{step} ")]
        if workers == 1:
            assert of_step == ["first", "plan", "1/3", "dropped", "counts", "2/3", "3/3"]
        else:
            assert of_step[:2] == ["first", "plan"]
            assert of_step[2:]
    if workers == 1:
        assert met[:4] == ["extract 1/3", "00-extract counts", "extract 2/3", "extract 3/3"]
        assert len(met) == 4 + 7 * len(steps) + 3


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'seatrials[curation-ray]'")
def test_a_ray_cluster_leaves_the_same_documents_drops_counts_and_report(
    directory: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    started(directory, tmp_path / "output", "ray", 1)
    assert files(tmp_path / "output") == undisturbed
