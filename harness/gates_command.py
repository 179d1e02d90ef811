"""`python -m harness.gates lint|explain`: check a gates file, and say each gate in words with what it needs.

python -m harness.gates lint nano                 every word checked against profile, suites and metrics
python -m harness.gates lint path/to/gates.toml   TOML, keys, rules and waivers alone, where no profile uses the file
python -m harness.gates explain nano [GATE]       rule, line, family, n needed, detectable difference
"""

from __future__ import annotations

import argparse
import datetime
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import calibration, profiles, quick
from harness.gates import (
    DISCORDANCE,
    Gate,
    GatesError,
    Metrics,
    expected_detectable,
    load_gates,
    margin_of,
    pairs_detectable,
    seed_variance,
)
from harness.gates_file import check_words
from harness.profiles import Profile, ProfileError
from harness.rules import suite_metrics
from harness.suites import SuiteError

WORDS = {
    "at_least": "must be at least {line}",
    "at_most": "must be at most {line}",
    "improves_on": "must be better than that of {against} by more than {margin}",
    "retains": "must not be worse than that of {against} by {margin}",
    "matches": "must lie within {margin} of {against}",
}


def command(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 well, 2 a gates file or profile with a mistake (one message on stderr)."""
    parser = argparse.ArgumentParser(prog="python -m harness.gates", description="check a gates file, or say its gates in words")
    commands = parser.add_subparsers(dest="command", required=True)
    lint = commands.add_parser("lint", help="check a gates file")
    lint.add_argument("what", metavar="PATH|PROFILE", help="a profile (name or .py file), or a gates file (.toml)")
    explain = commands.add_parser("explain", help="say each gate in words")
    explain.add_argument("profile", metavar="PROFILE")
    explain.add_argument("gate", metavar="GATE", nargs="?", default="", help="a full name, or its beginning")
    options = parser.parse_args(arguments)
    try:
        return _lint(options.what) if options.command == "lint" else _explain(options.profile, options.gate)
    except (GatesError, ProfileError, SuiteError) as error:
        print(error, file=sys.stderr)
        return 2


def _lint(what: str) -> int:
    if what.endswith(".toml"):
        path = Path(what)
        built_in = _profile_of(path)
        if built_in is None:
            print(f"{path}: {check_words(path)} tables are well formed; no profile uses the file, so names are unchecked")
            return 0
        what = built_in
    profile = profiles.load(what)
    metrics = _metrics(profile)
    gates = load_gates(profile.gates, profile, metrics)
    stages = {gate.stage: gate.family for gate in gates}
    measured = sum(gate.calibrated is not None for gate in gates)
    print(
        f"{profile.gates}: {len(gates)} gates ({', '.join(f'{stage} {count}' for stage, count in stages.items())}); {measured} calibrated"
    )
    for note in calibration.notes(profile, gates):
        print(note)
    for gate in gates:
        if said := _blind_pairs(gate, metrics, profile):
            print(said)
        if gate.waiver and not gate.waiver.active(datetime.date.today()):
            print(f"{gate.name}: its waiver ({gate.waiver.who}) expired on {gate.waiver.until}; mend the gate or renew it")
    return 0


def _blind_pairs(gate: Gate, metrics: Metrics, profile: Profile) -> str:
    """For an uncalibrated gate on answers right or wrong: whether the committed sample is too small for its margin; "" where not known."""
    drawn = quick.read(quick.path_of(profile)).get(gate.suite)
    if gate.calibrated or not gate.against or gate.margin is None or drawn is None or not metrics[gate.suite][gate.metric].binary:
        return ""
    found = pairs_detectable(len(drawn.ids))
    if found <= gate.margin:
        return ""
    return (
        f"{gate.name}: uncalibrated, and its margin of {gate.margin:.4g} is below the {found:.4g} that the {len(drawn.ids)} committed pairs of "
        f"{gate.suite} detect at best, if {DISCORDANCE:.0%} of the answers change"
    )


def _profile_of(path: Path) -> str | None:
    """The built-in profile whose gates file this is."""
    for name in profiles.BUILT_IN:
        try:
            if path.resolve() == profiles.load(name).gates.resolve():
                return name
        except (ProfileError, ImportError):
            continue
    return None


def _metrics(profile: Profile) -> Metrics:
    return {suite: suite_metrics(profile, suite) for suite in profile.suites}


def _explain(name: str, wanted: str) -> int:
    profile = profiles.load(name)
    metrics = _metrics(profile)
    gates = [gate for gate in load_gates(profile.gates, profile, metrics) if gate.name.startswith(wanted)]
    if not gates:
        raise GatesError(f"{profile.gates}: no gate {wanted}; `python -m harness.gates explain {name}` lists them")
    for gate in gates:
        print(in_words(gate, metrics[gate.suite][gate.metric].direction))
    return 0


def in_words(gate: Gate, direction: str) -> str:
    """A gate in a few lines: what must hold, why, at which level it fails, and what it can tell apart."""
    where = f"the mean of {', '.join(gate.languages)}" if gate.macro else gate.languages[0]
    stratum = f", {gate.stratum} alone" if gate.stratum else ""
    margin = f"{gate.relative:.1%} of its score" if gate.relative is not None else f"{gate.margin}"
    against = {"": f"{gate.line}", "blessed": "the blessed and the release baseline"}.get(gate.against, gate.against)
    rule = WORDS[gate.rule].format(line=gate.line, against=against, margin=margin)
    lines = [
        f"{gate.name}  ({gate.tier})",
        f"  {gate.metric} of {gate.suite} ({direction} is better) in {where}{stratum} {rule}",
        f"  why: {gate.reason}",
        "  pass: one-sided 95 % bound; fail: opposite bound beyond the line at 5 %, Holm-corrected for the "
        f"{gate.family} gates of {gate.stage}; at least 20 clusters",
    ]
    if gate.waiver:
        lines.append(f"  waived by {gate.waiver.who} until {gate.waiver.until}: {gate.waiver.why}")
    measured, found = gate.calibrated, expected_detectable(gate)
    if measured is None or found is None:
        return "\n".join(
            [*lines, "  detectable difference: shown with every verdict; `python -m harness.calibrate` measures it beforehand"]
        )
    seed, seeds = seed_variance(gate)
    lines.append(
        f"  detectable at 90 % power: {found:.4g} (standard error {measured.standard_error:.3g}; between {seeds} seeds {seed:.3g})"
    )
    if (room := margin_of(gate, measured.reference)) is not None:
        lines.append(f"  n needed for its margin of {room:.4g}: {_needed(measured.standard_error, measured.degrees, seed, room)}")
    return "\n".join(lines)


def _needed(standard_error: float, degrees: float, seed: float, margin: float) -> str:
    """How many clusters the margin needs, from the calibrated ones: the sampling error falls with their root, the seeds' does not."""
    low, high = 0.0, 100.0 * standard_error + margin
    for _ in range(60):  # the largest sampling error at which the margin is still detectable
        middle = (low + high) / 2
        low, high = (middle, high) if 1.6449 * middle + 1.2816 * math.hypot(middle, seed) <= margin else (low, middle)
    if low < 1e-9 * margin:
        return "no number is enough: the training seeds alone differ by more"
    return f"about {max(20, math.ceil((degrees + 1) * (standard_error / low) ** 2))} clusters"
