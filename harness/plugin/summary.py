"""What a person sees and a script reads: header with the plan, gate table, exit code, and the record of the run.

Exit codes (promise 6): 0 all pass; 1 a gate failed (or a planted defect was not seen, or a test of the user's failed); 3 none failed but
something is inconclusive, not run, or a pass on an ancestor that did not; 4 a build error. Under `-m nightly` alone 3 becomes 0: a nightly job alarms on 1 and 4.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import baselines, calibration, quick
from harness.durable import write_json
from harness.plugin.collection import told
from harness.plugin.options import PIPELINE, SELECTED
from harness.report import words
from harness.settings import Uncertified
from harness.suites import SuiteError
from harness.surroundings import environment, expected_device, git_state

# The properties that carry a verdict, a planted defect's, and why a test could not have its checkpoint, from item to summary.
ROW, DEFECT, REFUSED = "seatrials", "seatrials.defect", "seatrials.refused"
INCONCLUSIVE, BUILD_ERROR = 3, 4
UNGATED = "UNGATED: stages are built on checkpoints that did not pass; nothing of this run is certified or can be blessed"
COLOURS = {
    "pass": {"green": True},
    "fail": {"red": True},
    "inconclusive": {"yellow": True},
    "not run": {"yellow": True},
    "waived": {"cyan": True},
    "ungated": {"yellow": True, "bold": True},
}


class Summary:
    """Gathers the verdicts of a run from its reports; one object a run, registered where `-m` names a stage."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.pipeline = config.stash[PIPELINE]
        self.selected = config.stash[SELECTED]
        self.rows: dict[str, dict[str, Any]] = {}
        self.defects: list[dict[str, Any]] = []
        self.failed_elsewhere: list[str] = []
        self.refused: list[str] = []  # for each test of the user's that asked for a checkpoint in vain: fail, not run or build error
        self.record: Path | None = None
        self.blessed = self.report = ""

    def pytest_report_header(self) -> list[str]:
        """Profile, device, store, baseline and plan."""
        pipeline, selected = self.pipeline, self.selected
        settings, profile = pipeline.settings, pipeline.profile
        device = f"{expected_device()} (auto, " if settings.device == "auto" else f"{settings.device} ("
        lines = [
            f"seatrials: profile {profile.name}, device {device}{settings.threads} threads), samples {pipeline.samples}",
            f"  store {_home(settings.store)}, hub {_home(settings.hub) or 'none'}, baseline {pipeline.baseline_name()}",
        ]
        if settings.backend != "hf":
            lines.append(f"  suites are answered by {settings.backend}; identity by hf")
        if settings.ungated:
            lines.append(f"  {UNGATED}")
        plan = pipeline.plan(selected)
        for planned in plan:
            minutes = f", about {planned.minutes:.0f} min" if planned.minutes >= 1 else ""
            name = planned.stage if planned.variant == "main" else f"{planned.stage}@{planned.variant}"
            lines.append(f"  {name:<8} {planned.action:<6} {planned.why}{minutes}")
        if total := sum(planned.minutes for planned in plan):
            lines.append(f"  about {total:.0f} minutes in all")
        lines += [f"  {note}" for note in calibration.notes(profile, pipeline.gates)]
        with contextlib.suppress(SuiteError):  # said where the suite is run
            lines += [f"  {line}" for line in [quick.plan_line(profile, pipeline.samples)] if line]
        return lines

    def pytest_runtestloop(self) -> bool | None:
        """A dry run ends before the first item."""
        return True if self.config.option.gate_dry_run else None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """A test that asked for a checkpoint which is not certified did not fail itself: the gates say what stands against it."""
        report = yield
        if call.excinfo is not None and isinstance(call.excinfo.value, Uncertified):
            certificate = call.excinfo.value.certificate
            failed = any(verdict.blocks and verdict.verdict == "fail" for verdict in certificate.verdicts.values())
            report.user_properties.append((REFUSED, "build error" if certificate.cause else "fail" if failed else "not run"))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect verdicts from reports: they cross xdist, and reach JUnit, as properties."""
        if hasattr(self.config, "workerinput"):
            return  # the controller collects
        found: list[Any] = [value for key, value in report.user_properties if key == ROW]
        for row in found:
            self.rows[row["gate"]] = row
        planted: list[Any] = [value for key, value in report.user_properties if key == DEFECT and report.when == "call"]
        self.defects += planted
        refused: list[Any] = [value for key, value in report.user_properties if key == REFUSED]
        self.refused += refused
        report.user_properties[:] = [(key, value) for key, value in report.user_properties if key not in (ROW, DEFECT, REFUSED)]
        if report.failed and not found and not refused:
            self.failed_elsewhere.append(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the record, the report and the baseline, and set the exit code; in the controller only."""
        if hasattr(self.config, "workerinput"):
            return
        if int(session.exitstatus) == pytest.ExitCode.INTERNAL_ERROR:
            session.exitstatus = BUILD_ERROR  # pytest's own number for a crash is ours for "inconclusive"
        if not (self.rows or self.defects or self.refused):
            return
        option = self.config.option
        if int(session.exitstatus) in (0, 1):
            session.exitstatus = exit_code(self.rows, bool(self.failed_elsewhere), option.markexpr, self.defects, self.refused)
        if not (self.rows or self.defects):
            return
        self.rows = self._in_order()
        try:
            self.record = self.write_record()
        except OSError as error:
            self.report = (
                f"NO RECORD: {error}; make room for it in {_home(self.pipeline.store.root)} and run again: nothing is built or asked anew"
            )
            session.exitstatus = BUILD_ERROR
            return
        if option.gate_report:
            from harness.report import ReportError, write_report

            try:
                write_report(Path(option.gate_report), self.pipeline.store, self.record)
                self.report = f"report: {option.gate_report}"
            except ReportError as error:
                self.report = f"NO REPORT: {error}"
                session.exitstatus = int(session.exitstatus) or 1
        if option.gate_bless:
            try:
                self.blessed = baselines.bless_run(self.pipeline, self.rows, option.gate_reason, self.selected)
            except baselines.BaselineError as error:
                self.blessed = f"NOT BLESSED: {error}"
                session.exitstatus = int(session.exitstatus) or 1

    def _in_order(self) -> dict[str, dict[str, Any]]:
        """The rows in the order of graph and gates file: from xdist's workers they come as they are decided."""
        stages = self.pipeline.lineage(self.selected)
        place = {gate.name: (stages.index(gate.stage), n) for n, gate in enumerate(self.pipeline.gates) if gate.stage in stages}
        return {name: self.rows[name] for name in sorted(self.rows, key=lambda name: place.get(name, (len(stages), 0)))}

    def write_record(self) -> Path:
        """The record of a run: what `--gate-replay`, the report and the history read."""
        settings = self.pipeline.settings
        stamp = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
        path = self.pipeline.store.root / "runs" / f"{stamp}-{os.getpid()}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(
            path,
            {
                "schema": 1,
                "profile": self.config.option.gate_profile,
                "selected": list(self.selected),
                "made": stamp,
                "samples": self.pipeline.samples,
                "profile_name": self.pipeline.profile.name,
                "stages": self.pipeline.stages_of_record(self.selected),
                "backend": settings.backend,
                "backend_version": self.pipeline.backend_version(),
                "gates_digest": self.pipeline.gates_digest,
                "ungated": settings.ungated,
                "failed_tests": self.failed_elsewhere,
                "environment": environment(),
                "git": git_state(),
                "gates": list(self.rows.values()),
                "defects": self.defects,
            },
        )
        return path

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The gate table, and under it what the gates saw of each planted defect; of a dry run, what it is there for."""
        if self.config.option.gate_dry_run:
            from harness import dryrun

            launcher, store = self.config.option.gate_launcher, self.config.option.gate_store
            terminalreporter.write_line(dryrun.render(self.pipeline.profile, self.selected, launcher, store=store, told=told(self.config)))
        if self.rows:
            self._gates(terminalreporter)
        if self.defects:
            seen = sum(defect["seen"] for defect in self.defects)
            terminalreporter.section(f"planted defects: {seen} of {len(self.defects)} seen")
            for defect in self.defects:
                terminalreporter.write_line(defect_line(defect), **COLOURS["pass" if defect["seen"] else "fail"])
        for line in filter(None, (self.record and self._record_line(), self.report, self.blessed)):
            terminalreporter.write_line(line)

    def _record_line(self) -> str:
        return f"record: {_home(self.record)}   (--gate-replay applies today's gates to it)"

    def _gates(self, terminalreporter: Any) -> None:
        rows = list(self.rows.values())
        ungated = self.pipeline.settings.ungated
        terminalreporter.section(f"gates: {'UNGATED, ' if ungated else ''}{headline(rows)}")
        for stage, error in dict(row["cause"] for row in rows if row["cause"]).items():
            terminalreporter.write_line(f"{stage}: BUILD ERROR", red=True)
            terminalreporter.write_line(error)
        header, *lines = table(rows)
        terminalreporter.write_line(header, bold=True)
        for row, line in zip(rows, lines, strict=True):
            terminalreporter.write_line(line, **COLOURS[_colour(row)])
        if ungated:
            terminalreporter.write_line(words.ungated_note(rows), **COLOURS["ungated"])
        for line in notes(rows):
            terminalreporter.write_line(line)
        for note in words.margin_notes(rows):
            terminalreporter.write_line(note, yellow=True)


def exit_code(
    rows: dict[str, dict[str, Any]],
    failed_elsewhere: bool,
    markexpr: str,
    defects: Sequence[Mapping[str, Any]] = (),
    refused: Sequence[str] = (),
) -> int:
    """The exit code of a run, from its verdicts, its planted defects and the tests that were refused a checkpoint."""
    if "build error" in refused or any(row["cause"] for row in (*rows.values(), *defects)):
        return BUILD_ERROR
    if failed_elsewhere or "fail" in refused or any(row["verdict"] == "fail" for row in rows.values() if not row["waived"]):
        return 1
    if not refused and all(row["verdict"] == "pass" and not row.get("ungated") for row in rows.values()):
        return 0
    return 0 if markexpr.strip() == "nightly" else INCONCLUSIVE


def defect_line(defect: Mapping[str, Any]) -> str:
    """One planted defect in words: whether the gates that it should turn red are red, and which others are."""
    if defect["cause"]:
        return f"{defect['defect']:<22} COULD NOT BE JUDGED: {defect['cause'][1]}"
    expected = ", ".join(f"{gate} {verdict}" for gate, verdict in defect["expected"].items())
    also = f"; also red: {len(defect['also'])} gates" if len(defect["also"]) > 3 else "".join(f"; also red: {g}" for g in defect["also"])
    return f"{defect['defect']:<22} {'seen  ' if defect['seen'] else 'NOT SEEN'}  {expected}{also}"


def headline(rows: list[dict[str, Any]]) -> str:
    """All verdicts in one line; a waived gate, and a pass on an ancestor that did not pass, are counted apart and never as a pass."""
    said = ["waived" if row["waived"] else words.judged(row) if row["verdict"] == "pass" else row["verdict"] for row in rows]
    counts = {kind: said.count(kind) for kind in ("fail", "inconclusive", "not run", "pass (ungated)", "pass", "waived")}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "none"


def _colour(row: Mapping[str, Any]) -> str:
    return "waived" if row["waived"] else "ungated" if words.judged(row) == "pass (ungated)" else row["verdict"]


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The gate table as aligned lines: gate, value, line, against (with its interval), n, detectable difference, verdict."""
    cells: list[tuple[str, ...]] = [
        tuple("against [each end a one-sided 95 % bound]" if name == "against" else name for name in words.COLUMNS)
    ]
    cells += [tuple(words.cells(row).values()) for row in rows]
    widths = [max(len(cell[i]) for cell in cells) for i in range(len(cells[0]))]
    left = (0, 3, 6)
    return [
        "  ".join(
            text.ljust(width) if i in left else text.rjust(width) for i, (text, width) in enumerate(zip(cell, widths, strict=True))
        ).rstrip()
        for cell in cells
    ]


def notes(rows: list[dict[str, Any]]) -> list[str]:
    """What the scores of the table do not show: samples that the model's window was too short for, a line a stage and gated suite."""
    found = []
    for stage, folder in dict.fromkeys((row["stage"], row["rows"]) for row in rows if row["rows"]):
        gated = {row["metric"].partition(".")[0] for row in rows if row["stage"] == stage}
        try:
            summary = json.loads((Path(folder) / "summary.json").read_text(encoding="utf-8"))
            cut = {suite: (entry["facts"].get("truncated"), entry["rows"]) for suite, entry in summary.items() if suite in gated}
        except (OSError, ValueError, AttributeError, KeyError, TypeError):
            continue  # the report says it
        found += [
            f"{stage}: {suite}: {many} of {all_} samples longer than the model's window" for suite, (many, all_) in cut.items() if many
        ]
    return found


def _home(path: Path | None) -> str:
    """A path as short as it can be said from here."""
    if path is None:
        return ""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
