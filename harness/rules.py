"""The five rules: from rows to verdicts.

Each rule turns a gate into a number and the span that the truth must lie in (`_Test`). A gate passes where the one-sided 95 % bound
clears the line (every gate must, so no correction: an intersection-union test). It fails where the data contradict that at the
Holm-corrected level of all gates of its stage. Else it is inconclusive. Two things are meant:

- A pass is a statement about this checkpoint, which is what gets released, so it rests on the sampling error alone. A fail is an alarm
  about a change, and another training seed is no change: with a calibration the variance between seeds is added before a fail.
- Rows identical to the reference's are certainty, not an interval of width nought: `retains` and `matches` pass, `improves_on` fails.
  Rows that are all one number but not the reference's are what a broken measurement looks like: on the good side of the line they are
  inconclusive, beyond it they fail.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness import suites
from harness.gates import Gate, Metrics, RowsLookup, Telling, Verdict, margin_of, not_run, seed_variance
from harness.rows import Rows, StatisticsError
from harness.statistics import CONFIDENCE, MINIMUM_CLUSTERS, Estimate, compare, estimate, holm, row_score
from harness.suites import Metric

if TYPE_CHECKING:
    from harness.baselines import Baseline
    from harness.profiles import Profile

ALPHA = 1 - CONFIDENCE
SHOWN = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Test:
    """One comparison of a gate: its estimate, and the span [low, high] that the truth must lie in."""

    gate: Gate
    metric: Metric
    estimate: Estimate
    low: float = -np.inf
    high: float = np.inf
    shift: float = 0.0  # estimate + shift is what is shown (relative margins are tested as a contrast against nought)
    rows: Rows
    reference: Rows | None = None
    baseline: str = ""  # "", "blessed" or "release"

    @property
    def passing_p(self) -> float:
        """P-value of "the truth lies outside the span"."""
        ends = [self.estimate.p_above(self.low)] * (self.low > -np.inf) + [self.estimate.p_below(self.high)] * (self.high < np.inf)
        return max(ends)

    @property
    def failing_p(self) -> float:
        """P-value of "the truth lies in the span", for a recipe trained with any seed."""
        wide = self.estimate.widened(*seed_variance(self.gate))
        ends = [max(self.estimate.p_below(self.low), wide.p_below(self.low))] * (self.low > -np.inf)
        ends += [max(self.estimate.p_above(self.high), wide.p_above(self.high))] * (self.high < np.inf)
        return min(1.0, len(ends) * min(ends))

    @property
    def inside(self) -> bool:
        """Whether the point estimate lies in the span."""
        return self.low < self.estimate.value < self.high

    @property
    def line(self) -> float:
        """The end of the span that is nearer to the estimate, as shown."""
        ends = [end for end in (self.low, self.high) if np.isfinite(end)]
        return float(min(ends, key=lambda end: abs(self.estimate.value - end)) + self.shift)


def judge(gates: Sequence[Gate], rows: RowsLookup, metrics: Metrics, today: datetime.date) -> dict[str, Verdict]:
    """Judge the gates of one stage.

    `rows(which, suite)` returns the rows of a checkpoint: `which` is the gates' own stage (the candidate), another stage (a reference),
    or "blessed" / "release" (that baseline of the stage); None where there are none. `metrics`: suite -> name -> Metric.
    """
    if not gates:
        return {}
    if len({gate.stage for gate in gates}) != 1:
        raise ValueError("judge_stage takes the gates of one stage")
    settled: dict[str, Verdict] = {}
    tests: dict[str, list[_Test]] = {}
    for gate in gates:
        try:
            prepared = _prepare(gate, rows, metrics)
        except StatisticsError as error:
            prepared = Verdict(gate=gate.name, verdict="inconclusive", reason=str(error))
        if isinstance(prepared, Verdict):
            settled[gate.name] = prepared
        else:
            tests[gate.name] = prepared
    # a gate with two baselines fails if either says so: Bonferroni within it, then Holm over the family
    p_values = {name: min(1.0, len(found) * min(_failing(test) for test in found)) for name, found in tests.items()}
    family = max(len(gates), max(gate.family for gate in gates))
    adjusted = dict(zip(p_values, holm(list(p_values.values()), family), strict=True))
    for name, found in tests.items():
        settled[name] = _worst([_decide(test, adjusted[name], _failing(test)) for test in found])
    return {gate.name: _waive(gate, settled[gate.name], today) for gate in gates}


def contrast(gate: Gate, rows: RowsLookup, metrics: Metrics) -> tuple[Estimate, float, bool] | None:
    """The gate's estimate, the line that it is held against, and whether more is on the passing side; None where nothing can be compared.

    What `harness.calibrate` takes over training seeds.
    """
    try:
        prepared = _prepare(gate, rows, metrics)
    except StatisticsError:
        return None
    if isinstance(prepared, Verdict):
        return None
    test = prepared[0]
    return test.estimate, test.line - test.shift, bool(test.low > -np.inf)


def rows_lookup(directories: Mapping[str, Path], baselines: Mapping[str, Baseline]) -> RowsLookup:
    """Read rows, each once, from a stage's and its references' directories (one Parquet file a suite) and from its baselines by kind."""

    @functools.cache
    def lookup(which: str, suite: str) -> Rows | None:
        if which in baselines:
            return baselines[which].rows(suite)
        path = directories[which] / f"{suite}.parquet" if which in directories else None
        return Rows.read(path) if path is not None and path.is_file() else None

    return lookup


def suite_metrics(profile: Profile, suite: str) -> dict[str, Metric]:
    """The metrics that a profile's suite declares, by name. Raises SuiteError where the suite cannot be had."""
    return {metric.name: metric for metric in suites.load(profile.suites[suite], suite, profile.directory).metrics}


