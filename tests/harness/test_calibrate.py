"""Calibration: the arithmetic of its findings, and (slow) a whole one over three seeds of the toy profile."""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import profiles
from harness.calibrate import SEED_STEP, Finding, reseeded, save, table
from harness.calibration import path_of
from harness.gates import Gate, GatesError, load_gates

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "tests/plugin/toy_profile.py"


def finding(*contrasts: float, sampling: float = 0.01, line: float = -0.2, above: bool = False, margin: float = 0.2) -> Finding:
    gate = Gate(
        name="stage1.learns.ind", stage="stage1", label="learns", suite="perplexity", metric="bits_per_byte", rule="improves_on", against="expand",
        margin=margin, languages=("ind",), reason="r",
    )  # fmt: skip
    return Finding(gate=gate, contrasts=contrasts, sampling=sampling, degrees=39, line=line, reference=3.4, above=above)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8))
def test_mean_and_spread_are_the_textbooks(contrasts: list[float]) -> None:
    found = finding(*contrasts)
    assert found.mean == pytest.approx(statistics.mean(contrasts), abs=1e-9)
    assert found.seed_sd == pytest.approx(statistics.stdev(contrasts), abs=1e-9)


def test_the_distance_counts_both_errors_and_is_positive_on_the_passing_side() -> None:
    passing = finding(-0.9, -1.0, -1.1, sampling=0.1)
    assert passing.distance == pytest.approx(0.8 / (0.1**2 + 0.1**2) ** 0.5)
    assert finding(0.1, 0.0, -0.1).distance < 0
    assert dataclasses.replace(passing, above=True).distance == -passing.distance


@pytest.mark.parametrize("only", ["", "curation", "base", "stage1", "stage2"])
def test_another_seed_is_all_that_differs(only: str) -> None:
    profile = profiles.load("nano")
    other = reseeded(profile, 3, only)
    for name, entry in profile.stages.items():
        before, after = entry.recipe, other.stages[name].recipe
        if hasattr(before, "seed") and only in ("", name):
            assert after.seed == before.seed + 3 * SEED_STEP
            assert dataclasses.replace(after, seed=before.seed) == before
        elif name == "curation" and only in ("", name):  # another crawl
            assert after.crawl.seed == before.crawl.seed + 3 * SEED_STEP
            assert dataclasses.replace(after, crawl=dataclasses.replace(after.crawl, seed=before.crawl.seed)) == before
        else:
            assert after == before
    assert reseeded(profile, 0).stages == profile.stages


def test_the_tightest_gate_comes_first() -> None:
    loose, tight = finding(-0.9, -1.0, -1.1), finding(-0.21, -0.22, -0.23)
    tight = dataclasses.replace(tight, gate=dataclasses.replace(tight.gate, name="stage1.tight.ind"))
    lines = table([loose, tight]).splitlines()
    assert "stage1.tight.ind" in lines[1]
    assert "seed SD" in lines[0]


def test_what_is_saved_is_what_the_gates_file_is_checked_against(tmp_path: Path) -> None:
    (tmp_path / "gates").mkdir()
    gates = tmp_path / "gates" / "toy.toml"
    gates.write_text((TOY.parent / "toy_gates.toml").read_text())
    profile = dataclasses.replace(profiles.load(str(TOY)), gates=gates)
    assert save(profile, [finding(-0.9, -1.0, -1.1)]) == path_of(gates)
    measured = next(gate for gate in load_gates(gates, profile) if gate.name == "stage1.learns.ind").calibrated
    assert measured is not None
    assert measured.seeds == 3
    assert measured.seed_sd == pytest.approx(0.1)
    save(profile, [finding(-0.9, -1.9, -0.1)])
    with pytest.raises(GatesError, match=r"stage1\.learns\.ind: its margin of 0\.2 cannot be told from nought"):
        load_gates(gates, profile)


def test_two_seeds_are_no_spread(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness.calibrate", "--profile", str(TOY), "--seeds", "2", "--store", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert "3 seeds or more" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("chains", [False, True])
def test_three_seeds_of_the_toy(tmp_path: Path, chains: bool) -> None:
    command = [sys.executable, "-m", "harness.calibrate", "--profile", str(TOY), "--seeds", "3", "--store", str(tmp_path / "s")]
    command += ["--chains"] if chains else ["--dry"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "stage1.learns.ind" in result.stdout
    records = [json.loads(path.read_text()) for path in (tmp_path / "s" / "toy" / "stage1").rglob("record.json")]
    assert {record["variant"] for record in records} == {"main", "seed1", "seed2"}
    assert len({record["content"] for record in records}) == 3
    assert len({record["parents"][0]["content"] for record in records}) == (3 if chains else 1)
