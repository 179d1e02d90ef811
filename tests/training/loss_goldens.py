"""Loss curves kept as text: `python -m tests.training.loss_goldens --write` writes goldens/losses/RECIPE.DEVICE.txt for this device.

A curve that moves says that the numbers of training moved: look for the change before writing it anew.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.training import small
from training.pretraining import continual, scratch
from training.progress import Interrupted
from training.recipe import Optimisation
from training.recipes import nano

DIRECTORY = Path(__file__).parents[2] / "goldens" / "losses"
DIGITS = 4


def curves(directory: Path, device: str) -> dict[str, list[float]]:
    """RECIPE -> losses, trained now: a base from scratch, and both kinds of continual training on it."""
    small.write_text(directory)
    recipe = small.scratch(steps=40)
    base = small.job(directory / "base", directory, device=device)
    scratch.build(recipe, base)
    found = {"small-base": small.losses(base.result)}
    annealed = Optimisation(learning_rate=5e-3, decay="cosine", final_fraction=0.1, warmup_fraction=0.1)
    for name, stage in (
        ("small-stage1", small.continual(steps=20)),
        ("small-stage2", small.continual(steps=20, optimisation=annealed, precision="bfloat16")),
    ):
        job = small.job(directory / name, directory, parents={"base": base.result}, device=device)
        continual.build(dataclasses.replace(stage, seed=7), job)
        found[name] = small.losses(job.result)
    return found


def beginning(directory: Path, steps: int = 40) -> dict[str, list[float]]:
    """The first steps of a shipped recipe, as a run tells them: nano's `base`, stopped by its interruption."""
    found: list[float] = []

    def heard(phase: str, **values: Any) -> None:
        if phase == "train":
            found.append(values["loss"])
            job.interruption.wanted = len(found) == steps

    job = small.job(directory / "nano-base", directory, heard)
    with contextlib.suppress(Interrupted):
        scratch.build(nano.base(), job)
    return {"nano-base": found}


def path_of(name: str, device: str) -> Path:
    """The golden of a recipe on a device."""
    return DIRECTORY / f"{name}.{device}.txt"


def read(path: Path) -> list[float]:
    """A golden's losses."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert [int(step) for step, _ in lines] == list(range(1, len(lines) + 1))
    return [float(loss) for _, loss in lines]


def write(found: dict[str, list[float]], device: str, say: Callable[[str], None] = print) -> None:
    """Write the goldens of a device."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, losses in found.items():
        lines = [f"# {name} on {device}: step, mean loss in nats a token", *(f"{i + 1} {x:.{DIGITS}f}" for i, x in enumerate(losses))]
        path_of(name, device).write_text("\n".join(lines) + "\n", encoding="utf-8")
        say(f"wrote {path_of(name, device)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--write", action="store_true", required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch_directory:
        found = curves(Path(scratch_directory), options.device)
        write({**found, **beginning(Path(scratch_directory))} if options.device == "cpu" else found, options.device)
