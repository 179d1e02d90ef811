"""Starting children, watching them, and saying what they said."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from harness import children, launch
from harness.children import BuildError
from harness.launch import Launcher, LaunchError
from harness.progress import Progress, describe, duration, read_last

SILENT = Progress(None, live=False)


def test_each_launcher_runs_the_module_on_the_order() -> None:
    order = Path("/somewhere/order.json")
    assert Launcher.parse("local").command("training.run", order) == [sys.executable, "-m", "training.run", str(order)]
    assert Launcher.parse("torchrun").command("training.run", order)[-3:] == ["-m", "training.run", str(order)]
    slurm = Launcher.parse("slurm").command("training.run", order)
    assert slurm[0] == "srun"
    assert slurm[-1] == str(order)
    own = Launcher.parse("command:ssh gpu01 run '{module} now' {order}").command("training.run", order)
    assert own == ["ssh", "gpu01", "run", "training.run now", str(order)]


@pytest.mark.parametrize("text", ["", "rocket", "command:", "local:2", "slurm,big"])
def test_an_unknown_launcher_names_the_ones_that_exist(text: str) -> None:
    with pytest.raises(LaunchError, match=r"use one of local, torchrun\[:GPUS\], slurm\[:NODES\[xGPUS\]\], command:"):
        Launcher.parse(text)


def test_a_command_without_the_order_is_refused() -> None:
    with pytest.raises(LaunchError, match=r"must contain \{order\}"):
        Launcher.parse("command:run it")


def test_children_find_our_packages_and_call_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "theirs")
    environment = launch.environment()
    root, theirs = environment["PYTHONPATH"].split(":")
    assert (Path(root) / "harness").is_dir()
    assert theirs == "theirs"
    assert environment["DO_NOT_TRACK"] == environment["HF_HUB_DISABLE_TELEMETRY"] == "1"
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "0")
    assert launch.environment()["HF_HUB_DISABLE_TELEMETRY"] == "0", "what the user set stays"


def script(tmp_path: Path, body: str) -> Launcher:
    (tmp_path / "child.py").write_text(f"import json, os, sys, time\nfrom pathlib import Path\nhere = Path(sys.argv[1]).parent\n{body}\n")
    return Launcher.parse(f"command:{sys.executable} {tmp_path / 'child.py'} {{order}}")


def test_a_child_gets_its_order_and_its_output_goes_to_the_log(tmp_path: Path) -> None:
    launcher = script(tmp_path, "print('seen', json.loads(Path(sys.argv[1]).read_text())['stage'])")
    directory = tmp_path / "work"
    process = children.start("training.run", directory, {"stage": "base"}, launcher)
    assert children.watch("base", process, directory, SILENT) >= 0
    assert (directory / "log.txt").read_text() == "seen base\n"


def test_a_childs_own_message_is_what_is_raised(tmp_path: Path) -> None:
    body = "(here / 'error.json').write_text(json.dumps({'type': 'X', 'message': 'line 3 of a.jsonl has no field text'}))\nsys.exit(1)"
    directory = tmp_path / "work"
    process = children.start("training.run", directory, {}, script(tmp_path, body))
    with pytest.raises(BuildError, match=r"^stage1: line 3 of a\.jsonl has no field text$"):
        children.watch("stage1", process, directory, SILENT)


def test_a_killed_child_is_told_by_its_signal_and_the_end_of_its_log(tmp_path: Path) -> None:
    directory = tmp_path / "work"
    process = children.start("training.run", directory, {}, script(tmp_path, "print('last words', flush=True)\nos.kill(os.getpid(), 9)"))
    with pytest.raises(BuildError, match=r"killed by signal 9[^$]*last words"):
        children.watch("stage1", process, directory, SILENT)


def test_an_old_error_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    directory = tmp_path / "work"
    directory.mkdir()
    (directory / "error.json").write_text('{"message": "of yesterday"}')
    process = children.start("training.run", directory, {}, script(tmp_path, "sys.exit(3)"))
    with pytest.raises(BuildError, match="ended with exit code 3"):
        children.watch("stage1", process, directory, SILENT)


def test_ctrl_c_reaches_the_child_and_waits_for_its_last_save(tmp_path: Path) -> None:
    body = (
        "import signal\ndef stop(*_):\n    time.sleep(0.5)\n    (here / 'saved').touch()\n    sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, stop)\n(here / 'ready').touch()\ntime.sleep(60)"
    )
    directory = tmp_path / "work"
    process = children.start("training.run", directory, {}, script(tmp_path, body))

    def interrupt() -> None:
        while not (directory / "ready").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)  # to the process, as a terminal does

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever shell started the tests
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            children.watch("stage1", process, directory, SILENT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (directory / "saved").exists()
    assert process.returncode == 130


def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="cannot start"):
        children.start("training.run", tmp_path / "work", {}, Launcher.parse("command:/no/such/program {order}"))


def test_a_detached_childs_state_in_words(tmp_path: Path) -> None:
    assert children.state_of(tmp_path) == "building (starting)"
    (tmp_path / "progress.jsonl").write_text(json.dumps({"phase": "train", "step": 4100, "steps": 107_288}) + "\n")
    assert children.state_of(tmp_path) == "building (step 4,100 of 107,288)"


# ------------------------------------------------------------------------------------------------------------- progress


def test_the_last_whole_line_counts(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    assert read_last(path) is None
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3, "lo')
    assert read_last(path) == {"step": 2}
    path.write_text('{"step": 1}\nnot json\n')
    assert read_last(path) == {"step": 1}
    path.write_text("".join(f'{{"step": {i}}}\n' for i in range(5000)))
    assert read_last(path) == {"step": 4999}


@pytest.mark.parametrize(("seconds", "said"), [(0, "0 s"), (59.4, "59 s"), (60, "1:00"), (125, "2:05"), (11_220, "3:07:00")])
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_an_event_in_words() -> None:
    event = {"phase": "train", "step": 1200, "steps": 5000, "loss": 2.1, "tokens_per_second": 8123.4, "eta_seconds": 61}
    assert describe(event) == "train  1,200/5,000  loss 2.100  8,123 tokens/s  1:01 left"


def test_a_pipe_gets_a_line_now_and_then_and_a_terminal_one_line() -> None:
    now = [0.0]
    pipe, terminal = io.StringIO(), io.StringIO()
    plain, live = Progress(pipe, live=False, clock=lambda: now[0]), Progress(terminal, live=True)
    for step in range(60):
        now[0] = float(step)
        for progress in (plain, live):
            progress.show("base", {"phase": "train", "step": step, "steps": 60})
    assert len(pipe.getvalue().splitlines()) == 3
    assert "\r" not in pipe.getvalue()
    assert "\n" not in terminal.getvalue()
    live.say("base: built")
    assert terminal.getvalue().endswith("base: built\n")
