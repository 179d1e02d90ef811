"""The pytest surface, seen from outside: pytest is run inside pytest, on the toy profile and a warm store."""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.plugin.collection import alone
from harness.plugin.summary import exit_code
from harness.store import Store
from tests.plugin.conftest import ROOT, TOY, Ran, Run, on_a_copy, record_of, run_pytest, table_of

OPTIONS = {
    "--gate-profile", "--gate-store", "--gate-hub", "--gate-originals", "--gate-report", "--gate-build", "--gate-launcher", "--gate-backend", "--gate-detach",
    "--gate-dry-run", "--gate-ungated", "--gate-replay", "--gate-bless", "--gate-reason", "--gate-variant", "--gate-samples",
}  # fmt: skip
GATES = ["base.speaks.eng", "expand.same.eng", "stage1.learns.ind", "stage1.keeps.eng"]


def test_the_public_options_are_these_and_no_others(tmp_path: Path) -> None:
    help_text = run_pytest(tmp_path, ["--help"]).stdout
    assert set(re.findall(r"--gate-[a-z-]+", help_text)) == OPTIONS


def test_markers_are_registered_for_strict_users(tmp_path: Path) -> None:
    shown = run_pytest(tmp_path, ["--markers"]).stdout
    for name in ("base", "expand", "stage1", "stage2", "nightly", "release"):
        assert f"@pytest.mark.{name}:" in shown


def test_a_plain_run_elsewhere_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text("def test_one():\n    pass\n")
    result = run_pytest(tmp_path, ["-v"])
    assert result.returncode == 0
    assert "seatrials: profile" not in result.stdout
    assert "gates:" not in result.stdout


# The first gate's worker waits until a later gate of the other worker is reported.
LATE = f"""
import pathlib, time
reported = pathlib.Path(__file__).with_name("reported")

def pytest_runtest_setup(item):
    until = time.monotonic() + 60
    while item.name == {GATES[0]!r} and not reported.exists() and time.monotonic() < until:
        time.sleep(0.05)

def pytest_runtest_logfinish(nodeid):
    if nodeid.endswith({GATES[2]!r}):
        reported.touch()
"""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, warm_store: Path) -> Ran:
    """A run that the first gate stops."""
    directory = tmp_path_factory.mktemp("stopped")
    told = {"TOY_GATES": str(_gates(directory, "line = 6.0", "line = 0.1"))}
    return Ran(result=on_a_copy(warm_store, directory, told)("-m", "stage1"), directory=directory, environment=told)


@pytest.fixture(scope="module")
def ungated(tmp_path_factory: pytest.TempPathFactory, stopped: Ran) -> Ran:
    """The same, that goes on."""
    directory = tmp_path_factory.mktemp("ungated")
    result = stopped.again_in(directory)("-m", "stage1", "--gate-ungated", "--gate-report=report.html")
    return Ran(result=result, directory=directory, environment=stopped.environment)


@pytest.fixture(scope="module")
def nightly(tmp_path_factory: pytest.TempPathFactory, warm_store: Path) -> Ran:
    """A nightly run, which builds the planted defect."""
    directory = tmp_path_factory.mktemp("nightly")
    return Ran(result=on_a_copy(warm_store, directory)("-m", "nightly", "-v"), directory=directory)


def test_the_stage_certifies_its_ancestors_and_the_table_says_so(whole: Ran) -> None:
    result = whole.result
    assert result.returncode == 0, result.stdout
    assert "4 passed" in result.stdout
    for gate in GATES:
        assert gate in result.stdout
    assert re.search(r"gate +value +line +against .* n +detectable +verdict", result.stdout)
    assert "gates: 4 pass" in result.stdout
    assert re.search(r"seatrials: profile toy, device (cpu|cuda) \(auto, \d+ threads\)", result.stdout)
    assert re.search(r"base +reuse", result.stdout)


def test_an_ancestor_alone_is_only_itself(toy: Run) -> None:
    result = toy("-m", "base")
    assert "1 passed" in result.stdout
    assert "stage1" not in result.stdout.replace(str(TOY), "")


def test_collect_only_shows_plan_and_gates_and_builds_nothing(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, ["-m", "stage1", "--collect-only", "-q", f"--gate-profile={TOY}"])
    assert result.returncode == 0
    for gate in GATES:
        assert gate in result.stdout
    assert not list((tmp_path / ".seatrials").rglob("record.json"))


