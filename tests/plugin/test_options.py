"""Options of a gate run, each through pytest inside pytest: what is written, what is said, and what a wrong one is told."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.plugin.conftest import TOY, Run, run_pytest
from tests.plugin.test_surface import GATES


def gate_table(printed: str) -> dict[str, list[str]]:
    """Gate -> the cells of its line in the table."""
    lines = printed[printed.index("gates: ") :].splitlines()
    return {cells[0]: cells[1:] for line in lines if (cells := re.split(r"\s{2,}", line.strip()))[0] in GATES}


def newest(store: Path) -> dict:
    return json.loads(max((store / "runs").glob("*.json"), key=lambda path: path.stat().st_mtime_ns).read_text())


def test_a_report_is_one_page_with_the_values_of_the_table(toy: Run, tmp_path: Path) -> None:
    result = toy("-m", "stage1", "--gate-report", "told/report.html")
    assert result.returncode == 0, result.stdout
    assert "report: told/report.html" in result.stdout
    page = (tmp_path / "told" / "report.html").read_text(encoding="utf-8")
    table = gate_table(result.stdout)
    assert table.keys() == set(GATES)
    for gate, cells in table.items():
        assert gate in page
        assert cells[0] in page
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", page), "self-contained"


@pytest.mark.parametrize(
    ("path", "said"), [("taken/report.html", r"taken is no directory; name a file"), ("directory", r"directory: a directory; name a file")]
)
def test_a_report_that_cannot_be_written_is_refused_before_the_work(toy: Run, tmp_path: Path, path: str, said: str) -> None:
    (tmp_path / "taken").touch()
    (tmp_path / "directory").mkdir()
    result = toy("-m", "stage1", f"--gate-report={path}")
    assert result.returncode == 4
    assert re.search(f"ERROR: --gate-report {path}: .*{said}|ERROR: --gate-report {said}", result.stderr), result.stderr
    assert "gates:" not in result.stdout


def test_two_workers_reach_the_table_and_the_record_of_one(toy: Run, tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    store = tmp_path / ".seatrials"
    alone = toy("-m", "stage1")
    rows = newest(store)["gates"]
    shutil.rmtree(store / "certificates")  # judged again, and not read
    both = toy("-m", "stage1", "-n", "2")
    assert both.returncode == 0, both.stdout
    assert "2 workers" in both.stdout
    assert gate_table(both.stdout) == gate_table(alone.stdout)
    for row in (*rows, *(found := newest(store)["gates"])):
        del row["rows"]  # where they lie: the first run read certificates of the store that this one is a copy of
    assert {row["gate"]: row for row in found} == {row["gate"]: row for row in rows}


def test_ungated_is_said_of_the_run_and_of_each_gate_that_stands_on_what_failed(toy: Run, tmp_path: Path) -> None:
    gates = tmp_path / "gates.toml"
    gates.write_text((TOY.parent / "toy_gates.toml").read_text().replace("line = 6.0", "line = 0.1"))
    result = toy("-m", "stage1", "--gate-ungated", "--gate-report=r.html", environment={"TOY_GATES": str(gates)})
    assert result.returncode == 1
    head, summary = result.stdout.split(" gates: 1 fail, 3 pass ")
    for part in (head, summary):
        assert part.count("UNGATED: stages are built on checkpoints that did not pass") == 1
    assert {gate: cells[-1] for gate, cells in gate_table(result.stdout).items()} == {
        "base.speaks.eng": "fail",
        "expand.same.eng": "pass (ungated)",
        "stage1.learns.ind": "pass (ungated)",
        "stage1.keeps.eng": "pass (ungated)",
    }
    assert {row["gate"]: row["ungated"] for row in newest(tmp_path / ".seatrials")["gates"]} == {gate: gate != GATES[0] for gate in GATES}
    page = (tmp_path / "r.html").read_text()
    assert "Ungated run:" in page
    assert page.count("! ungated") >= 2, "expand and stage1"
    gated = toy("-m", "stage1")  # the certificates that the ungated run left, under gates that pass
    assert gated.returncode == 0, gated.stdout
    assert "(ungated)" not in gated.stdout
    assert "UNGATED" not in gated.stdout


def test_a_store_is_named_by_the_option_before_the_environment(warm_store: Path, tmp_path: Path) -> None:
    shutil.copytree(warm_store, tmp_path / "mine")
    plan = ["-m", "stage1", "--collect-only", f"--gate-profile={TOY}"]
    empty = {"SEATRIALS_STORE": str(tmp_path / "none")}
    assert re.search(r"base +build", run_pytest(tmp_path, plan, empty).stdout)
    assert re.search(r"base +reuse", run_pytest(tmp_path, plan, {"SEATRIALS_STORE": str(tmp_path / "mine")}).stdout)
    named = run_pytest(tmp_path, [*plan, "--gate-store=mine"], empty)
    assert "store mine" in named.stdout
    assert re.search(r"base +reuse", named.stdout)
    (tmp_path / "file").touch()
    refused = run_pytest(tmp_path, [*plan, "--gate-store=file"])
    assert refused.returncode == 4
    assert "file is not a directory; name one with --store, --gate-store or SEATRIALS_STORE" in refused.stderr


def test_a_mirror_is_named_by_the_option_before_the_environment(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    plan = ["-m", "stage1", "--collect-only", f"--gate-profile={TOY}"]
    assert "hub mirror" in run_pytest(tmp_path, plan, {"SEATRIALS_HUB": "mirror"}).stdout
    assert "hub mirror" in run_pytest(tmp_path, [*plan, "--gate-hub=mirror"], {"SEATRIALS_HUB": "gone"}).stdout
    for refused in (run_pytest(tmp_path, plan, {"SEATRIALS_HUB": "gone"}), run_pytest(tmp_path, [*plan, "--gate-hub=gone"])):
        assert refused.returncode == 4
        assert "--gate-hub gone: no such directory; name a mirror" in refused.stderr


def test_a_dry_run_prints_the_plan_the_costs_and_the_commands_and_does_nothing(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, ["-m", "stage1", "--gate-dry-run", "--gate-launcher=torchrun", f"--gate-profile={TOY}"])
    assert result.returncode == 0, result.stdout
    assert "dry run of toy, base -> expand -> stage1: nothing is built, loaded or judged" in result.stdout
    assert re.search(r"mixture +eng\s24,000 \(100%\)|mixture +eng\s24,000\s\(100%\)", result.stdout)
    assert f"pytest -m stage1 --gate-profile {TOY} --gate-launcher torchrun" in result.stdout
    assert re.search(r"\* torchrun +python -m torch.distributed.run .* -m training.run .*order.json", result.stdout)
    assert " gates: 4" not in result.stdout
    assert not (tmp_path / ".seatrials").exists()


def test_samples_are_those_that_were_asked_for_and_the_record_says_which(toy: Run, tmp_path: Path) -> None:
    """A profile without lists of quick samples asks everything unless told otherwise."""
    assert "samples full" in toy("-m", "base", "--collect-only").stdout
    quick = toy("-m", "base", "--gate-samples=quick")
    assert quick.returncode == 0, quick.stdout
    assert "samples quick" in quick.stdout
    assert newest(tmp_path / ".seatrials")["samples"] == "quick"
    refused = toy("-m", "base", "--gate-samples=some")
    assert refused.returncode == 4
    assert "invalid choice: 'some' (choose from" in refused.stderr


def test_a_launcher_of_one_s_own_builds_what_is_missing(toy: Run, tmp_path: Path, warm_store: Path) -> None:
    """`command:` is what a queue's submit command is: it is given the order, and the checkpoint is that of the local run."""
    shutil.rmtree(next((tmp_path / ".seatrials" / "toy").glob("stage1*")))
    (tmp_path / "submit").write_text(f'#!/bin/sh\necho "$@" >> submitted\nexec {sys.executable} -m "$@"\n')
    (tmp_path / "submit").chmod(0o755)
    result = toy("-m", "stage1", f"--gate-launcher=command:{tmp_path / 'submit'} {{module}} {{order}}")
    assert result.returncode == 0, result.stdout
    assert "training.run" in (tmp_path / "submitted").read_text()
    made, before = (sorted((root / "toy").glob("stage1*/model.safetensors")) for root in (tmp_path / ".seatrials", warm_store))
    assert [path.read_bytes() for path in made] == [path.read_bytes() for path in before]
