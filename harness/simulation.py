"""How often the gates are wrong, by simulation with planted truth: `python -m harness.simulation [PROFILE] [--runs N]`.

Two tables, in Markdown. The first holds intervals against a known truth over few clusters, uneven sizes (to one cluster with a third of
all), skew and heavy tails: how often a 95 % interval covers, how often each one-sided bound errs, and the mean width as a multiple of
the plain t interval's. The second holds a profile's gates, judged by `judge_stage`:

- A/A: nothing changed but the training seed. Its effect is drawn anew in every run (on both sides, where the reference is a blessed
  checkpoint), and so is what a calibration of five seeds would have measured of it.
- on the line: the recipe's truth is exactly on each gate's line, the least favourable case of "nothing is wrong". How often does any
  gate of the stage raise an alarm (Holm's correction promises 5 % at most; the rate stands with its standard error), with that calibration
  and without? How often does a gate pass: of a checkpoint that is exactly on the line (5 % is what a one-sided bound promises), and of a
  recipe that is, whose checkpoints lie on either side of it by their seed? `exact` gates (rows that equal the reference's, no sampling
  error) are left out: on the line a hair decides, with certainty.
- defect: nothing was learned (`improves_on`), or the loss is twice the margin. How often is it called a fail?

What a gate's rows look like (clusters, variance between them, seed variance) is its calibration where there is one. Otherwise a shape
is assumed in units of its margin: 40 documents, a standard error of a sixth of the margin, seeds a sixth of it apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from harness.gates import Calibrated, Gate, GatesError, Verdict, judge_stage, load_gates
from harness.rows import Floats, Rows, Texts
from harness.statistics import compare
from harness.suites import Metric

Tail = Literal["normal", "skewed", "heavy", "very skewed"]
Scene = Literal["A/A", "line", "defect"]
SEEDS = 5
LEVEL = 2.0  # the reference's score where no calibration says one


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """What the rows behind one gate look like. Standard deviations are of a cluster's own score, in the metric's unit."""

    clusters: int = 40
    difference_sd: float = 0.1  # of candidate - reference between clusters
    level_sd: float = 0.3  # of what candidate and reference share
    seed_sd: float = 0.02  # of the candidate's score between training seeds
    sizes: float = 0.5  # standard deviation of the logarithm of a cluster's size
    dominant: float = 0.0  # share of all that one cluster holds beyond chance
    tail: Tail = "normal"


def deviates(rng: np.random.Generator, tail: Tail, shape: tuple[int, ...]) -> Floats:
    """Draws of mean 0 and standard deviation 1 (heavy: Student's t of 3 degrees; skewed: exponential; very skewed: lognormal)."""
    if tail == "normal":
        return rng.standard_normal(shape)
    if tail == "heavy":
        return rng.standard_t(3, shape) / 3**0.5
    if tail == "skewed":
        return rng.exponential(1.0, shape) - 1
    return (np.exp(rng.standard_normal(shape)) - np.exp(0.5)) / ((np.e - 1) * np.e) ** 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Draws rows of one metric: the ids stay, sizes and values are drawn anew."""

    metric: Metric
    languages: tuple[str, ...]
    shape: Shape
    names: Texts
    clusters: Texts
    language: Texts
    stratum: Texts

    @classmethod
    def of(cls, metric: Metric, languages: tuple[str, ...], shape: Shape, stratum: str = "") -> Source:
        """Every cluster is a document that exists in all the languages."""
        places = [(cluster, language) for cluster in range(shape.clusters) for language in languages]

        def texts(items: list[str]) -> Texts:
            column = np.empty(len(items), dtype=object)
            column[:] = items
            return column

        return cls(
            metric=metric,
            languages=languages,
            shape=shape,
            names=texts([f"{language}{cluster}" for cluster, language in places]),
            clusters=texts([f"c{cluster}" for cluster, _ in places]),
            language=texts([language for _, language in places]),
            stratum=texts([stratum] * len(places)),
        )

    def draw(self, rng: np.random.Generator, level: float, difference: float) -> tuple[Rows, Rows]:
        """A candidate and a reference whose true scores are `level` + `difference` and `level`.

        Half of the variance is a document's own, common to its languages.
        """
        shape, languages = self.shape, len(self.languages)
        cells = (shape.clusters, languages)

        def effect() -> Floats:
            common, own = deviates(rng, shape.tail, (shape.clusters, 1)), deviates(rng, shape.tail, cells)
            return np.repeat(common, languages, 1) if languages == 1 else (common + own) / 2**0.5

        if self.metric.binary:
            return self._binary(rng, level, difference)
        size = np.exp(rng.normal(5, shape.sizes, (shape.clusters, 1))) * np.ones(cells) if self.metric.denominator else np.ones(cells)
        if shape.dominant:
            size[0] = size[1:].sum(0) * shape.dominant / (1 - shape.dominant)
        reference = level + shape.level_sd * effect()
        candidate = reference + difference + shape.difference_sd * effect()
        return self._rows(candidate * size, size), self._rows(reference * size, size)

    def _binary(self, rng: np.random.Generator, level: float, difference: float) -> tuple[Rows, Rows]:
        cells = (self.shape.clusters, len(self.languages))
        right = rng.random(cells) < level
        change = abs(difference)
        turned = (rng.random(cells) < change / max(1e-9, 1 - level if difference > 0 else level)) & (right == (difference < 0))
        one = np.ones(cells)  # where a metric counts what it is asked of
        return self._rows((right ^ turned).astype(np.float64), one), self._rows(right.astype(np.float64), one)

    def _rows(self, numerator: Floats, size: Floats | None) -> Rows:
        values = {self.metric.numerator: numerator.ravel()}
        if self.metric.denominator and size is not None:
            values[self.metric.denominator] = size.ravel()
        count = np.ones(len(self.names))
        return Rows(sample=self.names, cluster=self.clusters, language=self.language, stratum=self.stratum, count=count, values=values)


# -------------------------------------------------------------------------------------------------------------- coverage

RATIO = Metric(name="ratio", numerator="n", denominator="d", direction="lower")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coverage:
    """Of the intervals of one shape: the share that covers at 95 %, and of one-sided 95 % bounds that err (5 % are promised)."""

    shape: Shape
    languages: int
    covered: float
    lower_errs: float
    upper_errs: float
    width: float  # mean width of the interval, as a multiple of the plain t interval's


def coverage(shape: Shape, *, languages: int = 1, runs: int = 1000, seed: int = 0) -> Coverage:
    """Simulate paired differences of ratio metrics, the truth being 0.1."""
    rng = np.random.default_rng(seed)
    names = tuple(f"l{i}" for i in range(languages))
    source = Source.of(RATIO, names, shape)
    truth, covered, below, above, width, narrow = 0.1, 0, 0, 0, 0.0, 0.0
    for _ in range(runs):
        found = compare(*source.draw(rng, LEVEL, truth), RATIO, names)
        low, high = found.interval()
        covered += low <= truth <= high
        below += found.lower() > truth
        above += found.upper() < truth
        width += high - low
        low, high = dataclasses.replace(found, skewness=0.0).interval()
        narrow += high - low
    parts = (covered / runs, below / runs, above / runs, width / narrow)
    return Coverage(shape=shape, languages=languages, covered=parts[0], lower_errs=parts[1], upper_errs=parts[2], width=parts[3])


_CASES: tuple[tuple[Tail, float, int], ...] = (
    ("normal", 0.0, 1),
    ("normal", 0.5, 1),
    ("normal", 0.5, 9),
    ("normal", 1.0, 1),
    ("skewed", 0.5, 1),
    ("skewed", 0.5, 9),
    ("heavy", 0.5, 1),
    ("very skewed", 0.5, 1),
)
COVERAGE_SHAPES: tuple[tuple[Shape, int], ...] = tuple(
    (Shape(clusters=clusters, sizes=sizes, tail=tail), languages) for tail, sizes, languages in _CASES for clusters in (20, 30, 60)
) + tuple((Shape(clusters=26, dominant=1 / 3, tail=tail), 1) for tail in ("normal", "skewed", "heavy", "very skewed"))


def coverage_table(runs: int, seed: int = 0) -> str:
    """The first table."""
    lines = [
        "| clusters' effects | log-sd of sizes | languages | clusters | 95 % interval covers | lower bound errs | upper bound errs | width |",
        "|" + "---|" * 8,
    ]
    for shape, languages in COVERAGE_SHAPES:
        found = coverage(shape, languages=languages, runs=runs, seed=seed)
        cells = (
            shape.tail,
            f"{shape.sizes}, one holds {100 * shape.dominant:.0f} %" if shape.dominant else shape.sizes,
            languages,
            shape.clusters,
            *(f"{100 * x:.1f} %" for x in (found.covered, found.lower_errs, found.upper_errs)),
            f"{found.width:.2f}",
        )
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


# ----------------------------------------------------------------------------------------------------------------- gates


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planted:
    """One gate, the shape of its rows, and the truths of the scenes (candidate - reference, in the metric's sign)."""

    gate: Gate
    metric: Metric
    shape: Shape
    level: float  # the reference's true score; for a fixed line the line itself
    honest: float
    line: float
    defect: float

    @property
    def exact(self) -> bool:
        """Whether the gate asks for equality and its rows showed it: beyond the line is then beyond doubt, and on it undefined."""
        measured = self.gate.calibrated
        return self.gate.rule == "matches" and measured is not None and measured.standard_error <= 1e-6 * (self.gate.margin or 1.0)

    def truth(self, scene: Scene) -> float:
        """The planted difference."""
        return {"A/A": self.honest, "line": self.line, "defect": self.defect}[scene]


def plant(gate: Gate, metric: Metric, shape: Shape | None = None) -> Planted:
    """Set the truths of a gate: its honest recipe clears the line by the margin (at a fixed line by five standard errors)."""
    up = 1.0 if metric.direction == "higher" else -1.0
    measured = gate.calibrated
    level = measured.reference if measured and measured.reference is not None else 0.6 if metric.binary else LEVEL
    if gate.line is not None:
        level = gate.line
    margin = gate.margin if gate.margin is not None else (gate.relative or 0.0) * abs(level)
    unit = margin or 0.1
    if shape is None and measured is not None:
        clusters = max(20, round(measured.degrees) + 1)
        sd = measured.standard_error * clusters**0.5
        shape = Shape(clusters=clusters, difference_sd=sd, level_sd=3 * sd, seed_sd=measured.seed_sd, sizes=0.0)
    elif shape is None:
        # what must match its parent was not trained: no seed
        seed_sd = 0.0 if gate.rule == "matches" else unit / 6
        shape = Shape(difference_sd=unit * 40**0.5 / 6, level_sd=unit * 40**0.5 / 2, seed_sd=seed_sd, sizes=0.0)
    if gate.line is not None:
        shape = dataclasses.replace(shape, level_sd=0.0)  # a score has no reference to share anything with
    good = up if gate.rule in ("improves_on", "retains") else 1.0 if gate.rule == "at_least" else -1.0
    spread = shape.difference_sd
    if metric.binary and gate.line is not None:
        # On its line a share has that share's error; the calibrated one, nearer to 0 or 1, is smaller.
        spread = max(spread, (max(level, 0.01) * max(1 - level, 0.01)) ** 0.5)
    clear = 5 * spread / shape.clusters**0.5 + 2 * shape.seed_sd
    honest, line, defect = {
        "improves_on": (2 * margin, margin, 0.0),
        "retains": (0.0, -margin, -2 * margin),
        "matches": (0.0, margin, 2 * margin),
        "at_least": (clear, 0.0, -clear),
        "at_most": (clear, 0.0, -clear),
    }[gate.rule]
    return Planted(gate=gate, metric=metric, shape=shape, level=level, honest=good * honest, line=good * line, defect=good * defect)


def run_stage(
    planted: Sequence[Planted], scene: Scene, rng: np.random.Generator, *, calibrated: bool = True, seeded: bool = True
) -> dict[str, Verdict]:
    """Draw every gate's rows in a scene and judge the stage. Gates are drawn independently: the hardest case for "any" and for "all".

    `seeded=False` leaves the seed's effect out: the truth is then the checkpoint's. `calibrated=False` keeps its size from the gates.
    """
    gates, drawn, metrics = [], {}, {}
    for place, one in enumerate(planted):
        suite = f"suite{place}"
        seed = rng.normal(0, one.shape.seed_sd) - (rng.normal(0, one.shape.seed_sd) if one.gate.against == "blessed" else 0.0)
        source = Source.of(one.metric, one.gate.languages, one.shape, one.gate.stratum)
        difference = one.truth(scene) + seeded * seed
        candidate, reference = source.draw(rng, one.level, difference)
        drawn[suite] = candidate, reference
        metrics[suite] = {one.gate.metric: one.metric}
        measured = None
        if calibrated and one.shape.seed_sd > 0:
            guess = one.shape.seed_sd * (rng.chisquare(SEEDS - 1) / (SEEDS - 1)) ** 0.5  # what five seeds would have shown
            measured = Calibrated(seed_sd=guess, seeds=SEEDS, standard_error=0.0, degrees=one.shape.clusters - 1)
        gates.append(dataclasses.replace(one.gate, suite=suite, calibrated=measured, waiver=None))
    stage = gates[0].stage
    return judge_stage(gates, lambda which, suite: None if which == "release" else drawn[suite][which != stage], metrics)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rates:
    """What was decided, over the runs: of the whole stage, and gate by gate."""

    any_fail: float
    all_pass: float
    fails: dict[str, float]
    passes: dict[str, float]
    runs: int
    gates: int  # how many were drawn: on the line, without the exact ones

    @property
    def any_error(self) -> float:
        """Standard error of `any_fail`, by Wilson's centre, so that none or all of the runs are not certainty."""
        share = (self.any_fail * self.runs + 2) / (self.runs + 4)
        return float((share * (1 - share) / self.runs) ** 0.5)


def rates(planted: Sequence[Planted], scene: Scene, *, runs: int, seed: int = 0, calibrated: bool = True, seeded: bool = True) -> Rates:
    """Simulate a stage in a scene (see `run_stage`)."""
    rng = np.random.default_rng(seed)
    if scene == "line":
        planted = [one for one in planted if not one.exact]
    if not planted:
        return Rates(any_fail=0.0, all_pass=0.0, fails={}, passes={}, runs=runs, gates=0)
    fails = {one.gate.name: 0 for one in planted}
    passes = dict(fails)
    any_fail = all_pass = 0
    for _ in range(runs):
        found = run_stage(planted, scene, rng, calibrated=calibrated, seeded=seeded)
        any_fail += any(verdict.verdict == "fail" for verdict in found.values())
        all_pass += all(verdict.passed for verdict in found.values())
        for name, verdict in found.items():
            fails[name] += verdict.verdict == "fail"
            passes[name] += verdict.passed
    share = {name: count / runs for name, count in fails.items()}
    return Rates(
        any_fail=any_fail / runs,
        all_pass=all_pass / runs,
        fails=share,
        passes={name: count / runs for name, count in passes.items()},
        runs=runs,
        gates=len(planted),
    )


COLUMNS = (
    "gates",
    "A/A: false alarm",
    "A/A: pass",
    "on the line: false alarm",
    "the same, seeds ignored",
    "checkpoint on the line: pass",
    "recipe on the line: pass",
    "defect: fail",
)


def stage_lines(stage: str, planted: Sequence[Planted], *, runs: int, seed: int = 0) -> Iterator[str]:
    """The lines of one stage: all of it (any alarm, all pass), and under it each group of gates (name and tier) with its worst gate."""
    same = rates(planted, "A/A", runs=runs, seed=seed)
    line = rates(planted, "line", runs=runs, seed=seed)
    blind = rates(planted, "line", runs=runs, seed=seed, calibrated=False)
    exact = rates(planted, "line", runs=runs, seed=seed, seeded=False)
    defect = rates(planted, "defect", runs=runs, seed=seed)
    groups: dict[str, list[str]] = {f"**{stage}**, all {len(planted)}": [one.gate.name for one in planted]}
    for one in planted:
        groups.setdefault(f"{one.gate.label}, {one.gate.tier}", []).append(one.gate.name)
    for place, (title, names) in enumerate(groups.items()):
        drawn = [name for name in names if name in line.fails]
        shares = [
            same.any_fail if place == 0 else max(same.fails[name] for name in names),
            same.all_pass if place == 0 else min(same.passes[name] for name in names),
            *((rate.any_fail if place == 0 else max(rate.fails[name] for name in drawn)) if drawn else None for rate in (line, blind)),
            *(max(rate.passes[name] for name in drawn) if drawn else None for rate in (exact, line)),
            min(defect.fails[name] for name in names),
        ]
        cells = ["exact" if share is None else f"{100 * share:.1f} %" for share in shares]
        if place == 0 and drawn:
            cells[2] += f" ± {100 * line.any_error:.1f} of {line.gates}"
        yield f"| {title} | " + " | ".join(cells) + " |"


def gate_table(stages: Mapping[str, Sequence[Planted]], *, runs: int, seed: int = 0) -> Iterator[str]:
    """The second table, a line as soon as it is known: a stage of many gates takes minutes."""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|" + "---|" * len(COLUMNS)
    for stage, planted in stages.items():
        yield from stage_lines(stage, planted, runs=runs, seed=seed)


def planted_gates(name: str) -> dict[str, list[Planted]]:
    """The gates of a profile by stage, each with its truths. Raises GatesError, ProfileError or SuiteError."""
    from harness import profiles
    from harness.rules import suite_metrics

    profile = profiles.load(name)
    metrics = {suite: suite_metrics(profile, suite) for suite in profile.suites}
    stages: dict[str, list[Planted]] = {}
    for gate in load_gates(profile.gates, profile, metrics):
        stages.setdefault(gate.stage, []).append(plant(gate, metrics[gate.suite][gate.metric]))
    return stages


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables."""
    from harness.profiles import ProfileError
    from harness.suites import SuiteError

    parser = argparse.ArgumentParser(prog="python -m harness.simulation", description="false alarms, power and coverage by simulation")
    parser.add_argument("profile", nargs="?", default="nano")
    parser.add_argument("--runs", type=int, default=1000, help="simulated runs a cell (the error of a rate of 5 %% is 0.7 %% at 1,000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        stages = planted_gates(options.profile)
    except (GatesError, ProfileError, SuiteError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Intervals, {options.runs} runs a line\n\n{coverage_table(options.runs, options.seed)}\n", flush=True)
    calibrated = sum(one.gate.calibrated is not None for found in stages.values() for one in found)
    total = sum(len(found) for found in stages.values())
    print(f"Gates of {options.profile}, {options.runs} runs a scene; {calibrated} of {total} gates with a calibrated shape\n")
    for line in gate_table(stages, runs=options.runs, seed=options.seed):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