def test_the_plan_names_what_changed(toy: Run, tmp_path: Path) -> None:
    changed = tmp_path / "changed.py"
    text = TOY.read_text().replace("HERE = Path(__file__).parent", f"HERE = Path({str(TOY.parent)!r})")
    assert 'portion("ind", 16_000)' in text
    changed.write_text(text.replace('portion("ind", 16_000)', 'portion("ind", 17_000)'))
    result = run_pytest(tmp_path, ["-m", "stage1", "--collect-only", f"--gate-profile={changed}"])
    assert re.search(r"stage1 +build +.*portions.*16000.*17000", result.stdout.replace("_", "")), result.stdout


def test_k_selects_one_gate_but_the_line_is_still_certified(toy: Run) -> None:
    result = toy("-m", "stage1", "-k", "learns")
    assert "1 passed, 3 deselected" in result.stdout


def test_x_stops_at_the_first_failed_gate(stopped: Ran, tmp_path: Path) -> None:
    result = stopped.again_in(tmp_path)("-m", "stage1", "-x")
    assert result.returncode == 1
    assert "1 failed" in result.stdout
    assert "stopping after 1 failures" in result.stdout


def test_a_failed_gate_stops_the_line_and_names_the_blocker(stopped: Ran) -> None:
    result = stopped.result
    assert result.returncode == 1
    assert "4 failed" in result.stdout, "not run is a failed item, never a skip"
    assert "blocked by base.speaks.eng" in result.stdout
    assert "sample eng/" in result.stdout, "the most telling samples are shown"
    assert "this gate alone: pytest -m base -k base.speaks.eng" in result.stdout


def test_last_failed_runs_only_what_failed(toy: Run, tmp_path: Path) -> None:
    gates = _gates(tmp_path, "margin = 0.2", "margin = 7.5")
    first = toy("-m", "stage1", environment={"TOY_GATES": str(gates)})
    assert first.returncode == 1
    assert "1 failed, 3 passed" in first.stdout
    again = toy("-m", "stage1", "--lf", environment={"TOY_GATES": str(gates)})
    assert "1 failed" in again.stdout
    assert "3 passed" not in again.stdout


def test_ungated_builds_on_loudly(ungated: Ran) -> None:
    assert ungated.result.returncode == 1
    assert "UNGATED: stages are built on checkpoints that did not pass" in ungated.stdout
    assert "1 failed, 3 passed" in ungated.stdout
    assert "Ungated run:" in (ungated.directory / "report.html").read_text()


def test_the_last_screen_of_an_ungated_run_says_what_its_passes_are_worth(ungated: Ran) -> None:
    """Children and grandchildren of what did not pass alike: heading, rows, and a line under the table."""
    heading, _, *rows = table_of(ungated.stdout)
    assert heading == "gates: UNGATED, 1 fail, 3 pass (ungated)"
    assert (
        [re.search(r"(\S+) .*  (\S.*)", row).groups() for row in rows[:4]]
        == [  # type: ignore[union-attr]
            (GATES[0], "fail"),
            *((gate, "pass (ungated)") for gate in GATES[1:]),
        ]
    )
    assert rows[4].startswith(
        "UNGATED: expand, stage1: (ungated), built on an ancestor that did not pass; nothing of this run is certified"
    )
    record = record_of(ungated.directory)
    assert {row["gate"]: row["ungated"] for row in record["gates"]} == {gate: gate != GATES[0] for gate in GATES}
    assert record["ungated"] is True
    page = (ungated.directory / "report.html").read_text()
    assert page.count("✓ pass (ungated)") >= 3
    assert "✓ certified" not in page


def test_a_pass_on_an_uncertified_ancestor_is_no_pass_for_a_script(ungated: Ran, tmp_path: Path) -> None:
    """The gate that stands against it is not selected: what is left are passes, and yet nothing is certified."""
    result = ungated.again_in(tmp_path)("-m", "stage1", "--gate-ungated", "-k", "learns")
    assert table_of(result.stdout)[0] == "gates: UNGATED, 1 pass (ungated)"
    assert "1 passed" in result.stdout
    assert result.returncode == 3


