"""The calibration that stands beside a gates file: what `harness.calibrate` measured, and of which recipes and comparisons.

It is read at every load. A gate whose comparison moved since (another suite, metric, reference, language) has no calibration any more; a
recipe that moved leaves its gates the old figures, which are nearer than none. `notes` says both, for the plan and for `lint`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import goldens
from harness.gates import Calibrated, Gate, GatesError
from training.recipe import digest, encode

if TYPE_CHECKING:
    from harness.profiles import Profile


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """A calibration file. `recipes` and `contrasts` are None in a file of before they were kept: what it was made of is then unknown."""

    gates: Mapping[str, Calibrated]
    recipes: Mapping[str, str] | None = None  # stage -> digest of the recipe that was trained
    contrasts: Mapping[str, str] | None = None  # gate -> digest of what was compared
    unmeasured: Mapping[str, str] = dataclasses.field(default_factory=dict)  # gate -> why it holds no figures

    def of(self, gate: Gate, profile: Profile) -> Calibrated | None:
        """What was measured of a gate; None where nothing was, or where something else than the gate compares today."""
        if self.contrasts is not None and self.contrasts.get(gate.name) != contrast_digest(gate, profile):
            return None
        return self.gates.get(gate.name)


def path_of(gates: Path) -> Path:
    """Where the calibration of a gates file stands: `goldens/calibration/STEM.json` for `goldens/gates/STEM.toml`."""
    return goldens.beside(gates) / "calibration" / f"{gates.stem}.json"


def read(path: Path) -> Calibration | None:
    """What `harness.calibrate` wrote; None where there is no such file. Raises GatesError."""
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != 1:
            raise ValueError(f"schema is {data['schema']!r}")
        fields = {field.name for field in dataclasses.fields(Calibrated)}
        found = {name: Calibrated(**{key: value for key, value in entry.items() if key in fields}) for name, entry in data["gates"].items()}
        if bad := [name for name, entry in found.items() if not (entry.seed_sd >= 0 and entry.standard_error >= 0 and entry.degrees >= 1)]:
            raise ValueError(f"{bad[0]} holds a negative or missing number")
        kept = "recipes" in data
        return Calibration(
            gates=found,
            recipes=dict(data["recipes"]) if kept else None,
            contrasts={name: str(entry["contrast"]) for name, entry in data["gates"].items()} if kept else None,
            unmeasured=dict(data.get("unmeasured", {})),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GatesError(f"{path} is not a calibration ({error}); run `python -m harness.calibrate` again") from error


def encoded(profile: Profile, measured: Mapping[Gate, Calibrated], gates: Iterable[Gate]) -> dict[str, Any]:
    """The file's content: figures of the measured gates, what they are figures of, and which of all `gates` have none."""
    named = {gate.name for gate in measured}
    return {
        "schema": 1,
        "profile": profile.name,
        "recipes": {stage: recipe_digest(profile, stage) for stage in profile.stages},
        "gates": {gate.name: {**dataclasses.asdict(found), "contrast": contrast_digest(gate, profile)} for gate, found in measured.items()},
        "unmeasured": {
            gate.name: "a blessed checkpoint is not retrained" if gate.against == "blessed" else "some seed's rows gave no comparison"
            for gate in gates
            if gate.name not in named
        },
    }


def recipe_digest(profile: Profile, stage: str) -> str:
    """What a stage's training was told: its recipe with the version of its code, and its parents."""
    recipe = profile.stages[stage].recipe
    return digest({"recipe": encode(recipe), "version": recipe.version, "parents": list(profile.parents(stage))})


def contrast_digest(gate: Gate, profile: Profile) -> str:
    """What a gate compares: suite, metric, reference, languages, stratum. Lines and margins are not of it: they are set by the figures."""
    spec = profile.suites[gate.suite]
    return digest(
        {
            "suite": [spec.suite, encode(dict(spec.options))],
            "metric": gate.metric,
            "fixed": not gate.against,
            "against": gate.against,
            "languages": list(gate.languages),
            "stratum": gate.stratum,
        }
    )


def moved(found: Calibration, profile: Profile) -> tuple[str, ...]:
    """The stages that are trained by another recipe than the one that was calibrated."""
    recipes = found.recipes or {}
    return tuple(stage for stage in profile.stages if found.recipes is not None and recipes.get(stage) != recipe_digest(profile, stage))


def notes(profile: Profile, gates: Sequence[Gate]) -> list[str]:
    """What the margins do not rest on, a line each: gates without figures, and figures of other recipes. Raises GatesError."""
    found = read(path_of(profile.gates))
    mend = f"run `python -m harness.calibrate --profile {profile.name} --seeds 5`"
    without = [gate.name for gate in gates if gate.calibrated is None]
    said = []
    if without:
        which = "all" if len(without) == len(gates) else f"{len(without)} of {len(gates)}"
        few = "" if len(without) == len(gates) else f" ({', '.join(without[:3])}{', ...' if len(without) > 3 else ''})"
        said.append(f"uncalibrated: {which} gates{few}: margin not held against a detectable difference; {mend}")
    if found is None:
        return said
    if found.recipes is None:
        said.append(f"calibration: it does not say of which recipes it is; {mend}")
    if stages := moved(found, profile):
        touched = [stage for stage in profile.stages if set(stages) & set(profile.ancestry(stage))]
        said.append(f"calibration: of other recipes ({', '.join(stages)} moved since), old for gates of {', '.join(touched)}; {mend}")
    if gone := [name for name in found.gates if name not in {gate.name for gate in gates}]:
        said.append(f"calibration: {len(gone)} gates of it are in the gates file no more, e.g. {gone[0]}")
    return said
