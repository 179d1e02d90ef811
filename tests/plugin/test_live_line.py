"""Long work on a terminal: one line that is rewritten in place, and taken away before the next."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.plugin.conftest import ROOT, TOY, Run, plugin_arguments
from tests.plugin.test_faults import forget

pty = pytest.importorskip("pty", reason="pseudo-terminals are POSIX")


def on_a_terminal(directory: Path, arguments: list[str], timeout: float = 240, **environment: str) -> tuple[int, str]:
    """Run pytest with a pseudo-terminal for standard output; returns (exit code, all that was written to it)."""
    ours, theirs = pty.openpty()
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "SEATRIALS_")) and key != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *plugin_arguments(), *arguments],
        cwd=directory,
        env={**plain, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "TERM": "xterm", **environment},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said, begun = b"", time.monotonic()
    while time.monotonic() - begun < timeout:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        said += part
    os.close(ours)
    return process.wait(timeout=30), said.decode("utf-8", "replace")


def test_a_terminal_shows_one_line_that_is_rewritten(toy: Run, tmp_path: Path) -> None:
    forget(tmp_path / ".seatrials", "stage1")
    # Long enough that the training is looked at more than once on a fast machine: a speed needs two steps.
    code, said = on_a_terminal(tmp_path, ["-m", "stage1", f"--gate-profile={TOY}"], TOY_LONG="12")
    assert code == 0, said
    live = [piece for piece in said.split("\r") if piece.startswith("stage1  train")]
    assert live, said
    assert all("\n" not in piece for piece in live)  # rewritten, never scrolled
    assert all(len(piece) < 120 for piece in live)
    assert re.search(r"loss \d+\.\d{3}  [\d,]+ tokens/s", " ".join(live))
    assert "gates: 4 pass" in said


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}])
def test_no_color_takes_the_colours_and_leaves_the_live_line(toy: Run, tmp_path: Path, environment: dict[str, str]) -> None:
    """On a terminal: a pipe has neither, whatever NO_COLOR says."""
    forget(tmp_path / ".seatrials", "stage1")
    code, said = on_a_terminal(tmp_path, ["-m", "stage1", f"--gate-profile={TOY}"], **environment)
    assert code == 0, said
    assert [piece for piece in said.split("\r") if piece.startswith("stage1")], said
    coloured = re.findall(r"\x1b\[[0-9;]*m", said)
    assert bool(coloured) is not bool(environment), coloured[:3]