def test_two_workers_reach_the_same_table(toy: Run, tmp_path: Path, whole: Ran) -> None:
    """Heading, values, verdicts and their order, although the gate that comes first is decided last."""
    pytest.importorskip("xdist")
    (tmp_path / "late.py").write_text(LATE)
    result = toy("-m", "stage1", "-n", "2", "-p", "late", environment={"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"})
    assert result.returncode == 0, result.stdout
    table = table_of(result.stdout)
    assert table == table_of(whole.stdout)
    assert [line.split()[0] for line in table[2:6]] == GATES
    both = [record_of(directory) for directory in (tmp_path, whole.directory)]
    for record in both:
        for named in (*record["gates"], *record["stages"].values()):
            named["rows"] = Path(named["rows"]).name
        assert record.pop("made")
    assert both[0] == both[1]


def test_without_a_terminal_the_exit_code_still_speaks(toy: Run, stopped: Ran, tmp_path: Path) -> None:
    assert toy("-m", "stage1", "-p", "no:terminal").returncode == 0
    (tmp_path / "elsewhere").mkdir()
    assert stopped.again_in(tmp_path / "elsewhere")("-m", "stage1", "-p", "no:terminal").returncode == 1


def test_a_pipe_gets_no_control_characters(whole: Ran) -> None:
    """With NO_COLOR on a terminal: `test_live_line.py`."""
    assert "\x1b" not in whole.stdout
    assert "\r" not in whole.stdout


def test_colours_where_they_are_wanted(toy: Run) -> None:
    assert "\x1b[32m" in toy("-m", "stage1", "--color=yes").stdout


def test_the_command_of_one_gate_names_all_that_it_rests_on() -> None:
    """What another gate run would need to judge the same thing, ready to be pasted; of a plain run no more than stage and gate."""
    plain = {"profile": "nano", "hub": None, "originals": [], "variant": [], "store": ".seatrials", "backend": "hf"}
    plain |= {"samples": None, "replay": None, "ungated": False}
    gate = SimpleNamespace(stage="stage1", name="stage1.learns.vie")

    def command(**told: object) -> str:
        option = SimpleNamespace(**{f"gate_{name}": value for name, value in (plain | told).items()})
        return alone(gate, SimpleNamespace(option=option))  # type: ignore[arg-type]

    assert command() == "pytest -m stage1 -k stage1.learns.vie"
    said = command(profile="smol", hub="my hub", originals=["SailCompass"], backend="http://here/{stage}", samples="full")
    assert said.endswith(
        " --gate-profile=smol '--gate-hub=my hub' --gate-originals=SailCompass '--gate-backend=http://here/{stage}' --gate-samples=full"
    )


def test_inconclusive_is_three_and_nightly_does_not_alarm(toy: Run, tmp_path: Path, whole: Ran) -> None:
    # The observed gain itself as the margin: the interval must straddle the line.
    gain = next(row for row in record_of(whole.directory)["gates"] if row["gate"] == "stage1.learns.ind")
    gates = _gates(tmp_path, "margin = 0.2", f"margin = {abs(gain['difference']):.5f}")
    # A test of one's own that cannot have the checkpoint is not run; it did not fail.
    (tmp_path / "test_mine.py").write_text("import pytest\n\n@pytest.mark.stage1\ndef test_mine(stage1_checkpoint):\n    pass\n")
    result = toy("-m", "stage1", environment={"TOY_GATES": str(gates)})
    assert "inconclusive" in result.stdout
    assert "stage1 is not certified" in result.stdout
    assert result.returncode == 3
    assert toy("-m", "stage1", "-k", "test_mine or base", environment={"TOY_GATES": str(gates)}).returncode == 3
    assert toy("-m", "nightly", "-k", "not defect", environment={"TOY_GATES": str(gates)}).returncode == 0


def test_replay_applies_todays_gates_without_inference(whole: Ran, tmp_path: Path) -> None:
    toy = whole.again_in(tmp_path)
    record = max((tmp_path / ".seatrials" / "runs").glob("*.json"))
    for weights in (tmp_path / ".seatrials" / "toy").rglob("model.safetensors"):
        assert weights.stat().st_size > 0
    gates = _gates(tmp_path, "margin = 0.2", "margin = 7.5")
    result = toy("-m", "stage1", "--gate-replay", str(record), environment={"TOY_GATES": str(gates)})
    assert result.returncode == 1
    assert "1 failed, 3 passed" in result.stdout
    summaries = [json.loads(path.read_text()) for path in (tmp_path / ".seatrials" / "rows").rglob("summary.json")]
    assert (
        sum(suite["computed"] for summary in summaries for suite in summary.values() if isinstance(suite, dict) and "computed" in suite)
        == 0
    )


