"""What a run is told, once, and what it says of a stage: settings, plan, checkpoint, and the two ways in which there is none."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path

from harness.certificate import Certificate
from harness.gates import GatesError
from harness.profiles import Profile
from harness.record import Record


class NotBuilt(Exception):
    """A stage without an artifact that this run may not or need not build; the message says why."""


class Uncertified(Exception):
    """A checkpoint that did not earn the right to go on. `certificate` says which gates stand against it."""

    def __init__(self, certificate: Certificate) -> None:
        super().__init__(certificate.summary())
        self.certificate = certificate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run is told, once; everything that the pytest options decide."""

    profile: Profile
    store: Path
    hub: Path | None = None
    originals: tuple[Path, ...] = ()  # checkouts of benchmarks, whose prompts are read
    build: tuple[str, ...] = ()
    launcher: str = "local"
    detach: bool = False
    ungated: bool = False
    bless: bool = False  # a first blessing: gates that only await a baseline stop nothing
    replay: Path | None = None
    variants: tuple[str, ...] = ()
    samples: str = ""
    label: str = "main"  # the variant's name of every stage: calibration keeps its seeds apart
    calibrated: bool = True  # whether the gates take what calibration measured
    threads: int = dataclasses.field(default_factory=lambda: len(os.sched_getaffinity(0)))
    device: str = "auto"
    ray: str = dataclasses.field(default_factory=lambda: os.environ.get("SEATRIALS_RAY", ""))  # the cluster that curates, "" this machine
    backend: str = "hf"  # who answers the suites: hf, vllm, or a server's URL in which {stage} names the model

    def __post_init__(self) -> None:
        """Refuse variants that there are not, and a server that would answer for several checkpoints under one name. Raises GatesError."""
        for name in self.variants:
            if name not in self.profile.variants:
                known = ", ".join(self.profile.variants) or "none"
                raise GatesError(f"--gate-variant {name}: profile {self.profile.name} has no such variant; it has {known}")
        taken = [self.profile.variants[name].stage for name in self.variants]
        if twice := next((stage for stage in taken if taken.count(stage) > 1), None):
            raise GatesError(f"--gate-variant: two variants of {twice}; a run takes one")
        if self.backend not in ("hf", "vllm") and "://" not in self.backend:
            raise GatesError(f"--gate-backend {self.backend!r}: use hf, vllm, or the URL of an OpenAI-compatible server")
        if "://" in self.backend and "{stage}" not in self.backend:
            raise GatesError(
                f"--gate-backend {self.backend}: a stage is judged beside others, and one model cannot answer for them all. Serve each "
                "under its name and write {stage} where it stands, such as http://host:8000/v1#{stage}"
            )

    def backend_of(self, stage: str) -> str:
        """The backend that answers for a stage's checkpoint."""
        return self.backend.replace("{stage}", stage)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a stage's fixture hands to a test: where the checkpoint lies, how it was made, and what it passed."""

    path: Path
    record: Record
    certificate: Certificate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned:
    """One line of the plan: what will happen to a stage, and why."""

    stage: str
    variant: str
    action: str  # "reuse" | "build" | "wait"
    why: str
    minutes: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replay:
    """What `--gate-replay` takes from the record of a run: its artifacts, and what its answers are filed under."""

    profile: str
    samples: str
    backend: str
    versions: Mapping[str, Mapping[str, str]]  # stage -> backend -> the version that its answers are filed under
    stages: Mapping[str, str]  # stage -> fingerprint

    @classmethod
    def read(cls, path: Path) -> Replay:
        """Read a run record. Raises GatesError."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            stages = {stage: entry["fingerprint"] for stage, entry in data["stages"].items()}
            versions = {stage: entry.get("answered_by") or {"hf": data["backend_version"]} for stage, entry in data["stages"].items()}
            backend = data.get("backend", "hf")
            return cls(profile=data["profile_name"], samples=data["samples"], backend=backend, versions=versions, stages=stages)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise GatesError(f"--gate-replay {path}: not a run record ({error}); they lie in the store's runs/ directory") from error
