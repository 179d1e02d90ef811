"""A warm store of the toy profile, built once a session by the real pipeline, and the command that runs pytest on it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOY = HERE / "toy_profile.py"
Run = Callable[..., subprocess.CompletedProcess[str]]


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


@pytest.fixture(scope="session")
def warm_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy's three checkpoints, certified. Tests that change a store take a copy (`toy`)."""
    directory = tmp_path_factory.mktemp("warm")
    result = run_pytest(directory, ["-m", "stage1", f"--gate-profile={TOY}"])
    assert result.returncode == 0, result.stdout + result.stderr
    return directory / ".seatrials"


@pytest.fixture
def toy(tmp_path: Path, warm_store: Path) -> Run:
    """Run pytest on the toy profile from an empty directory, with a copy of the warm store."""
    shutil.copytree(warm_store, tmp_path / ".seatrials")

    def run(*arguments: str, environment: dict[str, str] | None = None, profile: bool = True) -> subprocess.CompletedProcess[str]:
        named = [f"--gate-profile={TOY}"] if profile else []
        return run_pytest(tmp_path, [*arguments, *named], environment)

    return run
