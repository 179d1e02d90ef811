"""The child process that builds one artifact: `python -m training.run ORDER.json`, or the same under torchrun.

It reads the order, hands the recipe to its builder, and leaves beside the order: progress.jsonl, result/, and last done.json; or
error.json with one message that names the thing and the mend. Started again on the same order it goes on from resume/.
Exit status: 0 built (or already complete), 1 an error, 130 interrupted in a resumable state.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.progress import Interrupted, Interruption, Progress, peak_memory
from training.recipe import decode
from training.stages import GRAPH

RANK = int(os.environ.get("RANK", "0"))
WORLD_SIZE = int(os.environ.get("WORLD_SIZE", "1"))


class OrderError(Exception):
    """An order that cannot be carried out as written; the message names the field."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """Where and how a builder works. Nothing here bears on the result: all of it is runtime, none identity.

    `parents`: stage -> directory of its checkpoint or corpus. `evaluation`: the windows of what the suites ask about, which a corpus must not
    hold. `result`, `resume`: the builder's own directories. `progress(phase, **values)` tells how
    far it is. `device`: "cpu" or "cuda". `attention`: how packed rows are attended to (training/pretraining/attention.py). `sharding`: the
    model whole in every process, or split over them (fsdp; auto splits it on CUDA). `interruption`: deferred by a builder that saves its
    state between two steps.
    """

    parents: dict[str, Path]
    hub: Path | None
    profile_dir: Path
    result: Path
    resume: Path
    progress: Callable[..., None]
    threads: int
    device: str
    stage: str
    save_every_seconds: float = 60.0
    attention: str = "auto"
    sharding: str = "auto"
    evaluation: Path | None = None
    ray: str = ""
    interruption: Interruption = dataclasses.field(default_factory=Interruption)

    def parent(self) -> Path:
        """The one parent's checkpoint. Raises OrderError where there is none or more than one."""
        found = [stage for stage in self.parents if stage not in self.corpora]
        if len(found) != 1:
            raise OrderError(f"{self.stage} is built on one parent's checkpoint; the order names {', '.join(found) or 'none'}")
        return self.parents[found[0]]

    @property
    def corpora(self) -> dict[str, Path]:
        """Stage -> directory of the corpus that it made, of the parents that make one."""
        return {stage: path for stage, path in self.parents.items() if stage in GRAPH and GRAPH[stage].makes == "corpus"}


def main(arguments: list[str]) -> int:
    """Carry out the order; returns the exit status."""
    if len(arguments) != 1:
        print("usage: python -m training.run ORDER.json", file=sys.stderr)
        return 2
    order_path = Path(arguments[0]).resolve()
    workdir = order_path.parent
    interruption = Interruption()
    try:
        interruption.listen()
        one_of_one()
        order = read_order(order_path)
        workdir = Path(order["workdir"])
        if complete(workdir):
            print(f"{order['stage']} is already complete in {workdir}; nothing is built", file=sys.stderr)
            return 0
        build(order, workdir, interruption)
    except (Interrupted, KeyboardInterrupt):
        print("interrupted; the same order goes on from the last saved step", file=sys.stderr)
        return 130
    except Exception as error:
        traceback.print_exc()
        write_error(workdir, error)
        return 1
    return 0


