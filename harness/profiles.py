"""What a profile decides: which stages, from which recipes, held against which suites and gates.

Built-in profiles are `nano`, `smol` and the paper's `sailor2-1b|8b|20b`; third parties register theirs in the entry-point group
`seatrials.profiles`; anybody may hand a Python file that defines `profile = Profile(...)`, outside any checkout.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from harness.suites import SuiteSpec
from training.curation.cost import CorpusCost
from training.pretraining.sources import sources_of
from training.recipe import CuratedText, Recipe
from training.stages import GRAPH

BUILT_IN = {
    "nano": "harness.builtin.nano:profile",
    "smol": "harness.builtin.smol:profile",
    "sailor2-1b": "harness.builtin.sailor2:profile_1b",
    "sailor2-8b": "harness.builtin.sailor2:profile_8b",
    "sailor2-20b": "harness.builtin.sailor2:profile_20b",
}


class ProfileError(Exception):
    """A profile that cannot be found, loaded or is inconsistent; the message names the field and the mend."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageEntry:
    """One stage of a profile: its recipe, the checkpoint it is made from (the graph's unless re-pointed) and the languages it adds."""

    recipe: Recipe
    parent: str | None = None
    adds: tuple[str, ...] = ()
    minutes: float = 0.0  # expected on the profile's reference machine, for the plan
    corpus: CorpusCost | None = None  # of a stage that makes a corpus: what it costs on the text that the profile assumes, for the dry run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """Another recipe of a stage. `expect_red` marks a planted defect: the gates that must turn red (promise 7)."""

    stage: str
    recipe: Recipe
    expect_red: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Profile:
    """The scale and subject of a run. Paths are absolute, or relative to `directory` (the profile file's own).

    A stage whose recipe reads a corpus (`CuratedText`) has the stage that makes it for a parent.
    """

    name: str
    languages: tuple[str, ...]
    stages: Mapping[str, StageEntry]
    suites: Mapping[str, SuiteSpec]
    gates: Path
    directory: Path
    variants: Mapping[str, Variant] = dataclasses.field(default_factory=dict)  # "stage2@replay0" -> Variant
    build: str = "auto"  # "auto", or "named": builds only what --gate-build names (stages that cost days)
    samples: str = "full"
    overlap: float = 0.5  # share of an evaluation text's windows that training text may hold (`harness/overlap.py`)
    overlap_window: int = 50  # bytes of such a window
    dtype: str = "float32"  # of evaluation, for every stage alike: scores of two dtypes are never compared
    # How stages are trained; runtime, no part of any identity. auto: packed on a CPU, flash or flex on CUDA; split over GPUs where there
    # are several (training/pretraining/attention.py, sharding.py).
    attention: str = "auto"
    sharding: str = "auto"

    def __post_init__(self) -> None:
        """Refuse stages outside the graph, unknown parents, and a stage that adds a language the profile does not have."""
        for name, entry in self.stages.items():
            if name not in GRAPH:
                close = difflib.get_close_matches(name, GRAPH, 1)
                raise ProfileError(
                    f"profile {self.name}: no stage {name!r}; stages are {', '.join(GRAPH)}"
                    + (f" (did you mean {close[0]}?)" if close else "")
                )
            self._may_read(name, entry.recipe, name)
            for parent in self.parents(name):
                if parent not in self.stages:
                    raise ProfileError(f"profile {self.name}: {name} needs its parent {parent}, which the profile does not define")
            if unknown := [language for language in entry.adds if language not in self.languages]:
                raise ProfileError(f"profile {self.name}: {name} adds {', '.join(unknown)}, not among the profile's languages")

        for name, variant in self.variants.items():
            if variant.stage in self.stages:
                self._may_read(variant.stage, variant.recipe, name)
                if corpora_of(variant.recipe) - corpora_of(self.stages[variant.stage].recipe):
                    raise ProfileError(
                        f"profile {self.name}: {name} trains on another corpus than {variant.stage}; a stage has one set of parents"
                    )

    def _may_read(self, stage: str, recipe: Recipe, name: str) -> None:
        """Refuse a corpus that no parent of the stage makes. Raises ProfileError."""
        for corpus in sorted(corpora_of(recipe)):
            if corpus not in GRAPH[stage].parents or GRAPH[corpus].makes != "corpus":
                readers = ", ".join(reader for reader, known in GRAPH.items() if corpus in known.parents) or "no stage"
                raise ProfileError(
                    f"profile {self.name}: {name} trains on the corpus of {corpus}, which {readers} may do; give it other sources"
                )
            if corpus not in self.stages:
                raise ProfileError(
                    f"profile {self.name}: {name} trains on the corpus of {corpus}, which the profile does not define; define the stage "
                    f"{corpus}, or give the portions other sources"
                )

    def parents(self, stage: str) -> tuple[str, ...]:
        """The parents of a stage in this profile: the checkpoint that it is made from, then the corpora that it trains on."""
        return (*self.made_from(stage), *self.corpora(stage))

    def makes(self, stage: str) -> str:
        """What the stage leaves: a checkpoint or a corpus."""
        return GRAPH[stage].makes

    def made_from(self, stage: str) -> tuple[str, ...]:
        """The stages whose checkpoints a stage is made from."""
        entry = self.stages[stage]
        return (entry.parent,) if entry.parent else tuple(name for name in GRAPH[stage].parents if GRAPH[name].makes == "checkpoint")

    def corpora(self, stage: str) -> tuple[str, ...]:
        """The stages whose corpora a stage trains on: those that its recipe's sources name."""
        read = corpora_of(self.stages[stage].recipe)
        return tuple(name for name in GRAPH[stage].parents if name in read)

    def suites_of(self, stage: str) -> dict[str, SuiteSpec]:
        """The suites that run on a stage: those that name it; of those that name none, on every stage that makes a checkpoint.

        One that compares with a parent runs on no stage without one.
        """
        made = GRAPH[stage].makes
        return {
            name: spec
            for name, spec in self.suites.items()
            if (stage in spec.stages if spec.stages else made == "checkpoint") and (self.made_from(stage) or not spec.reference)
        }

    def ancestry(self, stage: str) -> tuple[str, ...]:
        """The stage's ancestors and itself, parents first."""
        order: list[str] = []
        for parent in self.parents(stage):
            order += [name for name in self.ancestry(parent) if name not in order]
        return (*order, stage)

    def seen(self, stage: str) -> tuple[str, ...]:
        """Every language that the stage or an ancestor has added, in the profile's order."""
        added = {language for name in self.ancestry(stage) for language in self.stages[name].adds}
        return tuple(language for language in self.languages if language in added)


def corpora_of(recipe: Recipe) -> set[str]:
    """The stages whose corpora a recipe's sources name."""
    return {source.stage for source in sources_of(recipe) if isinstance(source, CuratedText)}


def load(name: str) -> Profile:
    """Load a profile by built-in name, entry point, or path to a Python file. Raises ProfileError."""
    if name.endswith(".py"):
        return _from_file(Path(name))
    target = BUILT_IN.get(name)
    if target is None:
        points = {point.name: point.value for point in importlib.metadata.entry_points(group="seatrials.profiles")}
        target = points.get(name)
        if target is None:
            names = [*BUILT_IN, *points]
            close = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ProfileError(
                f"no profile {name!r}: there are {', '.join(names)}, or give a path to a .py file that defines `profile`{hint}"
            )
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _from_file(path: Path) -> Profile:
    if not path.is_file():
        raise ProfileError(f"no profile file {path}")
    spec = importlib.util.spec_from_file_location(f"seatrials_profile_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ProfileError:
        raise
    except Exception as error:
        raise ProfileError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    profile = getattr(module, "profile", None)
    if not isinstance(profile, Profile):
        raise ProfileError(f"{path} must define `profile = harness.profiles.Profile(...)`")
    return profile
