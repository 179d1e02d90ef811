"""Keeps training text and evaluation text apart, before a stage is built: orders the two children that go through the suites' texts.

- A corpus that is decontaminated is handed the windows of what the suites ask about (`harness/evaluation_text.py`).
- A checkpoint is trained only where no evaluation text overlaps with its training text (`harness/overlap.py`), wherever that came from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import children, launch
from harness.evaluation_text import WINDOWS
from harness.progress import Progress
from harness.settings import Settings
from harness.store import Artifact, Store
from training.recipe import CurateCorpus, Recipe, digest, encode


def decontaminated(recipe: Recipe) -> bool:
    """Whether a recipe makes a corpus that is held against the evaluation texts."""
    return isinstance(recipe, CurateCorpus) and any(layer.name == "decontaminate" for layer in recipe.chain.layers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Apart:
    """The orders of one run. What they leave lies in the store, and is made once for each pair of texts."""

    settings: Settings
    store: Store
    progress: Progress

    def check(self, stage: str, recipe: Recipe, data: str, corpora: Mapping[str, Artifact], suites: str) -> None:
        """Compare training text with evaluation text. `data`, `suites`: their digests. Raises BuildError where they overlap."""
        if not getattr(recipe, "portions", ()):
            return
        profile = self.settings.profile
        told = {
            "data": data,
            "recipe": encode(recipe),
            "suites": suites,
            "kept": [profile.overlap, profile.overlap_window],
            "corpora": {parent: artifact.record.content for parent, artifact in corpora.items()},
        }
        order = {
            "recipe": encode(recipe),
            "corpora": {parent: str(self.store.open(artifact)) for parent, artifact in corpora.items()},
            "share": profile.overlap,
        }
        self._once(f"{stage}: overlap check", "harness.overlap", "overlap", digest(told), order, "overlap.json")

    def windows(self, stage: str, recipe: Recipe, data: str) -> Path | None:
        """The file of windows that the recipe's corpus must not hold; None for a recipe that asks for none. Raises BuildError."""
        if not decontaminated(recipe):
            return None
        return self._once(f"{stage}: evaluation text", "harness.evaluation_text", "evaluation-text", digest({"data": data}), {}, WINDOWS)

    def _once(self, title: str, module: str, place: str, key: str, order: dict[str, Any], made: str) -> Path:
        """Have the child `module` leave the file `made`, unless it has for this key."""
        settings, directory = self.settings, self.store.root / place / key[:24]
        common = {
            "suites": {name: encode(spec) for name, spec in settings.profile.suites.items()},
            "window": settings.profile.overlap_window,
            "hub": str(settings.hub) if settings.hub else None,
            "profile_dir": str(settings.profile.directory),
        }

        def waiting(who: str) -> None:
            self.progress.show(title, {"phase": f"waiting for {who}"})

        with self.store.lease(f"{place}-{directory.name}", waiting=waiting):
            if not (directory / made).is_file():
                launcher = dataclasses.replace(launch.Launcher.parse(settings.launcher), alone=True)
                process = children.start(module, directory, {**common, **order}, launcher)
                children.watch(title, process, directory, self.progress)
        return directory / made
