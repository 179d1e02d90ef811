"""Keeps training text and evaluation text apart, before a stage is built: orders the two children that go through the suites' texts.

- A corpus that is decontaminated is handed the windows of what the suites ask about (`harness/evaluation_text.py`).
- A checkpoint is trained only where no evaluation text overlaps with its training text (`harness/overlap.py`), wherever that came from.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import children, evidence, launch
from harness.evaluation_text import FACTS, WINDOWS
from harness.progress import Progress
from harness.settings import Settings
from harness.store import Artifact, Store
from training.pretraining.sources import file_digest
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
    suites: str  # their digest

    def check(self, stage: str, recipe: Recipe, data: str, corpora: Mapping[str, Artifact]) -> None:
        """Compare training text, whose digest is `data`, with evaluation text. Raises BuildError where they overlap."""
        if not getattr(recipe, "portions", ()):
            return
        profile = self.settings.profile
        told = {
            "data": data,
            "recipe": encode(recipe),
            "suites": self.suites,
            "kept": [profile.overlap, profile.overlap_window],
            "corpora": {parent: artifact.record.content for parent, artifact in corpora.items()},
        }
        order = {
            "recipe": encode(recipe),
            "corpora": {parent: str(self.store.open(artifact)) for parent, artifact in corpora.items()},
            "share": profile.overlap,
        }
        self._once(f"{stage}: overlap check", "harness.overlap", self.store.root / "overlap" / digest(told)[:24], order, "overlap.json")

    def known(self) -> str | None:
        """The digest of what the suites ask about; None where it has not been read yet."""
        return self._facts().get("digest")

    def made_of(self, recipe: Recipe, data: str) -> str | None:
        """Digest of what a stage is made of: the text it consumes (`data`), and what its corpus must not hold; None while that is not read."""
        if not decontaminated(recipe):
            return data
        kept_out = self.known()
        return digest([data, kept_out]) if kept_out else None

    def windows(self, stage: str, recipe: Recipe) -> Path | None:
        """The file of windows of what the suites ask about, which the recipe's corpus must not hold; None where it makes none such. Raises BuildError."""
        if not decontaminated(recipe):
            return None
        title, place = f"{stage}: evaluation text", self._read_in()
        path = self._once(title, "harness.evaluation_text", place, {}, FACTS) / WINDOWS
        if not path.is_file() or file_digest(path) != self._facts()["sha256"]:  # damaged: read anew
            (place / FACTS).unlink()
            self._once(title, "harness.evaluation_text", place, {}, FACTS)
        return path

    def _facts(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self._read_in() / FACTS).read_text(encoding="utf-8"))
            return found
        except (OSError, ValueError):
            return {}

    def _read_in(self) -> Path:
        """Where the texts of these suites stand, as this code reads them; an equal text read by other code has an equal digest."""
        key = digest({"suites": self.suites, "code": evidence.code_digest(), "window": self.settings.profile.overlap_window})
        return self.store.root / "evaluation-text" / key[:24]

    def _once(self, title: str, module: str, directory: Path, order: dict[str, Any], made: str) -> Path:
        """Have the child `module` leave the file `made` in a directory that its inputs name, unless it has; returns the directory."""
        settings = self.settings
        common = {
            "suites": {name: encode(spec) for name, spec in settings.profile.suites.items()},
            "window": settings.profile.overlap_window,
            "hub": str(settings.hub) if settings.hub else None,
            "originals": [str(path) for path in settings.originals],
            "profile_dir": str(settings.profile.directory),
        }

        def waiting(who: str) -> None:
            self.progress.show(title, {"phase": f"waiting for {who}"})

        with self.store.lease(f"{directory.parent.name}-{directory.name}", waiting=waiting):
            if not (directory / made).is_file():
                launcher = dataclasses.replace(launch.Launcher.parse(settings.launcher), alone=True)
                process = children.start(module, directory, {**common, **order}, launcher)
                children.watch(title, process, directory, self.progress)
        return directory