# ------------------------------------------------------------------------------------------------------------- preparing


def _prepare(gate: Gate, rows: RowsLookup, metrics: Metrics) -> list[_Test] | Verdict:
    """The gate's comparisons, or the verdict where there is nothing to compare."""
    metric = metrics.get(gate.suite, {}).get(gate.metric)
    if metric is None:
        return not_run(gate, f"suite {gate.suite} has no metric {gate.metric}")
    ours = rows(gate.stage, gate.suite)
    if ours is None:
        return not_run(gate, f"{gate.suite} has not been run on {gate.stage}")
    ours = ours.select(gate.languages, gate.stratum)
    if not gate.against:
        return [_fixed(gate, metric, ours)]
    if gate.against != "blessed":
        theirs = rows(gate.against, gate.suite)
        if theirs is None:
            return not_run(gate, f"{gate.suite} has not been run on {gate.against}")
        return [_paired(gate, metric, ours, theirs.select(gate.languages, gate.stratum))]
    baselines = {kind: found for kind in ("blessed", "release") if (found := rows(kind, gate.suite)) is not None}
    if not baselines:
        verdict = not_run(gate, f"nothing has been blessed for {gate.stage} yet: bless it with --gate-bless once all other gates pass")
        return dataclasses.replace(verdict, awaits_baseline=True)
    return [_paired(gate, metric, ours, found.select(gate.languages, gate.stratum), kind) for kind, found in baselines.items()]


def _fixed(gate: Gate, metric: Metric, ours: Rows) -> _Test:
    assert gate.line is not None
    found = estimate(ours, metric, gate.languages)
    if gate.rule == "matches":
        assert gate.margin is not None
        exact = bool(found.constant and found.value == gate.line)
        found = dataclasses.replace(found, identical=exact)
        return _Test(gate=gate, metric=metric, estimate=found, low=gate.line - gate.margin, high=gate.line + gate.margin, rows=ours)
    low, high = (gate.line, np.inf) if gate.rule == "at_least" else (-np.inf, gate.line)
    return _Test(gate=gate, metric=metric, estimate=found, low=low, high=high, rows=ours)


def _paired(gate: Gate, metric: Metric, ours: Rows, theirs: Rows, baseline: str = "") -> _Test:
    plain = compare(ours, theirs, metric, gate.languages)
    against = plain.reference
    assert against is not None
    if metric.binary and metric.chance is not None and estimate(theirs, metric, gate.languages).p_above(metric.chance) >= ALPHA:
        raise StatisticsError(f"the reference's {metric.name} of {against:.3g} is not above chance ({metric.chance:.3g}): it cannot gate")
    up, ratio, found = metric.direction == "higher", 1.0, plain
    if gate.relative is not None and gate.rule != "matches":
        if against <= 0:
            raise StatisticsError(f"a relative margin needs a positive reference score, not {against:.4g}: give `margin` instead")
        ratio += gate.relative if (gate.rule == "improves_on") == up else -gate.relative
        found = dataclasses.replace(compare(ours, theirs, metric, gate.languages, ratio), identical=plain.identical)
        line = 0.0
    else:
        margin = margin_of(gate, against)
        assert margin is not None
        line = (margin if gate.rule == "improves_on" else -margin) * (1 if up else -1)
    if gate.rule == "matches":
        low, high = -abs(line), abs(line)
    else:
        low, high = (line, np.inf) if up else (-np.inf, line)
    shift = (ratio - 1) * against
    return _Test(gate=gate, metric=metric, estimate=found, low=low, high=high, shift=shift, rows=ours, reference=theirs, baseline=baseline)


# -------------------------------------------------------------------------------------------------------------- deciding


def _failing(test: _Test) -> float:
    """The p-value that enters Holm's correction; 1 for what cannot fail, 0 for what is certain."""
    if test.estimate.clusters < MINIMUM_CLUSTERS:
        return 1.0
    if test.estimate.identical:
        return 0.0 if test.gate.rule == "improves_on" else 1.0
    if test.estimate.constant:
        return 1.0 if test.inside else 0.0
    return test.failing_p


