"""Engines measured side by side in one run: interleaved, the least of several rounds, in CPU seconds and peak memory.

CPU seconds on one thread are the wall time of an idle machine; on a shared one wall time measures the neighbours. Work is a function of this process
(`in_this_process`: peak memory is the largest resident set during a round, VmHWM, reset before it, less the resident set before it, so without
the weights) or a command with all the processes that it starts (`in_processes`: all that they take, `processes.py`).
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

Work = TypeVar("Work")
ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """The least over the rounds, and the result of the last."""

    seconds: float
    peak_mb: float
    result: Any


def resident_mb(field: str) -> float:
    """A field of /proc/self/status in MB: VmRSS, or VmHWM (its peak)."""
    line = next(line for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) / 1024


def in_this_process(work: Callable[[], Any]) -> Measured:
    """One round of a function."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, begun = resident_mb("VmRSS"), time.process_time()
    result = work()
    seconds = time.process_time() - begun
    return Measured(seconds=seconds, peak_mb=resident_mb("VmHWM") - before, result=result)


def in_processes(command: Sequence[str], limit_mb: int = 0, told: Path | None = None) -> Measured:
    """One round of a command; the result is the JSON of the last line it prints, or of the file `told`, with more of what processes.py reports.

    Raises RuntimeError with the end of its output where it fails.
    """
    with tempfile.TemporaryDirectory() as aside:
        report, printed = Path(aside, "report.json"), Path(aside, "output.txt")
        runner = [sys.executable, "-m", "benchmarks.speed.processes", str(report), "--limit-mb", str(limit_mb), "--", *command]
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with printed.open("wb") as output:
            ended = subprocess.run(
                runner,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": paths},
                check=False,
            )
        lines = printed.read_text(encoding="utf-8", errors="replace").splitlines()
        if ended.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}:\n" + "\n".join(lines[-30:]))
        found = json.loads(report.read_text(encoding="utf-8"))
        result = json.loads(told.read_text(encoding="utf-8") if told else lines[-1]) | {
            key: found[key] for key in ("limited", "wall", "held_mb")
        }
        return Measured(seconds=found["seconds"], peak_mb=found["peak_mb"], result=result)


def side_by_side(works: Mapping[str, Work], rounds: int, measure: Callable[[Work], Measured] = in_this_process) -> dict[str, Measured]:  # type: ignore[assignment]
    """Run each work once a round, in turn; the order changes from round to round."""
    found: dict[str, list[Measured]] = {name: [] for name in works}
    names = list(works)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(measure(works[name]))
    return {
        name: Measured(seconds=min(m.seconds for m in each), peak_mb=min(m.peak_mb for m in each), result=each[-1].result)
        for name, each in found.items()
    }