def test_junit_carries_the_same_values(whole: Ran) -> None:
    row = next(row for row in record_of(whole.directory)["gates"] if row["gate"] == "stage1.learns.ind")
    found = {
        case.get("name"): {prop.get("name"): prop.get("value") for prop in case.iter("property")}
        for case in ElementTree.parse(whole.directory / "junit.xml").iter("testcase")
    }
    properties = found["stage1.learns.ind"]
    assert properties["gate.verdict"] == "pass"
    assert float(properties["gate.value"] or "nan") == row["value"]
    assert float(properties["gate.difference"] or "nan") == row["difference"]


def test_a_users_own_test_takes_the_checkpoint(toy: Run, tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "import pytest\n\n@pytest.mark.stage1\ndef test_mine(stage1_checkpoint):\n"
        "    assert (stage1_checkpoint.path / 'model.safetensors').is_file()\n"
        "    assert stage1_checkpoint.record.stage == 'stage1'\n"
        "    assert stage1_checkpoint.certificate.clear\n"
    )
    (tmp_path / "test_unrelated.py").write_text("raise RuntimeError('a gate run must not import this')\n")
    result = toy("-m", "stage1")
    assert result.returncode == 0, result.stdout
    assert "5 passed" in result.stdout


def test_a_users_own_test_of_an_uncertified_stage_errs_with_the_reason(stopped: Ran, tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("import pytest\n\n@pytest.mark.stage1\ndef test_mine(stage1_checkpoint):\n    pass\n")
    result = stopped.again_in(tmp_path)("-m", "stage1")
    assert result.returncode == 1
    assert "stage1 is not certified" in result.stdout


def test_a_build_error_is_shown_once_and_ends_with_four(toy: Run) -> None:
    result = toy("-m", "stage1", environment={"TOY_BREAK": "stage1"})
    assert result.returncode == 4, result.stdout
    assert "stage1: BUILD ERROR" in result.stdout
    summary = result.stdout[result.stdout.index("gates:") :]
    assert summary.count("no/such.jsonl") == 1, result.stdout
    assert "2 failed, 2 passed" in result.stdout


def test_a_planted_defect_is_caught_by_the_nightly_run(nightly: Ran) -> None:
    result = nightly.result
    assert result.returncode == 0, result.stdout
    assert "5 passed" in result.stdout
    assert "planted defects: 1 of 1 seen" in result.stdout


def test_a_variant_is_judged_in_the_stage_s_place(nightly: Ran, tmp_path: Path) -> None:
    """The planted defect of the nightly run, taken as the stage; ungated, as there, so that its verdicts are at hand."""
    result = nightly.again_in(tmp_path)("-m", "stage1", "--gate-variant=stage1@rate0", "--gate-ungated")
    assert result.returncode == 1, result.stdout
    assert re.search(r"stage1@rate0 +reuse .* certified", result.stdout)
    (variant,) = Store(tmp_path / ".seatrials").artifacts("toy", "stage1", "rate0")
    record = record_of(tmp_path)
    assert record["stages"]["stage1"]["fingerprint"] == variant.record.fingerprint
    assert {row["gate"]: row["verdict"] for row in record["gates"]}["stage1.learns.ind"] == "fail"
    assert "--gate-variant=stage1@rate0" in result.stdout, "the command that shows the failed gate alone"
    heading, _, *rows = table_of(result.stdout)
    assert heading == "gates: UNGATED, 1 fail, 3 pass", "every ancestor passed"
    assert rows[4] == "UNGATED: no checkpoint of this run had to pass for the next; nothing of this run is certified or can be blessed"


def test_a_gate_that_cannot_see_its_defect_is_reported(nightly: Ran, tmp_path: Path) -> None:
    gates = _gates(tmp_path, "margin = 0.2", "margin = 0.0")
    text = gates.read_text().replace(
        'rule = "improves_on"\nagainst = "expand"\nmargin = 0.0', 'rule = "retains"\nagainst = "expand"\nmargin = 1.5'
    )
    gates.write_text(text)
    result = nightly.again_in(tmp_path)("-m", "nightly", environment={"TOY_GATES": str(gates)})
    assert result.returncode == 1
    assert "planted defect stage1@rate0 was not seen by stage1.learns.ind" in result.stdout
    assert "planted defects: 0 of 1 seen" in result.stdout


def test_a_defect_that_cannot_be_built_is_a_build_error(toy: Run) -> None:
    result = toy("-m", "nightly", environment={"TOY_BREAK": "defect"})
    assert result.returncode == 4, result.stdout
    assert "stage1@rate0 could not be judged" in result.stdout
    assert "no/such.jsonl" in result.stdout


def test_training_on_evaluation_text_is_a_build_error(toy: Run, tmp_path: Path) -> None:
    result = toy("-m", "stage1", environment={"TOY_BREAK": "overlap"})
    assert result.returncode == 4, result.stdout
    assert "stage1: BUILD ERROR" in result.stdout
    assert "overlap" in result.stdout
    assert "perplexity" in result.stdout
    assert not list((tmp_path / ".seatrials" / ".building").rglob("progress.jsonl"))


@pytest.mark.parametrize(
    ("verdicts", "defects", "elsewhere", "markers", "expected"),
    [
        (["pass", "pass"], [], False, "stage2", 0),
        (["pass", "fail"], [], False, "stage2", 1),
        (["inconclusive", "fail"], [], False, "nightly", 1),
        (["pass", "inconclusive"], [], False, "stage2", 3),
        (["pass", "inconclusive"], [], False, "nightly", 0),
        (["pass", "inconclusive"], [], False, "release", 3),
        (["not run"], [], False, "stage2", 3),
        (["pass", "fail waived"], [], False, "stage2", 3),
        (["pass", "pass ungated"], [], False, "stage2", 3),
        (["pass"], [], True, "stage2", 1),
        (["pass", "not run"], ["gone"], False, "nightly", 4),
        ([], ["seen"], False, "nightly", 0),
    ],
)
def test_exit_codes(verdicts: list[str], defects: list[str], elsewhere: bool, markers: str, expected: int) -> None:
    """Only all-pass is 0; a nightly run alarms on a failure and on a build error alone."""
    rows = {
        str(i): {"verdict": re.sub(" (waived|ungated)", "", text), "waived": "waived" in text, "ungated": "ungated" in text, "cause": None}
        for i, text in enumerate(verdicts)
    }
    planted = [{"cause": ("stage1", "no such file") if text == "gone" else None} for text in defects]
    assert exit_code(rows, elsewhere, markers, planted) == expected


@pytest.mark.parametrize(
    ("refused", "markers", "expected"),
    [(["not run"], "stage2", 3), (["not run"], "nightly", 0), (["not run", "fail"], "nightly", 1), (["build error"], "stage2", 4)],
)
def test_exit_codes_of_tests_that_were_refused_a_checkpoint(refused: list[str], markers: str, expected: int) -> None:
    """What is selected may all pass, and yet the checkpoint that a test of the user's asked for is not certified."""
    rows = {"a": {"verdict": "pass", "waived": False, "cause": None}}
    assert exit_code(rows, False, markers, (), refused) == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-m", "stgae1"], "did you mean stage1"),
        (["-m", "stage2"], "has no stage stage2; it has base, expand, stage1"),
        (["-m", "stage1", "--gate-variant", "stage1@nonsense"], "has no such variant; it has stage1@rate0"),
        (["-m", "stage1", "--gate-launcher", "rocket"], "use one of local"),
        (["-m", "stage1", "--gate-build", "stage9"], "has no such stage"),
        (["-m", "stage1", "--gate-bless"], "--gate-reason"),
        (["-m", "stage1", "--gate-originals=gone"], "gone: no such directory"),
        (["-m", "stage1", "--gate-replay", "nothing.json"], "not a run record"),
    ],
)
def test_a_wrong_option_is_one_clear_usage_error(toy: Run, arguments: list[str], said: str) -> None:
    result = toy(*arguments)
    assert result.returncode == 4
    text = result.stdout + result.stderr
    assert said in text
    assert "Traceback" not in text


