"""Before and after: every metric of every suite per language, along the lineage, with intervals and paired changes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.run import Run, StageView
from harness.report.words import flattened, number
from harness.rows import Rows, StatisticsError
from harness.rules import suite_metrics
from harness.statistics import MINIMUM_CLUSTERS, Estimate, compare, estimate, silent
from harness.suites import Metric, SuiteError

SHOWN_APART = ("languages", "clusters", "truncated")  # facts that have a column of their own


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """One cell: a score with its 90 % interval, and the paired change since the stage before. `note` stands where there is none."""

    value: str = ""
    interval: str = ""
    change: str = ""
    word: str = ""  # "better", "worse", "same", "unclear"; "" where there is nothing before
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One row of a table: a language, a mean of languages, or that mean over one stratum."""

    name: str
    mean: bool
    scores: tuple[Score, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetricTable:
    """One metric of a suite, stage by stage."""

    suite: str
    metric: str
    direction: str
    chance: str
    gated: bool
    stages: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuiteFacts:
    """What a suite says of itself on one stage: `counts` for the table, `more` for who asks."""

    suite: str
    stage: str
    counts: Mapping[str, str]
    languages: str
    more: tuple[tuple[str, str], ...]


def metric_tables(run: Run) -> tuple[list[MetricTable], list[str]]:
    """A table for every suite and metric that was run, and a sentence for each that cannot be shown."""
    if run.profile is None:
        return [], ["The profile is not there, so the suites' metrics are not known."]
    tables: list[MetricTable] = []
    notes: list[str] = []
    gated = {gate.row["metric"] for gate in run.gates}
    for suite, spec in run.profile.suites.items():
        found = _read(suite, [stage for stage in run.stages if stage.rows], notes)
        if not found:
            notes.append(f"{suite}: no rows of it in this run.")
            continue
        try:
            metrics = suite_metrics(run.profile, suite)
        except SuiteError as error:
            notes.append(f"{suite}: {error}")
            continue
        for name, metric in metrics.items():
            lines = _lines(found, metric, spec.languages)
            tables.append(
                MetricTable(
                    suite=suite,
                    metric=name,
                    direction=f"{metric.direction} is better",
                    chance="" if metric.chance is None else f"chance {metric.chance:.4g}",
                    gated=f"{suite}.{name}" in gated,
                    stages=tuple(found),
                    lines=tuple(lines),
                )
            )
    tables.sort(key=lambda table: not table.gated)
    return tables, notes


def _read(suite: str, stages: Sequence[StageView], notes: list[str]) -> dict[str, Rows]:
    found = {}
    for stage in stages:
        path = stage.rows / f"{suite}.parquet" if stage.rows else None
        if path is None or not path.is_file():
            continue
        try:
            found[stage.name] = Rows.read(path)
        except (StatisticsError, ValueError) as error:
            notes.append(f"{suite} on {stage.name}: {error}")
    return found


def _lines(found: Mapping[str, Rows], metric: Metric, languages: Sequence[str]) -> list[Line]:
    """Languages first, then their mean, then the mean of each stratum."""
    by_language = {language: {stage: rows.select([language]) for stage, rows in found.items()} for language in languages}
    lines = [Line(name=language, mean=False, scores=_scores(own, metric, (language,))) for language, own in by_language.items()]
    strata = sorted({stratum for rows in found.values() for stratum in rows.stratum} - {""})
    if len(languages) > 1:
        lines.append(Line(name=f"mean of {len(languages)}", mean=True, scores=_scores(found, metric, languages)))
    if len(strata) > 1:
        for stratum in strata:
            own = {stage: rows.select(languages, stratum) for stage, rows in found.items()}
            if all(silent(rows, metric) for rows in own.values()):  # the metric is about another stratum
                continue
            lines.append(Line(name=f"mean, {stratum}", mean=True, scores=_scores(own, metric, languages)))
    return lines


def _scores(found: Mapping[str, Rows], metric: Metric, languages: Sequence[str]) -> tuple[Score, ...]:
    scores = []
    before: Rows | None = None
    for rows in found.values():
        scores.append(_score(rows, before, metric, languages))
        before = rows
    return tuple(scores)


def _score(rows: Rows, before: Rows | None, metric: Metric, languages: Sequence[str]) -> Score:
    try:
        own = estimate(rows, metric, languages)
    except StatisticsError as error:
        return Score(note=str(error))
    note = f"{own.clusters} clusters only" if own.clusters < MINIMUM_CLUSTERS else ""
    score = Score(value=number(own.value), interval=_interval(own), note=note)
    if before is None:
        return score
    try:
        change = compare(rows, before, metric, languages)
    except StatisticsError as error:
        return dataclasses.replace(score, note=str(error))
    return dataclasses.replace(score, change=f"{change.value:+.4f}", word=_word(change, metric))


def _interval(found: Estimate) -> str:
    return "constant" if found.constant else f"[{number(found.lower())}, {number(found.upper())}]"


def _word(change: Estimate, metric: Metric) -> str:
    """In which direction the change is sure (one-sided 95 %), in the metric's own sense."""
    if change.identical:
        return "same"
    up = change.lower() > 0
    if not up and not change.upper() < 0:
        return "unclear"
    return "better" if up == (metric.direction == "higher") else "worse"


def suite_facts(run: Run) -> tuple[list[SuiteFacts], list[str]]:
    """Counts and facts of each suite on each stage, from the evaluations' own summaries."""
    facts: list[SuiteFacts] = []
    notes: list[str] = []
    for stage in run.stages:
        if stage.rows is None:
            continue
        try:
            summary = json.loads((stage.rows / "summary.json").read_text(encoding="utf-8"))
            facts += [_facts(suite, stage.name, entry) for suite, entry in summary.items()]
        except (OSError, ValueError, AttributeError, TypeError) as error:
            notes.append(f"{stage.name}: the summary of its evaluation cannot be read ({error}).")
    facts.sort(key=lambda entry: entry.suite)
    return facts, notes


def _facts(suite: str, stage: str, entry: Mapping[str, Any]) -> SuiteFacts:
    facts = entry.get("facts") or {}
    languages = facts.get("languages") or {}
    counts = {
        "samples": _count(entry.get("rows")),
        "clusters": _count(facts.get("clusters")),
        "truncated": _count(facts.get("truncated")),
        "answers computed": _count(entry.get("computed")),
        "from store": _count(entry.get("cached")),
        "seconds": "" if entry.get("seconds") is None else f"{entry['seconds']:.1f}",
    }
    told = ", ".join(f"{language} {count:,}" for language, count in languages.items()) if isinstance(languages, Mapping) else ""
    more = tuple(flattened({key: value for key, value in facts.items() if key not in SHOWN_APART}))
    return SuiteFacts(suite=suite, stage=stage, counts=counts, languages=told, more=more)


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ""
