"""Measures what a profile's gates can see: `python -m harness.calibrate --profile nano --seeds 5`.

Every stage is trained anew over seeds, on the same parents: a gate asks what this stage made of its parent, so what another parent would
have been is no part of its error. Printed beside each other: the sampling error of a contrast (documents drawn anew), its spread
between seeds (training run anew), the least margin that both leave visible, and how far each gate's line is from the mean in standard
errors. The figures go into `goldens/calibration/PROFILE.json`, with the digests of what they are figures of (`harness/calibration.py`);
from it a gates file is checked at load: a margin that cannot be told from nought is refused. `--chains` trains whole chains instead,
parents and all, and leaves the file alone: do other releases stay green?
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import calibration, profiles
from harness.durable import write_json
from harness.gates import Calibrated, Gate, GatesError, expected_detectable, gates_of, load_gates
from harness.pipeline import TOLD, Pipeline
from harness.profiles import Profile
from harness.progress import Progress
from harness.rules import contrast, rows_lookup, suite_metrics
from harness.settings import Settings
from harness.statistics import Estimate

SEED_STEP = 1000  # between two seeds of a stage, so that no two stages share one


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What the seeds showed of one gate. `distance` is the mean contrast's distance from its line in standard errors of one run."""

    gate: Gate
    contrasts: tuple[float, ...]
    sampling: float
    degrees: float
    line: float
    reference: float | None
    above: bool  # whether more is on the passing side

    @property
    def mean(self) -> float:
        """The mean contrast over the seeds."""
        return sum(self.contrasts) / len(self.contrasts)

    @property
    def seed_sd(self) -> float:
        """Standard deviation between seeds (unbiased variance)."""
        return (sum((value - self.mean) ** 2 for value in self.contrasts) / (len(self.contrasts) - 1)) ** 0.5

    @property
    def distance(self) -> float:
        """Signed distance of the mean from the line, in standard errors (sampling and seed together); positive is on the passing side."""
        total = (self.sampling**2 + self.seed_sd**2) ** 0.5
        if self.gate.rule == "matches":
            away = (self.gate.margin or 0.0) - abs(self.mean - (self.gate.line or 0.0))
        else:
            away = (self.mean - self.line) * (1 if self.above else -1)
        return away / total if total else math.copysign(math.inf, away)

    def calibrated(self) -> Calibrated:
        """What the gates file is checked against."""
        return Calibrated(
            seed_sd=self.seed_sd, seeds=len(self.contrasts), standard_error=self.sampling, degrees=self.degrees, reference=self.reference
        )


def reseeded(profile: Profile, seed: int, only: str = "") -> Profile:
    """The profile with the seed of one stage moved, or of every stage: another run of the same recipe.

    A corpus is curated of another crawl; what its classifier of quality learns from stays.
    """
    stages = {}
    for name, entry in profile.stages.items():
        recipe: Any = entry.recipe
        if seeded(recipe) and only in ("", name):
            recipe = _moved(recipe, seed)
        stages[name] = dataclasses.replace(entry, recipe=recipe)
    return dataclasses.replace(profile, stages=stages, build="auto")


def seeded(recipe: Any) -> bool:
    """Whether a run of the recipe draws anything: a seed of its own, or an embedded crawl that is drawn by one."""
    return hasattr(recipe, "seed") or hasattr(getattr(recipe, "crawl", None), "seed")


def _moved(recipe: Any, seed: int) -> Any:
    if hasattr(recipe, "seed"):
        return dataclasses.replace(recipe, seed=recipe.seed + SEED_STEP * seed)
    return dataclasses.replace(recipe, crawl=_moved(recipe.crawl, seed))


