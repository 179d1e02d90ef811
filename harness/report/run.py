"""What a run left behind, gathered for the report: its record, the profile, the artifacts of its lineage, and each stage's state.

Whatever is gone since (a profile file that moved, a pruned store) becomes a sentence in `notes` or in the stage, never an exception.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import gates, profiles
from harness.profiles import Profile
from harness.report.words import cells, counted, judged
from harness.store import Artifact, Damaged, Store
from training.stages import GRAPH, ancestry

KINDS = ("fail", "inconclusive", "not run", "waived", "pass")
GLYPHS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "not run": "–", "waived": "w"}
STATES = {
    "certified": "✓ certified",
    "stopped": "✗ stopped",
    "build error": "✗ build error",
    "building": "… building",
    "ungated": "! ungated",
    "judged in part": "½ judged in part",
    "not run": "– not run",
    "no gates": "· no gates",
    "outside": "· not in this run",
}
SHOWN = ("profile", "selected", "made", "samples", "stages", "gates_digest", "ungated", "environment", "git", "gates")


class ReportError(Exception):
    """A report that cannot be written; the message names the file and the mend."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateView:
    """One gate's row as the page shows it. `kind` is the verdict, or "waived"."""

    row: Mapping[str, Any]
    anchor: str
    why: str
    command: str

    @property
    def name(self) -> str:
        """Full name, STAGE.label.LANG."""
        return self.row["gate"]

    @property
    def kind(self) -> str:
        """The verdict, or "waived"."""
        return "waived" if self.row["waived"] else self.row["verdict"]

    @property
    def label(self) -> str:
        """The verdict in words, with a mark that does without colour."""
        return f"{GLYPHS[self.kind]} {judged(self.row)}"

    @property
    def cells(self) -> dict[str, str]:
        """The terminal's values by column."""
        return cells(self.row)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageView:
    """One stage of the run's lineage. `absent` says why there is no artifact; `unselected` counts gates that -k or --lf left out."""

    name: str
    parents: tuple[str, ...]
    state: str
    detail: str
    gates: tuple[GateView, ...]
    unselected: int
    build_error: str
    artifact: Artifact | None
    absent: str
    rows: Path | None

    @property
    def purpose(self) -> str:
        """What the stage is, and where the paper has it."""
        stage = GRAPH.get(self.name)
        return f"{stage.purpose} (paper {stage.paper})" if stage else ""

    @property
    def label(self) -> str:
        """The state in words, with a mark that does without colour."""
        return STATES[self.state]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Everything of a run but its scores. `stages` are those of the lineage, parents first; `graph` those of the whole profile."""

    record: Mapping[str, Any]
    profile: Profile | None
    selected: tuple[str, ...]
    stages: tuple[StageView, ...]
    graph: tuple[tuple[str, str, str], ...]  # name, state, label
    edges: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    complete: bool  # whether it is known which gates there are, so that none can be missing unseen

    @property
    def gates(self) -> tuple[GateView, ...]:
        """All gates, in the order of the graph."""
        return tuple(gate for stage in self.stages for gate in stage.gates)


def read_run(path: Path, store: Store) -> Run:
    """Gather a run. Raises ReportError where `path` is no run record."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["schema"] != 1:
            raise ReportError(
                f"{path} has schema {record['schema']!r}, this version reads 1: write the report with the version that made it"
            )
        if absent := [key for key in SHOWN if key not in record]:
            raise ReportError(f"{path} lacks {', '.join(absent)}: it is no run record of this version")
        rows, selected = list(record["gates"]), tuple(record["selected"])
        notes: list[str] = []
        profile = _profile(record["profile"], notes)
        reasons = _reasons(profile, record, notes)
        return _run(record, rows, selected, profile, reasons, store, notes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReportError(
            f"{path} is not a run record ({type(error).__name__}: {error}); they lie in the store's runs/ directory"
        ) from error


def _profile(name: str, notes: list[str]) -> Profile | None:
    try:
        return profiles.load(name)
    except (profiles.ProfileError, ImportError) as error:
        notes.append(f"The profile could not be loaded, so scores per language and the reasons of the gates are missing: {error}")
        return None


def _reasons(profile: Profile | None, record: Mapping[str, Any], notes: list[str]) -> dict[str, str]:
    """Why each gate is there, from the gates file if it is still the one that judged; {} otherwise."""
    if profile is None:
        return {}
    try:
        found, digest = gates.load_gates(profile.gates, profile, calibrated=False), gates.gates_digest(profile.gates)
    except (gates.GatesError, OSError) as error:
        notes.append(f"The gates file could not be read again, so the reasons of the gates are missing: {error}")
        return {}
    if digest != record.get("gates_digest"):
        notes.append("The gates file has changed since this run, so the reasons of the gates are missing.")
        return {}
    return {gate.name: gate.reason for gate in found}


def _run(
    record: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    selected: tuple[str, ...],
    profile: Profile | None,
    reasons: Mapping[str, str],
    store: Store,
    notes: list[str],
) -> Run:
    edges = {name: profile.parents(name) for name in profile.stages} if profile else {name: stage.parents for name, stage in GRAPH.items()}
    known = [stage for stage in selected if stage in edges]
    lineage = [name for stage in known for name in (profile.ancestry(stage) if profile else ancestry(stage))]
    lineage = list(dict.fromkeys([*lineage, *selected, *(row["stage"] for row in rows)]))
    artifacts, absent = _artifacts(record, lineage, store)
    numbers = {row["gate"]: index for index, row in enumerate(rows)}
    stages = []
    for name in lineage:
        own = tuple(
            GateView(row=row, anchor=f"gate-{numbers[row['gate']]}", why=reasons.get(row["gate"], ""), command=row.get("command", ""))
            for row in rows
            if row["stage"] == name
        )
        total = sum(gate.partition(".")[0] == name for gate in reasons)
        unselected = max(0, total - len(own))
        state, detail = _state(own, unselected, total)
        stages.append(
            StageView(
                name=name,
                parents=tuple(edges.get(name, ())),
                state=state,
                detail=detail,
                gates=own,
                unselected=unselected,
                build_error=next((gate.row["build_error"] for gate in own if gate.row["build_error"]), ""),
                artifact=artifacts.get(name),
                absent=absent.get(name, ""),
                rows=_rows(record, name, store),
            )
        )
    states = {stage.name: stage.state for stage in stages}
    graph = tuple((name, states.get(name, "outside"), STATES[states.get(name, "outside")]) for name in dict.fromkeys([*edges, *lineage]))
    return Run(
        record=record,
        profile=profile,
        selected=selected,
        stages=tuple(stages),
        graph=graph,
        edges=edges,
        notes=tuple(notes),
        complete=bool(reasons),
    )


def _artifacts(record: Mapping[str, Any], lineage: Sequence[str], store: Store) -> tuple[dict[str, Artifact], dict[str, str]]:
    """The artifacts of the lineage; a stage without gates in this run is found through its child. And why one is absent."""
    wanted = {name: entry["fingerprint"] for name, entry in record["stages"].items() if entry["fingerprint"]}
    found: dict[str, Artifact] = {}
    absent: dict[str, str] = {}
    for name in reversed(lineage):
        if name not in wanted:
            absent[name] = "This run has no checkpoint of it."
            continue
        try:
            artifact = store.find(wanted[name])
        except Damaged as error:
            absent[name] = f"Its record is damaged: {error}"
            continue
        if artifact is None:
            absent[name] = f"The store no longer has {wanted[name][:12]}: it was pruned or moved; pull it from a mirror, or build it again."
            continue
        found[name] = artifact
        for parent in artifact.record.parents:
            wanted.setdefault(parent.stage, parent.fingerprint)
    return found, absent


def _rows(record: Mapping[str, Any], stage: str, store: Store) -> Path | None:
    """Where a stage's rows lie: where the run says, or under that name in this store (it may have moved)."""
    recorded = record["stages"].get(stage, {}).get("rows")
    places = [Path(recorded), store.root / "rows" / Path(recorded).name] if recorded else []
    return next((place for place in places if place.is_dir()), None)


def _state(own: Sequence[GateView], unselected: int, total: int) -> tuple[str, str]:
    """A stage's state and what stands behind it."""
    if not own:
        return ("outside", f"none of its {counted(total, 'gate')} selected") if total else ("no gates", "nothing is asked of it")
    detail = tally(own) + (f"; {unselected} not selected" if unselected else "")
    if any(gate.row["build_error"] for gate in own):
        return "build error", detail
    if any(gate.row["verdict"] == "not run" and gate.row["reason"].startswith(("building", "submitted")) for gate in own):
        return "building", own[0].row["reason"]
    if all(gate.kind == "not run" for gate in own):
        return "not run", own[0].row["reason"]
    if any(gate.kind not in ("pass", "waived") for gate in own):
        return "stopped", detail
    if any(gate.row["ungated"] for gate in own):
        return "ungated", f"{detail}; an ancestor did not pass"
    return ("judged in part" if unselected else "certified"), detail


def tally(own: Sequence[GateView]) -> str:
    """The verdicts counted; a waived gate counts apart, never as a pass."""
    counts = {kind: sum(gate.kind == kind for gate in own) for kind in KINDS}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "no gates"


def headline(run: Run) -> tuple[str, str, str]:
    """The verdict on top: its kind (for the colour), the words, and what stands behind them. Only all pass is a release."""
    own = run.gates
    counts = f"{tally(own)}: {counted(len(own), 'gate')} of {', '.join(stage.name for stage in run.stages if stage.gates)}."
    target = ", ".join(run.selected)
    if broken := [stage.name for stage in run.stages if stage.build_error]:
        return "fail", f"Stopped: {broken[0]} was not built", counts
    by_kind = {kind: [gate for gate in own if gate.kind == kind] for kind in KINDS}
    if failed := by_kind["fail"]:
        more = f" and {counted(len(failed) - 1, 'more gate')}" if len(failed) > 1 else ""
        return "fail", f"Stopped by {failed[0].name}{more}", counts
    if tests := run.record.get("failed_tests"):
        return "fail", f"Stopped by the test {tests[0]}", f"{counts} {counted(len(tests), 'test')} beside the gates failed."
    if building := [stage.name for stage in run.stages if stage.state == "building"]:
        return "not run", f"Not decided: {building[0]} is being built", counts
    if unsure := by_kind["inconclusive"]:
        more = f" and {counted(len(unsure) - 1, 'more gate')}" if len(unsure) > 1 else ""
        return "inconclusive", f"Inconclusive: {unsure[0].name}{more}", counts
    if idle := by_kind["not run"]:
        return "not run", f"Not decided: {idle[0].name} was not run", counts
    if run.record.get("ungated"):
        return "inconclusive", "Ungated: nothing of this run is certified", counts
    if waived := by_kind["waived"]:
        return "waived", f"Not released: {counted(len(waived), 'gate')} waived", f"{counts} A waived gate is not a pass."
    if not run.complete:
        return (
            "not run",
            "Not decided: whether these are all gates is not known",
            f"{counts} All that ran pass; a release needs every gate.",
        )
    if left := sum(stage.unselected for stage in run.stages):
        return "not run", f"Not decided: {counted(left, 'gate')} not selected", f"{counts} All that ran pass; a release needs every gate."
    return "pass", f"Release: {target} may sail on", counts
