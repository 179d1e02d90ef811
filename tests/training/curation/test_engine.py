"""One implementation, two runners: Daft here and Daft on Ray make the same plans; and what the engine refuses."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.curation.relational_kit import shards
from training.curation.documents import Document
from training.curation.engine import Engine

# A process sets its runner once, so each plan is made in a process of its own; this prints what the layers decide.
PLANS = """
import json, sys
from pathlib import Path
from training.curation.documents import read
from training.curation.engine import Engine
from training.curation.lines import Lines
from training.curation.url import Url

def main():
    directory, engine = Path(sys.argv[1]), Engine(runner=sys.argv[2], workers=2)
    paths = sorted(directory.glob("*.parquet"))
    made = []
    for layer in (Url(), Url(unit="bytes"), Lines(most=3, bucket=30)):
        work = directory / f"{len(made)}-{sys.argv[2]}"
        work.mkdir()
        layer.prepare(paths, work, engine)
        judge = layer.judge(work)
        decisions = [judge(list(read(path, print)), number, 0) for number, path in enumerate(paths)]
        made.append([[(d.document and d.document.text, d.reason, d.detail, dict(d.counts)) for d in part] for part in decisions])
    print(json.dumps(made))

if __name__ == "__main__":
    main()
"""


def plans(directory: Path, runner: str) -> list[list[list[list[object]]]]:
    script = directory / "plans.py"
    script.write_text(PLANS)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3]), "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    done = subprocess.run(
        [sys.executable, str(script), str(directory), runner], capture_output=True, text=True, env=environment, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def corpus(directory: Path) -> None:
    directory.mkdir()
    shards(
        directory,
        [
            [
                Document(
                    id=f"{shard}-{row}",
                    text=f"Menu {row % 3}\n{'ไ' if row % 2 else 'ab'} {shard * row % 11}\nbody {shard}-{chr(97 + row)}",
                    url=("", "none", f"http://www.a.b/{row % 7}/")[min(row, 2)],
                )
                for row in range(20)
            ]
            for shard in range(4)
        ],
    )


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'seatrials[curation-ray]'")
def test_native_and_ray_decide_alike(tmp_path: Path) -> None:
    corpus(tmp_path / "native")
    corpus(tmp_path / "ray")
    here = plans(tmp_path / "native", "native")
    assert {decision[1] for layer in here for part in layer for decision in part} == {"", "same URL"}
    assert here[0] != here[1]
    assert any(decision[3].get("lines removed") for part in here[2] for decision in part)  # type: ignore[attr-defined]
    assert plans(tmp_path / "ray", "ray") == here


def test_a_runner_may_be_asked_for_again_and_not_changed() -> None:
    code = (
        "from training.curation.engine import Engine\n"
        "from training.curation.documents import CurationError\n"
        "native = Engine(workers=1)\n"
        "assert native.daft().from_pydict({'a': [1, 2]}).count_rows() == 2\n"
        "native.daft()\n"
        "try:\n    Engine(runner='ray').daft()\n"
        "except CurationError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.stdout.strip() == "this process runs Daft on native and cannot change to ray; start another", done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_map_keeps_the_order_and_passes_on_the_first_error(workers: int) -> None:
    engine = Engine(workers=workers)
    assert list(engine.map(abs, [-3, 2, -1])) == [3, 2, 1]
    with pytest.raises(ValueError, match="invalid literal"):
        list(engine.map(int, ["1", "x", "2"]))


def imported(name: str) -> bool:
    """Whether an array made of a list, in this process, imported a module that Arrow likes to have."""
    import pyarrow

    pyarrow.array(["a"])
    return name in sys.modules


def test_processes_of_map_hold_what_is_slow_to_import_and_not_pandas() -> None:
    assert list(Engine(workers=2).map(imported, ["numba", "training.curation.chain", "pandas"])) == [True, True, False]


def test_frames_are_still_made_where_arrow_was_told_to_do_without_pandas() -> None:
    code = (
        "import sys, pyarrow\n"
        "from training.curation.engine import without_pandas\n"
        "without_pandas()\n"
        "assert pyarrow.array(['a', None]).to_pylist() == ['a', None] and 'pandas' not in sys.modules\n"
        "frame = pyarrow.table({'a': [1.5, None], 'b': ['x', 'y']}).to_pandas()\n"
        "assert pyarrow.Table.from_pandas(frame).to_pydict() == {'a': [1.5, None], 'b': ['x', 'y']}\n"
        "assert pyarrow.array(frame['a']).null_count == 1\n"
        "without_pandas()\n"  # of no effect by now, and no error
        "assert len(pyarrow.table({'a': [1]}).to_pandas()) == 1\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


WAITING = """
import os, sys, time
from pathlib import Path
from training.curation.engine import Engine

def wait(directory):
    (directory / str(os.getpid())).touch()
    time.sleep(300)

if __name__ == "__main__":
    list(Engine(workers=2).map(wait, [Path(sys.argv[1])] * 2))
"""


def test_processes_end_when_the_run_is_killed(tmp_path: Path) -> None:
    script, told = tmp_path / "waiting.py", tmp_path / "told"
    script.write_text(WAITING)
    told.mkdir()
    run = subprocess.Popen(
        [sys.executable, str(script), str(told)], env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    )
    try:
        until(lambda: len(list(told.iterdir())) == 2)
    finally:
        run.kill()
        run.wait()
    until(lambda: not any(alive(int(path.name)) for path in told.iterdir()))


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