STAGES = "profile nano has curation, base, expand, stage1, stage2 (or nightly and release, for all of them)"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-m", "sft1"], 4, f"ERROR: -m sft1: sft1 is neither a registered marker nor a stage; {STAGES}"),
        (["-m", "dpo_on or prune", "--collect-only"], 4, f"dpo_on is neither a registered marker nor a stage; {STAGES}"),
        (["-m", "stgae2"], 4, f"stgae2 is neither a registered marker nor a stage; did you mean stage2? {STAGES}"),
        (["-m", "theirs"], 5, f"-m theirs: theirs is neither a registered marker nor a stage; {STAGES}"),
        (["-m", "sft1", "-n", "2"], 4, "sft1 is neither"),
        (["-m", "sft1", "-p", "no:terminal"], 4, "ERROR: -m sft1: sft1 is neither"),
        (["-m", "dpo_on", "--gate-report", "r.html"], 4, f"dpo_on is neither a registered marker nor a stage; {STAGES}"),
        (["-m", "stage1 or sft1"], 4, f"sft1 is neither a registered marker nor a stage; {STAGES}"),
        (
            ["--gate-profile=nano"],
            4,
            f"--gate-profile needs a stage, as in `pytest -m stage1 --gate-profile ...`, and there is no -m: {STAGES}",
        ),
        (["-m", "not stage2", "--gate-dry-run"], 4, f"-m not stage2 names none: {STAGES}"),
        (["-m", "theirs", "--gate-bless"], 4, f"-m theirs names none: {STAGES}"),
    ],
)
def test_a_run_that_names_no_stage_is_told_which_there_are(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    """Never a silent `no tests ran`: it would look like a gate run that had nothing to say."""
    result = run_pytest(tmp_path, arguments)
    assert result.returncode == code, result.stdout + result.stderr
    assert said in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.parametrize(("marker", "addopts"), [("sft1", ""), ("bases", "addopts = --gate-profile=smol")])
def test_a_run_of_other_tests_by_a_marker_like_a_stage_is_left_alone(tmp_path: Path, marker: str, addopts: str) -> None:
    """Somebody else's marker, unregistered, may be called like a stage to come, or nearly like one of ours."""
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{addopts}\n")
    (tmp_path / "test_theirs.py").write_text(f"import pytest\n\n@pytest.mark.{marker}\ndef test_theirs():\n    pass\n")
    result = run_pytest(tmp_path, ["-m", marker])
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in result.stdout
    assert "neither" not in result.stdout
    assert run_pytest(tmp_path, []).returncode == 0


def test_an_unknown_profile_names_the_ones_that_exist(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, ["-m", "stage1", "--gate-profile", "nanoo"])
    assert result.returncode == 4
    assert "did you mean nano?" in result.stderr


@pytest.mark.parametrize("package", ["training", "benchmarks"])
def test_an_intruder_package_is_named_and_other_runs_are_left_alone(tmp_path: Path, package: str) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / "test_theirs.py").write_text("def test_theirs():\n    pass\n")
    plain = run_pytest(tmp_path, ["-q"])
    assert plain.returncode == 0, plain.stdout + plain.stderr
    result = run_pytest(tmp_path, ["-m", "stage1", f"--gate-profile={TOY}"])
    assert result.returncode == 4
    assert "rename or remove the intruder" in result.stdout + result.stderr
    assert str(tmp_path / package) in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("expression", ["not stage1", "not nightly", "stage1 and stage2", "mine or not base"])
def test_an_expression_that_asks_for_no_stage_is_no_gate_run(tmp_path: Path, expression: str) -> None:
    (tmp_path / "test_theirs.py").write_text("import pytest\n\n@pytest.mark.mine\ndef test_theirs():\n    pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = mine\n")
    result = run_pytest(tmp_path, ["-m", expression])
    assert "seatrials: profile" not in result.stdout
    assert ("1 passed" in result.stdout) is (expression != "stage1 and stage2")


def _gates(tmp_path: Path, old: str, new: str) -> Path:
    text = (TOY.parent / "toy_gates.toml").read_text()
    assert text.count(old) == 1
    path = tmp_path / "gates.toml"
    path.write_text(text.replace(old, new))
    return path
