"""Blessing at the end of a real run: what the certificate names, and a baseline that somebody else moves while the run judges."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from harness import baselines
from harness.gates import gates_digest
from tests.plugin.conftest import TOY, Run

# Runs before the plugin's own end of the session: the verdicts stand, nothing is blessed yet.
MEANWHILE = """
import json, os, pathlib, subprocess

def pytest_sessionfinish(session):
    if os.environ.get("MEANWHILE"):
        path = pathlib.Path(__file__).parent / "blessed/gates/blessed/stage1.json"
        data = json.loads(path.read_text())
        path.write_text(json.dumps({**data, "reason": "another's"}))
        identity = ["-c", "user.name=o", "-c", "user.email=o@example.invalid", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, "commit", "-qam", "another's"], cwd=path.parent, check=True)
"""


@pytest.fixture
def checkout(tmp_path: Path, toy: Run) -> Path:
    """A clean checkout with the toy's gates file, around the run's directory."""
    (tmp_path / "gates.toml").write_text((TOY.parent / "toy_gates.toml").read_text())
    (tmp_path / "conftest.py").write_text(MEANWHILE)
    (tmp_path / ".gitignore").write_text(".seatrials\n__pycache__\n.pytest_cache\n")
    commit(tmp_path, "start")
    return tmp_path


def commit(directory: Path, subject: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", subject]):
        subprocess.run(["git", *command], cwd=directory, check=True, capture_output=True)


def test_a_certificate_names_gates_file_and_baseline_and_another_blessing_is_seen(toy: Run, checkout: Path) -> None:
    told = {"TOY_GATES": str(checkout / "gates.toml")}
    bless = ("-m", "stage1", "--gate-bless", "--gate-reason", "first")
    first = toy(*bless, environment=told)
    assert first.returncode == 0, first.stdout
    assert "blessed stage1: nothing ->" in first.stdout
    path = checkout / "blessed/gates/blessed/stage1.json"
    commit(checkout, "blessed")
    mine = baselines.file_digest(path)

    again = toy(*bless, environment={**told, "MEANWHILE": "1"})
    assert again.returncode == 1, again.stdout
    assert "NOT BLESSED: " in again.stdout
    assert "stage1.json changed while this run judged: somebody else blessed" in again.stdout
    assert json.loads(path.read_text())["reason"] == "another's"

    record = json.loads(max((checkout / ".seatrials/runs").glob("*.json"), key=lambda path: path.stat().st_mtime).read_text())
    rows = [row for row in record["gates"] if row["stage"] == "stage1"]
    certificates = [json.loads(path.read_text()) for path in (checkout / ".seatrials/certificates/toy/stage1").glob("*.json")]
    newest = max(certificates, key=lambda certificate: bool(certificate["baselines"]["blessed"]))
    for found in (*rows, newest):
        assert found["baselines"] == {"blessed": mine, "release": ""}
    assert {row["gates_digest"] for row in rows} == {newest["gates"]} == {gates_digest(checkout / "gates.toml")}