def _decide(test: _Test, adjusted: float, own: float) -> Verdict:
    """The verdict on one comparison, with everything that is shown of it. `own` is the comparison's uncorrected failing p-value."""
    found, gate = test.estimate, test.gate
    seed_sd, seeds = seed_variance(gate)
    bounds = (found.lower() + test.shift, found.upper() + test.shift)
    detectable = found.detectable(seed_sd, seeds)
    exact = found.identical
    failing = adjusted < ALPHA and own < ALPHA
    against = f" against the {test.baseline} baseline" if test.baseline else ""
    where = f"[{bounds[0]:.4g}, {bounds[1]:.4g}] against {_span(test)}{against}"
    if found.clusters < MINIMUM_CLUSTERS:
        verdict, reason = "inconclusive", f"{found.clusters} clusters; at least {MINIMUM_CLUSTERS} are needed"
    elif exact and gate.rule in ("retains", "matches"):
        verdict, reason = "pass", f"exact: every row equals the {'reference' if gate.against else 'line'}{against}"
    elif exact and gate.rule == "improves_on":
        verdict, reason = "fail", f"exact: every row equals the reference{against}; nothing was learned"
    elif found.constant:
        verdict = "inconclusive" if test.inside else "fail"
        reason = f"every one of {found.clusters} clusters says {found.value + test.shift:.6g}: a constant shows no sampling error"
        reason += "; for equality use `matches`" if test.inside else f", and it is beyond {_span(test)}"
    elif test.passing_p < ALPHA:
        verdict, reason = "pass", f"the 95 % bound clears the line: {where}"
    elif failing:
        verdict, reason = "fail", f"beyond the line (p = {adjusted:.2g} corrected for {gate.family} gates): {where}"
    else:
        verdict, reason = "inconclusive", f"the interval does not clear the line: {where}"
        if own < ALPHA:
            reason += f" (beyond it, but p = {adjusted:.2g} after correction for {gate.family} gates)"
    return Verdict(
        gate=gate.name,
        verdict=verdict,  # type: ignore[arg-type]
        reason=reason,
        value=found.score,
        line=test.line,
        against=found.reference,
        difference=None if found.reference is None else found.score - found.reference,
        interval=bounds,
        samples=found.samples,
        clusters=found.clusters,
        detectable=detectable,
        margin=margin_of(gate, found.reference),
        uncalibrated=gate.calibrated is None,
        failing_p=adjusted,
        exact=exact,
        telling=() if verdict == "pass" else _telling(test),
    )


def _span(test: _Test) -> str:
    low, high = test.low + test.shift, test.high + test.shift
    if np.isfinite(low) and np.isfinite(high):
        return f"{low:.4g} to {high:.4g}"
    return f"at least {low:.4g}" if np.isfinite(low) else f"at most {high:.4g}"


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    order = ("fail", "not run", "inconclusive", "pass")
    return min(verdicts, key=lambda verdict: order.index(verdict.verdict))


def _waive(gate: Gate, verdict: Verdict, today: datetime.date) -> Verdict:
    if gate.waiver is None or verdict.passed:
        return verdict
    text = f"{gate.waiver.who} until {gate.waiver.until}: {gate.waiver.why}"
    if gate.waiver.active(today):
        return dataclasses.replace(verdict, waived=True, waiver=text)
    return dataclasses.replace(verdict, reason=f"{verdict.reason}; its waiver expired ({text})")


# --------------------------------------------------------------------------------------------------------------- telling


def _telling(test: _Test) -> tuple[Telling, ...]:
    """The samples that speak loudest against the gate: of the clusters with the worst pull, each one's worst sample."""
    found = test.estimate
    # the end of the span that is violated or nearest decides which direction is bad
    toward = 1.0 if np.isfinite(test.low) and (not np.isfinite(test.high) or found.value < (test.low + test.high) / 2) else -1.0
    line = test.low if toward > 0 else test.high
    pull = toward * (found.influence + found.weight * (found.value - line))
    worst = [int(i) for i in np.argsort(pull, kind="stable")[:SHOWN]]
    references = {} if test.reference is None else {name: i for i, name in enumerate(test.reference.sample)}
    told = []
    for place in worst:
        members = np.flatnonzero(test.rows.cluster == found.names[place])
        scored = []
        for index in members:
            ours = row_score(test.rows, test.metric, int(index))
            other = references.get(test.rows.sample[index])
            theirs = None if other is None or test.reference is None else row_score(test.reference, test.metric, other)
            worse = toward * (ours - (theirs or 0.0))
            scored.append((np.inf if np.isnan(worse) else worse, test.rows.sample[index], int(index), ours, theirs))  # it decided nothing
        _, sample, row, ours, theirs = min(scored, key=lambda item: item[:3])
        told.append(
            Telling(
                sample=sample,
                cluster=found.names[place],
                language=test.rows.language[row],
                pull=float(pull[place]),
                value=_finite(ours),
                against=_finite(theirs),
                shown=test.rows.shown_at(row),
            )
        )
    return tuple(told)


def _finite(value: float | None) -> float | None:
    """The number, or None where it is none: JSON has no NaN."""
    return value if value is not None and np.isfinite(value) else None
