"""The training loop of `base`, `stage1` and `stage2`: AdamW over packed rows, one process or many, resumable at any step.

Everything that bears on the numbers is in `Plan` (from the recipe) and the reader; the job says where and how. On one machine, with
the same threads, a run that was killed any number of times ends with the same weights, bit for bit.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from training.pretraining import resume, sharding
from training.pretraining.attention import assert_isolated, choose, leakage, packed_loss, use_attention
from training.pretraining.packing import Row
from training.pretraining.ranks import Ranks
from training.pretraining.schedule import learning_rate
from training.pretraining.stream import Stream
from training.progress import Interrupted, peak_memory
from training.recipe import Optimisation

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from training.run import Job

# Tokens of one forward and backward pass; more rows of a batch are accumulated. Larger passes were not faster on a CPU; on a GPU 20B
# parameters leave room for these (`training/cost.py`).
PASS_TOKENS = {"cpu": 4096, "cuda": 16_384}
SLICES = 24  # parts of a run whose mixture is kept apart (`drawn_by_slice`); a verdict needs 20
SAVING_SHARE = 0.05  # a snapshot is not begun before the last one's duration is this share of the time since


class TrainingError(Exception):
    """Training that cannot go on; the message names the step and the likely mend."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What the recipe decides about the loop. `identity` ties snapshots to recipe and text."""

    steps: int
    batch: int
    optimisation: Optimisation
    identity: str
    precision: Literal["float32", "bfloat16"] = "float32"
    isolation: bool = True
    label_shift: int = 1
    probes: bool = True  # whether the leakage between documents is measured at the end; it bears on no number


@dataclasses.dataclass
class _Run:
    """What changes from step to step besides the weights: all of it goes into a snapshot."""

    step: int = 0
    seconds: float = 0.0
    losses: list[float] = dataclasses.field(default_factory=list)
    resumed_at: list[int] = dataclasses.field(default_factory=list)
    drawn: list[dict[str, int]] = dataclasses.field(default_factory=list)  # tokens a language, from the beginning to the end of each slice


