"""What a killed run needs to go on: whole snapshots of weights, optimiser and reader, the two newest kept.

    resume/step-00000120/  model.safetensors  optimizer.safetensors  state.json  manifest.json

A snapshot is written aside, its manifest (the SHA-256 of each file) last, and then renamed: a name that can be seen is whole unless
the disk lied. One that fails its manifest is passed over, and said so. No pickle anywhere.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.whole import sync

if TYPE_CHECKING:
    import torch

KEEP = 2
MANIFEST = "manifest.json"


class ResumeError(Exception):
    """A snapshot that cannot be written or is not what its manifest says."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state after `step` optimiser steps; `state` is plain JSON (reader position, losses, tokens, seconds)."""

    step: int
    model: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, torch.Tensor]
    state: dict[str, Any]


def save(directory: Path, snapshot: Snapshot) -> Path:
    """Write a snapshot and drop all but the two newest valid ones. Raises OSError (a full disk) with nothing half-written left."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    name = f"step-{snapshot.step:08d}"
    aside, final = directory / f".{name}.{os.getpid()}", directory / name
    for stale in directory.glob(".step-*"):
        shutil.rmtree(stale, ignore_errors=True)
    try:
        aside.mkdir()
        save_file(dict(snapshot.model), aside / "model.safetensors")
        save_file(dict(snapshot.optimizer), aside / "optimizer.safetensors")
        (aside / "state.json").write_text(json.dumps(snapshot.state, allow_nan=False), encoding="utf-8")
        files = {entry.name: _sha256(entry) for entry in sorted(aside.iterdir())}
        (aside / MANIFEST).write_text(json.dumps({"step": snapshot.step, "files": files}), encoding="utf-8")
        for entry in aside.iterdir():
            sync(entry)
        sync(aside)
        if final.exists():  # a damaged snapshot of this very step, passed over when this run started
            shutil.rmtree(final)
        aside.rename(final)
        sync(directory)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, Exception) and not isinstance(error, OSError):
            # safetensors reports a full disk as an error of its own.
            raise OSError(f"cannot write {final}: {error}") from error
        raise
    _purge(directory, final)
    return final


def load(directory: Path, say: Callable[[str], None], device: str = "cpu") -> Snapshot | None:
    """The newest snapshot that is what its manifest says, or None; each one passed over is said with its reason."""
    from safetensors.torch import load_file

    for path in newest_first(directory):
        try:
            check(path)
            return Snapshot(
                step=step_of(path),
                model=load_file(path / "model.safetensors", device=device),
                optimizer=load_file(path / "optimizer.safetensors", device=device),
                state=json.loads((path / "state.json").read_text(encoding="utf-8")),
            )
        except (ResumeError, OSError, ValueError) as error:
            say(f"resume: {path.name} is passed over: {error}")
    return None


def check(path: Path) -> None:
    """Raise ResumeError unless every file of the snapshot is what the manifest says."""
    try:
        files = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResumeError(f"its manifest cannot be read ({type(error).__name__})") from error
    for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
        if name not in files:
            raise ResumeError(f"its manifest does not name {name}")
    for name, expected in files.items():
        entry = path / name
        if not entry.is_file():
            raise ResumeError(f"{name} is missing")
        if _sha256(entry) != expected:
            raise ResumeError(f"{name} is not what was written (its SHA-256 differs)")


def newest_first(directory: Path) -> list[Path]:
    """The snapshots of a directory by name, valid or not, newest first."""
    found = [path for path in directory.glob("step-*") if path.is_dir() and path.name[5:].isdigit()] if directory.is_dir() else []
    return sorted(found, key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """The step in a snapshot's name."""
    return int(path.name[5:])


def _purge(directory: Path, just_written: Path) -> None:
    """Keep the snapshot just written and the newest valid one before it: a run that was resumed may have a damaged one between."""
    kept = 1
    for path in newest_first(directory):
        if path == just_written:
            continue
        if kept < KEEP and step_of(path) < step_of(just_written):
            try:
                check(path)
            except ResumeError:
                pass
            else:
                kept += 1
                continue
        shutil.rmtree(path, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
