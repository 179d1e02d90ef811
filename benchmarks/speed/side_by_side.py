"""Two engines measured side by side in one process: interleaved, the least of several rounds, in CPU seconds and peak memory.

CPU seconds (`time.process_time`) on one thread are the wall time of an idle machine; on a shared one wall time measures the neighbours.
Peak memory is the largest resident set during a round (VmHWM, reset before it) less the resident set before it, so without the weights.
"""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


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


def side_by_side(works: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Measured]:
    """Run each work once a round, in turn; the order changes from round to round."""
    found: dict[str, list[Measured]] = {name: [] for name in works}
    names = list(works)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            gc.collect()
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            before, begun = resident_mb("VmRSS"), time.process_time()
            result = works[name]()
            seconds = time.process_time() - begun
            found[name].append(Measured(seconds=seconds, peak_mb=resident_mb("VmHWM") - before, result=result))
    return {
        name: Measured(seconds=min(m.seconds for m in each), peak_mb=min(m.peak_mb for m in each), result=each[-1].result)
        for name, each in found.items()
    }