def train(model: PreTrainedModel, reader: Stream, plan: Plan, job: Job) -> dict[str, Any]:
    """Train `model` in place and write result/metrics.jsonl; returns facts for build.json.

    Parameters with `requires_grad` False are left alone. Raises TrainingError for a loss or gradient that is not a number (before the
    optimiser steps), Interrupted after a signal, with a snapshot saved.
    """
    import torch

    ranks = Ranks.join(job.device, job.sharding)
    mine = ranks.share(plan.batch)
    reader.deal(ranks.rank, ranks.size)
    attention = choose(job.attention, job.device, plan.precision)
    # flash-attn takes no float32, which the weights are: it needs autocast to be loaded as to be run.
    probing = torch.autocast(job.device, torch.bfloat16, enabled=attention == "flash" and plan.precision == "bfloat16")
    with probing:
        use_attention(model, attention)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TrainingError("no parameter is to be trained; check the recipe's `train` and the parent checkpoint")
    model.train()
    if ranks.sharded or job.device == "cuda":
        sharding.recompute(model)
    if ranks.sharded:
        sharding.shard(model, job.device)
    else:
        model.to(job.device)  # type: ignore[arg-type]
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if plan.isolation:
        with probing:
            sharding.call(model, assert_isolated, attention)
        sharding.reshard(model)
    optimizer = _adamw(named, plan.optimisation)
    run = _resume(named, optimizer, reader, plan, job, ranks)
    speed = _Speed(plan, reader.sequence)
    saved_at, saving = time.monotonic(), 0.0
    with job.interruption.deferred():
        while run.step < plan.steps:
            begun = time.monotonic()
            rows = reader.rows(mine)
            rate = learning_rate(plan.optimisation, run.step, plan.steps)
            loss = _step(model, list(named.values()), optimizer, rows, rate, plan, ranks, run.step)
            run.step += 1
            run.losses.append(loss)
            if run.step * SLICES // plan.steps > (run.step - 1) * SLICES // plan.steps:
                run.drawn.append({language: facts["tokens"] for language, facts in reader.languages().items()})
            run.seconds += time.monotonic() - begun
            last = run.step == plan.steps
            job.progress("train", often=not last, step=run.step, steps=plan.steps, loss=round(loss, 5), **speed(run.step))
            waited = time.monotonic() - saved_at
            due = ranks.rank == 0 and not last and waited >= job.save_every_seconds and saving <= SAVING_SHARE * waited
            # Rank 0's clock decides for all: a split model is put together by all of them.
            stop, due = (bool(wanted) for wanted in ranks.sum([float(job.interruption.wanted), float(due)], job.device))
            if stop or due:
                started = time.monotonic()
                if ranks.rank == 0 or ranks.sharded:
                    _save(named, optimizer, reader, plan, run, job, ranks)
                saved_at = time.monotonic()
                saving = saved_at - started
            if stop:
                raise Interrupted(f"stopped after step {run.step} of {plan.steps}")
    if ranks.rank == 0:
        write_metrics(job, plan, run.losses)
    with probing:
        leaked = sharding.call(model, leakage, plan.isolation) if plan.probes else []
    sharding.join(model, keep=ranks.rank == 0)
    ranks.leave()
    tokens = plan.steps * plan.batch * reader.sequence
    return {
        "steps": plan.steps,
        "tokens": tokens,
        "seconds": round(run.seconds, 3),
        "tokens_per_second": round(tokens / run.seconds, 1) if run.seconds else None,
        "first_loss": run.losses[0] if run.losses else None,
        "final_loss": run.losses[-1] if run.losses else None,
        "portions": reader.facts(),
        "languages": reader.languages(),
        **_by_slice(run.drawn),
        "licences": reader.licences(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained_parameters": sum(parameter.numel() for parameter in named.values()),
        "resumed_at": run.resumed_at,
        "leaked_share": leaked,
        "processes": ranks.size,
        "sharding": "fsdp" if ranks.sharded else "whole",
        "attention": attention,
        "peak_memory_bytes": _peak_memory(job.device),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _step(
    model: PreTrainedModel,
    parameters: Sequence[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    rows: Sequence[Row],
    rate: float,
    plan: Plan,
    ranks: Ranks,
    step: int,
) -> float:
    """One optimiser step over this rank's rows; returns the batch's mean loss in nats a token, over all ranks."""
    import numpy as np
    import torch

    device = model.device
    width = len(rows[0].ids_T)
    at_once = max(1, PASS_TOKENS[device.type] // width)
    labels = plan.batch * (width - plan.label_shift)
    total = torch.zeros((), dtype=torch.float64, device=device)
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        ids_BT = torch.from_numpy(np.stack([row.ids_T for row in part])).to(device)
        # Autocast keeps a copy of each weight it has cast: of a split model's that would be the whole model.
        with torch.autocast(device.type, torch.bfloat16, enabled=plan.precision == "bfloat16", cache_enabled=not ranks.sharded):
            loss, _ = sharding.call(
                model, packed_loss, ids_BT, [row.lengths for row in part], label_shift=plan.label_shift, isolation=plan.isolation
            )
        # A split model's gradients are averaged over the ranks, and wanted is their sum.
        (loss * (ranks.size / labels) if ranks.sharded else loss / labels).backward()
        total += loss.detach()
    mean = ranks.sum([total.item() / labels], device.type)[0]
    if not math.isfinite(mean):
        raise TrainingError(
            f"the loss of step {step + 1} is {mean}: no update was made. Lower optimisation.learning_rate ({rate:g} here), "
            "lengthen the warm-up, or look for damaged weights in the parent"
        )
    ranks.sum_gradients(parameters)
    norm = sharding.whole(torch.nn.utils.clip_grad_norm_(parameters, plan.optimisation.clip)).item()
    if not math.isfinite(norm):
        raise TrainingError(
            f"the gradient norm of step {step + 1} is {norm} while the loss is {mean:.4f}: no update was made. "
            "Lower optimisation.learning_rate, or train in float32"
        )
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return mean


def _adamw(named: dict[str, torch.nn.Parameter], optimisation: Optimisation) -> torch.optim.AdamW:
    """AdamW whose decay falls on matrices only: biases and norms are left free."""
    import torch

    matrices = [parameter for parameter in named.values() if parameter.ndim >= 2]
    vectors = [parameter for parameter in named.values() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": optimisation.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=optimisation.learning_rate,
        betas=optimisation.betas,
        eps=optimisation.epsilon,
        fused=True,
    )


def _by_slice(drawn: Sequence[dict[str, int]]) -> dict[str, Any]:
    """The tokens drawn in each slice of the run, of each language and of all, given what was drawn up to each slice's end."""
    languages = drawn[-1] if drawn else {}
    steps = list(itertools.pairwise([dict.fromkeys(languages, 0), *drawn]))
    of = {name: [now[name] - before[name] for before, now in steps] for name in languages}
    return {"drawn_by_slice": of, "tokens_by_slice": [sum(parts) for parts in zip(*of.values(), strict=True)]}


# --------------------------------------------------------------------------------------------------------------- snapshots


def _save(
    named: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    reader: Stream,
    plan: Plan,
    run: _Run,
    job: Job,
    ranks: Ranks,
) -> None:
    """Write a snapshot, whole, from rank 0. One that cannot be written (a full disk) is said and does not stop the training."""
    job.progress("save", step=run.step, steps=plan.steps)
    weights: dict[str, torch.Tensor] = {}
    moments: dict[str, torch.Tensor] = {}
    for name, parameter in named.items():
        state = {f"{name}/{key}": value for key, value in optimizer.state[parameter].items() if key != "step"}
        for kept, found in ((weights, {name: parameter}), (moments, state)):
            for key, tensor in found.items():
                gathered = sharding.whole(tensor)  # by all ranks together
                if ranks.rank == 0:
                    kept[key] = gathered
    if ranks.rank != 0:
        return
    snapshot = resume.Snapshot(
        step=run.step,
        model=weights,
        optimizer=moments,
        state={"identity": plan.identity, "reader": reader.state(), "run": dataclasses.asdict(run)},
    )
    try:
        resume.save(job.resume, snapshot)
    except OSError as error:
        print(f"resume: step {run.step} is not saved: {error}; free some space, or a kill will cost more steps", file=sys.stderr)


def _resume(
    named: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer, reader: Stream, plan: Plan, job: Job, ranks: Ranks
) -> _Run:
    """Take up the newest valid snapshot, the same on every rank; a fresh run where there is none."""
    import torch

    found = resume.load(job.resume, lambda text: print(text, file=sys.stderr))
    if found is not None and found.state.get("identity") != plan.identity:
        print(f"resume: step {found.step} is of another recipe or other text; starting from the beginning", file=sys.stderr)
        found = None
    step = found.step if found is not None else 0
    if ranks.from_first(step, job.device) != step:
        raise TrainingError(f"rank {ranks.rank} finds step {step} in {job.resume} and rank 0 another; the directory must be shared by all")
    if found is None:
        return _Run()
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(sharding.split_like(found.model[name], parameter))
            optimizer.state[parameter] = {
                "step": torch.tensor(float(found.step), device=parameter.device),
                "exp_avg": sharding.split_like(found.optimizer[f"{name}/exp_avg"], parameter),
                "exp_avg_sq": sharding.split_like(found.optimizer[f"{name}/exp_avg_sq"], parameter),
            }
    reader.restore(found.state["reader"])
    run = _Run(**found.state["run"])
    run.resumed_at.append(run.step)
    print(f"resume: going on after step {run.step} of {plan.steps}", file=sys.stderr)
    return run


# ------------------------------------------------------------------------------------------------------------ what is told


class _Speed:
    """Tokens a second over the last steps, and the time left."""

    def __init__(self, plan: Plan, sequence: int) -> None:
        self.plan, self.tokens = plan, plan.batch * sequence
        self.marks: deque[tuple[float, int]] = deque(maxlen=32)

    def __call__(self, step: int) -> dict[str, Any]:
        self.marks.append((time.monotonic(), step))
        (then, first), (now, last) = self.marks[0], self.marks[-1]
        if last == first:
            return {"tokens": step * self.tokens}
        rate = (last - first) / max(now - then, 1e-9)
        return {
            "tokens": step * self.tokens,
            "tokens_per_second": round(rate * self.tokens, 1),
            "eta_seconds": round((self.plan.steps - step) / rate, 1),
        }


def write_metrics(job: Job, plan: Plan, losses: Sequence[float]) -> None:
    """result/metrics.jsonl: {"step" (from 1), "loss", "learning_rate"} a line."""
    with (job.result / "metrics.jsonl").open("w", encoding="utf-8") as file:
        for index, loss in enumerate(losses):
            rate = learning_rate(plan.optimisation, index, plan.steps)
            file.write(json.dumps({"step": index + 1, "loss": loss, "learning_rate": rate}) + "\n")


def _peak_memory(device: str) -> int:
    import torch

    return int(torch.cuda.max_memory_allocated()) if device == "cuda" else peak_memory()