def one_of_one() -> None:
    """Refuse to be one of several tasks of a Slurm step that know nothing of each other: each would build, and delete, in one place."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    if "WORLD_SIZE" not in os.environ and tasks.isdigit() and int(tasks) > 1:
        raise OrderError(
            f"srun started {tasks} tasks, and nothing told them of each other (WORLD_SIZE is not set). Use --gate-launcher slurm[:NODES], "
            "which starts one torchrun a node; or srun with --ntasks-per-node=1 and torchrun yourself"
        )


def build(order: dict[str, Any], workdir: Path, interruption: Interruption) -> None:
    """Order -> Job -> builder -> done.json."""
    started = time.time()
    recipe = decode(order["recipe"])
    (workdir / "error.json").unlink(missing_ok=True)
    with Progress(workdir / "progress.jsonl" if RANK == 0 else None) as progress:
        job = Job(
            parents={stage: Path(path) for stage, path in order["parents"].items()},
            hub=Path(order["hub"]) if order["hub"] else None,
            profile_dir=Path(order["profile_dir"]),
            result=workdir / "result",
            resume=workdir / "resume",
            progress=progress,
            threads=order["threads"],
            device=prepare(order["device"], order["threads"]),
            stage=order["stage"],
            save_every_seconds=order["save_every_seconds"],
            attention=order["attention"],
            sharding=order["sharding"],
            evaluation=Path(order["evaluation"]) if order["evaluation"] else None,
            ray=order["ray"],
            interruption=interruption,
        )
        if RANK == 0:
            shutil.rmtree(job.result, ignore_errors=True)  # of a run that was killed while it wrote the result
            job.result.mkdir(parents=True)
            job.resume.mkdir(exist_ok=True)
        builder(recipe)(recipe, job)
        if RANK == 0:
            add_facts(job.result / "build.json", wall_seconds=round(time.time() - started, 3), host_memory_peak_bytes=peak_memory())
            write_atomically(workdir / "done.json", {"ok": True})
            shutil.rmtree(job.resume, ignore_errors=True)


def builder(recipe: Any) -> Callable[[Any, Job], None]:
    """The function that a recipe's `builder` names. Raises OrderError."""
    module, _, name = getattr(type(recipe), "builder", "").partition(":")
    if not module:
        raise OrderError(f"{type(recipe).__name__} is not the recipe of a stage: it names no builder")
    function: Callable[[Any, Job], None] = getattr(importlib.import_module(module), name)
    return function


def prepare(device: str, threads: int) -> str:
    """Set threads and determinism for the whole process; returns "cpu" or "cuda". Raises OrderError where there is no such device."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts; deterministic products need it
    os.environ.setdefault("FLASH_ATTENTION_DETERMINISTIC", "1")  # read by transformers when flash-attn runs
    # Text is tokenised by as many threads as the order has, before anything else runs; nothing is forked from this process.
    os.environ.update(TOKENIZERS_PARALLELISM="true", RAYON_NUM_THREADS=str(threads))
    # Threads that spin briefly before they sleep (read when torch is first imported): beside other work, endless spinning was 3 times
    # slower; alone, sleeping at once was a quarter slower.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise OrderError("the order asks for cuda and this process sees no CUDA device; order `cpu` or `auto`")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a debugging aid: thousands of fills a step
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    return device


# -------------------------------------------------------------------------------------------------------------- the workdir


def read_order(path: Path) -> dict[str, Any]:
    """The order, every field of it present. Raises OrderError."""
    try:
        order = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OrderError(f"the order {path} cannot be read: {error}") from error
    if not isinstance(order, dict) or order.get("schema") != 1:
        raise OrderError(f"the order {path} is not of schema 1; harness and training must be of one version")
    fields = (
        *("stage", "recipe", "parents", "hub", "profile_dir", "workdir"),
        *("threads", "device", "save_every_seconds", "attention", "sharding", "evaluation", "ray"),
    )
    if missing := [field for field in fields if field not in order]:
        raise OrderError(f"the order {path} lacks {', '.join(missing)}")
    if order["device"] not in ("cpu", "cuda", "auto"):
        raise OrderError(f"the order {path} asks for device {order['device']!r}; there are cpu, cuda and auto")
    if order["sharding"] not in ("auto", "whole", "fsdp"):
        raise OrderError(f"the order {path} asks for sharding {order['sharding']!r}; there are auto, whole and fsdp")
    if not isinstance(order["threads"], int) or order["threads"] < 1:
        raise OrderError(f"the order {path} asks for {order['threads']!r} threads; 1 or more")
    return order


def complete(workdir: Path) -> bool:
    """Whether a build has ended well here."""
    try:
        return json.loads((workdir / "done.json").read_text(encoding="utf-8")).get("ok") is True
    except (OSError, ValueError, AttributeError):
        return False


def write_error(workdir: Path, error: Exception) -> None:
    """error.json: the type, and the message in one piece. The first rank to fail has the word."""
    message = str(error).strip() or repr(error)
    path = workdir / "error.json"
    try:
        if RANK == 0 or not path.exists():
            write_atomically(path, {"type": type(error).__name__, "message": message})
    except OSError as failure:
        print(f"error.json cannot be written ({failure}): {message}", file=sys.stderr)


def add_facts(path: Path, **facts: Any) -> None:
    """Add to the facts of build.json, which a builder may have started."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    write_atomically(path, {**known, **facts})


def write_atomically(path: Path, value: Any) -> None:
    """Write JSON so that the file is whole or absent."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
