"""A warm store of the toy profile, built once by the real pipeline, and the command that runs pytest on it."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOY = HERE / "toy_profile.py"
Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ran:
    """A run that several tests look at: what it said, and the directory that it was started in, which they leave alone."""

    result: subprocess.CompletedProcess[str]
    directory: Path
    environment: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def stdout(self) -> str:
        """What it printed."""
        return self.result.stdout

    def again_in(self, directory: Path) -> Run:
        """Run pytest from an empty directory with a copy of this run's store, and told the same."""
        return on_a_copy(self.directory / ".seatrials", directory, self.environment)


def block(name: str) -> str:
    """The fenced code between two markers of the README."""
    found = re.search(
        rf"<!-- {name}:begin -->\n```\w+\n(.*?)```\n<!-- {name}:end -->", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert found, f"the README has no block {name}"
    return found[1]


def run_pytest(
    directory: Path, arguments: Sequence[str], environment: dict[str, str] | None = None, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run pytest in `directory` in a process of its own, with a pipe for a terminal."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "SEATRIALS_"))}
    plugin = plugin_arguments()
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, *arguments],
        cwd=directory,
        env={**plain, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def plugin_arguments() -> list[str]:
    """What loads the plugin: nothing where its entry point is installed, which would clash with `-p`."""
    from importlib.metadata import entry_points

    return [] if any(point.value == "harness.plugin" for point in entry_points(group="pytest11")) else ["-p", "harness.plugin"]


def on_a_copy(store: Path, directory: Path, told: dict[str, str] | None = None) -> Run:
    """Run pytest on the toy profile from an empty directory, with a copy of a store."""
    shutil.copytree(store, directory / ".seatrials")

    def run(*arguments: str, environment: dict[str, str] | None = None, profile: bool = True) -> subprocess.CompletedProcess[str]:
        named = [f"--gate-profile={TOY}"] if profile else []
        return run_pytest(directory, [*arguments, *named], {**(told or {}), **(environment or {})})

    return run


@pytest.fixture(scope="session")
def warm_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's three checkpoints, certified. The first of xdist's workers that asks builds them for all. Tests that change a store take a copy."""
    ours = tmp_path_factory.getbasetemp()
    directory = (ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours) / "warm"
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "made").exists():
            directory.mkdir(exist_ok=True)
            result = run_pytest(directory, ["-m", "stage1", f"--gate-profile={TOY}"])
            assert result.returncode == 0, result.stdout + result.stderr
            (directory / "made").touch()
    return directory / ".seatrials"


@pytest.fixture
def toy(tmp_path: Path, warm_store: Path) -> Run:
    """Run pytest on the toy profile from an empty directory, with a copy of the warm store."""
    return on_a_copy(warm_store, tmp_path)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, warm_store: Path) -> Ran:
    """The toy's gates, all passed, from the warm store, with a report and JUnit's file of it."""
    directory = tmp_path_factory.mktemp("whole")
    run = on_a_copy(warm_store, directory)
    return Ran(result=run("-m", "stage1", "--gate-report=made/here/report.html", "--junitxml=junit.xml"), directory=directory)


def record_of(directory: Path) -> dict[str, Any]:
    """The record of the newest run in a directory."""
    return json.loads(max((directory / ".seatrials" / "runs").glob("*.json"), key=lambda path: path.stat().st_mtime_ns).read_text())


def table_of(said: str) -> list[str]:
    """The gate table that a run printed: its heading, its rows and what stands under them, up to the record's line."""
    lines = said.splitlines()
    start = next(place for place, line in enumerate(lines) if "= gates: " in line)
    end = next(place for place, line in enumerate(lines) if line.startswith("record: "))
    return [line.strip("= ") for line in lines[start:end] if line]