def run(settings: Settings, seeds: int, progress: Progress, chains: bool = False) -> list[Finding]:
    """Train every stage over `seeds` seeds (reusing what the store has) and measure every gate that compares or has a line.

    Raises GatesError.
    """
    if seeds < 3:
        raise GatesError(f"--seeds {seeds}: a spread needs 3 seeds or more")
    profile = settings.profile
    metrics = {name: suite_metrics(profile, name) for name in profile.suites}
    estimates: dict[str, list[Estimate]] = {}
    lines: dict[str, tuple[float, bool]] = {}
    for seed in range(seeds):
        for stage, entry in profile.stages.items():
            moved = reseeded(profile, seed if chains or seeded(entry.recipe) else 0, "" if chains else stage)
            told = dataclasses.replace(settings, profile=moved, label=f"seed{seed}" if seed else "main", ungated=True, calibrated=False)
            pipeline = Pipeline(told, progress)
            certificate = pipeline.certify(stage)
            if certificate.cause:
                raise GatesError(f"seed {seed}: {certificate.cause[1]}")
            lookup = rows_lookup({name: Path(path) for name, path in certificate.rows.items()}, {})
            for gate in gates_of(pipeline.gates, stage):
                found = None if gate.against == "blessed" else contrast(gate, lookup, metrics)
                if found is not None:
                    estimates.setdefault(gate.name, []).append(found[0])
                    lines[gate.name] = (found[1], found[2])
                if certificate.verdicts[gate.name].verdict not in ("pass", "not run"):
                    progress.say(f"seed {seed}: {gate.name} {certificate.verdicts[gate.name].verdict}")
    return [
        _finding(gate, estimates[gate.name], *lines[gate.name]) for gate in pipeline.gates if len(estimates.get(gate.name, ())) == seeds
    ]


def _finding(gate: Gate, found: Sequence[Estimate], line: float, above: bool) -> Finding:
    references = [estimate.reference for estimate in found if estimate.reference is not None]
    return Finding(
        gate=gate,
        contrasts=tuple(estimate.value for estimate in found),
        sampling=(sum(estimate.standard_error**2 for estimate in found) / len(found)) ** 0.5,
        degrees=min(estimate.degrees for estimate in found),
        line=line,
        reference=sum(references) / len(references) if references else None,
        above=above,
    )


def table(findings: Sequence[Finding]) -> str:
    """The findings as aligned text, the tightest gate first."""
    head = ("gate", "mean", "sampling SE", "seed SD", "line", "SE from line", "least margin", "margin")
    lines = [head]
    for finding in sorted(findings, key=lambda finding: finding.distance):
        least = expected_detectable(dataclasses.replace(finding.gate, calibrated=finding.calibrated()))
        margin = finding.gate.margin if finding.gate.relative is None else finding.gate.relative * abs(finding.reference or 0.0)
        lines.append(
            (
                finding.gate.name,
                f"{finding.mean:+.4f}",
                f"{finding.sampling:.4f}",
                f"{finding.seed_sd:.4f}",
                f"{finding.line:+.4f}",
                f"{finding.distance:.1f}",
                "" if least is None else f"{least:.4f}",
                "" if margin is None else f"{margin:.4f}",
            )
        )
    widths = [max(len(row[i]) for row in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))) for row in lines
    )


def save(profile: Profile, findings: Sequence[Finding]) -> Path:
    """Write the calibration beside the gates file: the figures, the recipes that they are of, and the gates that have none."""
    path = calibration.path_of(profile.gates)
    path.parent.mkdir(parents=True, exist_ok=True)
    measured = {finding.gate: finding.calibrated() for finding in findings}
    write_json(path, calibration.encoded(profile, measured, load_gates(profile.gates, profile, calibrated=False)))
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 2 a clear error."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.calibrate", description="Retrain over seeds and measure what the gates can see."
    )
    parser.add_argument("--profile", default="nano")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--store", type=Path, default=Path(".seatrials"))
    parser.add_argument("--hub", type=Path, default=None)
    parser.add_argument("--chains", action="store_true", help="reseed parents and all; implies --dry")
    parser.add_argument("--dry", action="store_true", help="print, and leave the calibration file as it is")
    given = parser.parse_args(arguments)
    try:
        profile = profiles.load(given.profile)
        settings = Settings(profile=profile, store=given.store.absolute(), hub=given.hub.absolute() if given.hub else None)
        findings = run(settings, given.seeds, Progress(sys.stderr, live=sys.stderr.isatty()), given.chains)
        print(table(findings))
        if not (given.dry or given.chains):
            print(f"\nwritten: {save(profile, findings)}")
    except (*TOLD, profiles.ProfileError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
