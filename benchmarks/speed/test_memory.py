"""Larger than memory works: the whole chain by its own command under a memory limit, on inputs several times of what the limit leaves it.

SEATRIALS_SPEED_LIMIT_MB=256 SEATRIALS_SPEED_MEMORY_DOCUMENTS=100000 pytest benchmarks/speed/test_memory.py -s

The limit is a memory cgroup around all processes of `python -m training.curation run` (processes.py); where none can be made, the peak is compared with it
and the row says so. What the input is compared with is the allowance: the limit less what the same command takes for a hundredth of the input, which is
Python, Arrow, numba, Daft and the models. `held` is what no limit can make the system give back; the rest are pages of files. `exact` is told how large its
tables may be (exact.memory_mb), as anyone would with little memory. SEATRIALS_SPEED_TIMES: multiples of the input; SEATRIALS_SPEED_WORKERS: processes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from benchmarks.speed import test_curation as speed
from benchmarks.speed.curation_corpus import Corpus, generate
from benchmarks.speed.side_by_side import Measured, in_processes
from training.curation.settings import DEFAULT_LAYERS

DOCUMENTS = int(os.environ.get("SEATRIALS_SPEED_MEMORY_DOCUMENTS", "20000"))
LIMIT_MB = int(os.environ.get("SEATRIALS_SPEED_LIMIT_MB", "256"))
TIMES = [int(part) for part in os.environ.get("SEATRIALS_SPEED_TIMES", "1,2,3").split(",")]
TABLES_MB = int(os.environ.get("SEATRIALS_SPEED_TABLES_MB", "32"))
WORKERS = int(os.environ.get("SEATRIALS_SPEED_WORKERS", "1"))
MOST_GROWTH = 0.5  # bytes of memory a byte of text, from 20,000 documents on (with fewer the first shard is still filling): what is known of a document (ids, keys, places) may grow, texts may not


def chain(made: Corpus, output: Path, limit_mb: int) -> Measured:
    """The command on a corpus; the result is its report."""
    recipe = output.with_suffix(".toml")
    recipe.write_text(f"layers = {json.dumps(list(DEFAULT_LAYERS))}\n[exact]\nmemory_mb = {TABLES_MB}\n")
    command = [sys.executable, "-m", "training.curation", "run", str(recipe), "--input", str(made.directory / "shards")]
    found = in_processes([*command, "--output", str(output), "--workers", str(WORKERS)], limit_mb, told=output / "report.json")
    shutil.rmtree(output)
    return found


def test_memory_of_the_chain(tmp_path: Path) -> None:
    """Rows: times the input, documents, MB of text, times the allowance, peak MB, of it held, CPU s, wall s; then the growth."""
    speed.needed(*speed.CHAIN)
    directory = speed.DIRECTORY.absolute()
    few = generate(directory, max(100, DOCUMENTS // 100), workers=speed.WORKERS)
    base = chain(few, tmp_path / "base", 0)
    allowance = (LIMIT_MB - base.result["held_mb"]) * 2**20
    print(f"\n| base: {few.documents} documents, {few.bytes / 1e6:.1f} MB | {base.peak_mb:.0f} MB, held {base.result['held_mb']:.0f} |")
    assert allowance > 0, (
        f"the command alone takes {base.result['held_mb']:.0f} MB; the limit is {LIMIT_MB}: raise SEATRIALS_SPEED_LIMIT_MB"
    )
    rows: list[tuple[Corpus, Measured]] = []
    for times in TIMES:
        made = generate(directory, times * DOCUMENTS, workers=speed.WORKERS)
        found = chain(made, tmp_path / str(times), LIMIT_MB)
        rows.append((made, found))
        how = f"limit {LIMIT_MB} MB" if found.result["limited"] else f"no limit can be set here; {LIMIT_MB} MB compared"
        print(
            f"| {times}x | {made.documents} | {made.bytes / 1e6:.0f} MB | {made.bytes / allowance:.1f} times the allowance, {how} | "
            f"{found.peak_mb:.0f} | {found.result['held_mb']:.0f} | {found.seconds:.0f} | {found.result['wall']:.0f} |",
            flush=True,
        )
        assert found.result["layers"][0]["seen"] == made.documents
        assert found.result["held_mb"] <= LIMIT_MB
    (first, least), (last, most) = rows[0], rows[-1]
    if last.bytes > first.bytes:
        grown = (most.result["held_mb"] - least.result["held_mb"]) * 2**20 / (last.bytes - first.bytes)
        print(f"| growth {TIMES[0]}x to {TIMES[-1]}x | {grown * 1000:.0f} MB held a GB of text |")
        assert grown <= MOST_GROWTH
