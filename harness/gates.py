"""Gates: what a stage must satisfy, as the gates file of a profile says it, and the verdict on each.

A gates file (`goldens/gates/PROFILE.toml`) holds `[[gate]]` tables. `load_gates` checks every word of it against the profile and
expands lists of languages, so that one table becomes one guard a language, or one macro gate. `judge_stage` (its arithmetic stands in
`harness/rules.py` and `harness/statistics.py`, imported only then) decides. `python -m harness.gates lint|explain` shows both.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.suites import Metric

if TYPE_CHECKING:
    from harness.profiles import Profile
    from harness.rows import Rows

RULES = ("at_least", "at_most", "improves_on", "retains", "matches")
DISCORDANCE = 0.35  # share of answers that change between two checkpoints, where nobody has measured it
BASELINES = ("blessed", "release")
Rule = Literal["at_least", "at_most", "improves_on", "retains", "matches"]
Outcome = Literal["pass", "fail", "inconclusive", "not run"]
Metrics = Mapping[str, Mapping[str, Metric]]  # suite -> metric name -> Metric
RowsLookup = Callable[[str, str], "Rows | None"]  # (stage or baseline, suite) -> rows


class GatesError(Exception):
    """A gates file that cannot be used; the message names the file, the gate and the mend."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Waiver:
    """A known shortfall that somebody answers for until a day. It never turns a verdict into a pass."""

    who: str
    why: str
    until: datetime.date

    def active(self, today: datetime.date) -> bool:
        """Whether the waiver still stands on `today` (its last day included)."""
        return today <= self.until


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibrated:
    """What `harness.calibrate` measured for one gate, in the unit of its metric.

    `seed_sd` is the standard deviation, over training seeds on the same samples, of the candidate's side of the gate's contrast
    (candidate minus reference stage; for a blessed reference and for fixed lines the candidate's score itself); `seeds` is how many
    were trained; `standard_error` and `degrees` are the sampling error of the contrast; `reference` is the reference's score.
    """

    seed_sd: float
    seeds: int
    standard_error: float
    degrees: float
    reference: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate:
    """One rule over one suite's score, for one language (`guard`) or the equally weighted mean of several (`macro`)."""

    name: str  # STAGE.label.LANG
    stage: str
    label: str
    suite: str
    metric: str
    rule: Rule
    against: str = ""  # a stage, or "blessed" (both baselines); "" for a fixed line
    line: float | None = None
    margin: float | None = None  # absolute, in the metric's unit
    relative: float | None = None  # a fraction of the reference's score
    languages: tuple[str, ...]
    macro: bool = False
    stratum: str = ""
    reason: str
    waiver: Waiver | None = None
    family: int = 1  # gates of the stage in the file: what Holm corrects for
    calibrated: Calibrated | None = None

    @property
    def tier(self) -> str:
        """`macro` or `guard`."""
        return "macro" if self.macro else "guard"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Telling:
    """A sample that speaks against the gate: its cluster's pull on the score beyond the line, and what a person sees of it."""

    sample: str
    cluster: str
    language: str
    pull: float  # the cluster's share of (gain - line), in the metric's unit; negative is against the gate
    value: float | None = None
    against: float | None = None
    shown: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """The decision on one gate and what it rests on. Only `pass` is a pass."""

    gate: str
    verdict: Outcome
    reason: str  # one line for a person
    value: float | None = None  # the candidate's score
    line: float | None = None  # what `difference` (or `value`, for a fixed line) is held against, in the metric's unit and sign
    against: float | None = None  # the reference's score
    difference: float | None = None  # candidate - reference
    interval: tuple[float, float] | None = None  # two-sided 90 %: each end is a one-sided 95 % bound; of `difference`, else of `value`
    samples: int = 0
    clusters: int = 0
    detectable: float | None = None  # smallest true distance from the line found with 90 % power
    margin: float | None = None  # of the gate, in the metric's unit; None for a fixed line
    uncalibrated: bool = False  # the margin was not held against a detectable difference when the gates were loaded
    failing_p: float | None = None  # Holm-adjusted p-value of "the truth is on the passing side"
    exact: bool = False  # the rows are identical to the reference's: no interval was needed
    waived: bool = False
    waiver: str = ""
    awaits_baseline: bool = False  # not run only because nothing has been blessed yet
    telling: tuple[Telling, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it is a pass. A waived verdict never is."""
        return self.verdict == "pass"

    @property
    def blocks(self) -> bool:
        """Whether a stage may not be built on this one: anything but a pass that nobody waived."""
        return not self.passed and not self.waived

    @property
    def coarse(self) -> bool:
        """Whether the margin is less than these samples could tell from nought: a pass still is one, a loss of the margin is often missed."""
        return self.margin is not None and self.detectable is not None and self.detectable > self.margin and not self.exact

    def encode(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**dataclasses.asdict(self), "coarse": self.coarse}

    @classmethod
    def decode(cls, data: Mapping[str, Any]) -> Verdict:
        """Rebuild what `encode` wrote (after a trip through JSON)."""
        fields = {key: value for key, value in data.items() if key != "coarse"}
        fields["telling"] = tuple(Telling(**item) for item in fields.get("telling", ()))
        if fields.get("interval") is not None:
            fields["interval"] = tuple(fields["interval"])
        return cls(**fields)


def judge_stage(gates: Sequence[Gate], rows: RowsLookup, metrics: Metrics, *, today: datetime.date | None = None) -> dict[str, Verdict]:
    """Judge all gates of one stage; returns verdicts by full gate name, in the gates' order.

    Hand over the whole stage always and show what was selected: Holm's correction steps through the family that the file fixes.
    `rows(which, suite)` returns the rows of a checkpoint: `which` is the gates' own stage (the candidate), another stage (a reference
    checkpoint), or "blessed" / "release" (that baseline of the candidate's stage); None where there are none, which makes the gate
    `not run` (`harness.rules.rows_lookup` reads them from directories). `metrics`: suite -> name -> Metric.
    """
    from harness.rules import judge

    return judge(gates, rows, metrics, today or datetime.date.today())


def not_run(gate: Gate, reason: str) -> Verdict:
    """The verdict on a gate that could not be judged, and why."""
    return Verdict(gate=gate.name, verdict="not run", reason=reason)


def seed_variance(gate: Gate) -> tuple[float, int]:
    """The standard deviation that another training seed gives the gate's contrast, and the seeds it rests on; (0, 0) uncalibrated.

    A blessed checkpoint comes of a training of its own, so there the variance counts twice.
    """
    if gate.calibrated is None:
        return 0.0, 0
    return gate.calibrated.seed_sd * (2**0.5 if gate.against == "blessed" else 1.0), gate.calibrated.seeds


def expected_detectable(gate: Gate) -> float | None:
    """Distance from its line that the gate finds with 90 % power by its calibration (normal quantiles near enough); None uncalibrated."""
    if gate.calibrated is None:
        return None
    own, (seed, _) = gate.calibrated.standard_error, seed_variance(gate)
    widen = 1 + 0.82 / gate.calibrated.degrees  # t over normal quantiles to first order, (z^2 + 1) / 4, averaged over .95 and .90
    return widen * (1.6449 * own + 1.2816 * (own**2 + seed**2) ** 0.5)


def pairs_detectable(samples: int, discordance: float = DISCORDANCE) -> float:
    """What `samples` pairs of right and wrong find with 90 % power: (z_.95 + z_.90) sqrt(d / n), a share d of the answers having changed."""
    return 2.9264 * float((discordance / samples) ** 0.5)


def margin_of(gate: Gate, reference: float | None) -> float | None:
    """The margin in the metric's unit; a relative one needs the reference's score."""
    if gate.relative is None:
        return gate.margin
    return None if reference is None else gate.relative * abs(reference)


def load_gates(path: Path, profile: Profile, metrics: Metrics | None = None, *, calibrated: bool = True) -> tuple[Gate, ...]:
    """Read, check and expand a profile's gates file. Raises GatesError: one message that names the file, the gate and the mend.

    `metrics` (suite -> metric name -> Metric) lets metric names be checked too. With a calibration beside the file, each gate carries
    what was measured for it and a margin that cannot be told from nought is refused; `calibrated=False` ignores it (to calibrate anew).
    """
    from harness.gates_file import expanded

    return expanded(path, profile, metrics, calibrated=calibrated)


def gates_of(gates: Iterable[Gate], stage: str) -> tuple[Gate, ...]:
    """The gates of one stage, in the file's order."""
    return tuple(gate for gate in gates if gate.stage == stage)


def gates_digest(path: Path) -> str:
    """SHA-256 of what a gates file and the calibration beside it say; comments and layout do not count."""
    from harness.gates_file import digest_of

    return digest_of(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m harness.gates lint PATH|PROFILE` and `explain PROFILE [GATE]`; 0 well, 2 not."""
    from harness.gates_command import command

    return command(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
