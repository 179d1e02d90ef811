"""The warm process of the proxy runs: `python -m training.curation.regmix.worker DIRECTORY WORKERS`, started by proxies.py.

It imports torch, makes the model that all runs start from and the rows they are judged on, then forks a child a run. It computes on one thread
and makes no gradient itself: torch survives a fork so, and not otherwise. A line of its output is the name of a run that has ended.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.curation.documents import CurationError
from training.curation.regmix.mixtures import Counts
from training.curation.regmix.proxies import PLAN, RUNS, STAGE, TEXT, ProxyCorpora, ProxySettings, variant
from training.pretraining.packing import Row
from training.pretraining.stream import Stream
from training.recipe import decode
from training.run import Job, prepare, write_atomically

if TYPE_CHECKING:
    from transformers import PreTrainedModel

JUDGED_AT_ONCE = 16  # rows of a forward pass without gradients


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """What is made once and forked: the text, the model as it starts, and language -> rows that runs are judged on."""

    settings: ProxySettings
    corpora: ProxyCorpora
    model: PreTrainedModel
    held_out: Mapping[str, list[Row]]


def bench(settings: ProxySettings, corpora: ProxyCorpora) -> Bench:
    """The model with weights drawn from the seed, and the held-out rows: every held-out token once, but for what fills no row."""
    from training.models import load
    from training.pretraining import loop  # noqa: F401 -- what runs import, before they are forked

    model = load.new_model(
        settings.architecture, len(corpora.token_bytes_V), settings.seed, bos_token_id=corpora.end, eos_token_id=corpora.end
    )
    held_out = {}
    for text in corpora.texts:
        reader = Stream([dataclasses.replace(text.held_out, budget=1)], settings.sequence, settings.seed)
        held_out[text.language] = reader.rows(len(text.held_out.ids_N) // settings.sequence)
    return Bench(settings=settings, corpora=corpora, model=model, held_out=held_out)


def one(made: Bench, weights: Mapping[str, float], device: str = "cpu") -> dict[str, Any]:
    """Train the bench's model, in place, on one mixture and judge it: its losses in bits a byte, and what it drew."""
    from training.pretraining.loop import Plan, train

    settings, wall, cpu = made.settings, time.perf_counter(), time.process_time()
    budgets = {language: max(1, round(weight * settings.tokens)) if weight else 0 for language, weight in weights.items()}
    portions = [dataclasses.replace(text.train, budget=budgets[text.language]) for text in made.corpora.texts]
    reader = Stream(portions, settings.sequence, settings.seed)
    plan = Plan(steps=settings.steps, batch=settings.batch, optimisation=settings.optimisation, identity="proxy", probes=False)
    with tempfile.TemporaryDirectory() as scratch:
        job = Job(
            parents={},
            hub=None,
            profile_dir=Path(scratch),
            result=Path(scratch),
            resume=Path(scratch, "resume"),
            progress=lambda phase, **values: None,
            threads=1,
            device=device,
            stage=STAGE,
            save_every_seconds=math.inf,  # a run is shorter than a snapshot is worth
            attention="packed",
            sharding="whole",
        )
        facts = train(made.model, reader, plan, job)
    losses = {language: bits_per_byte(made.model, rows, made.corpora.token_bytes_V) for language, rows in made.held_out.items()}
    if bad := [language for language, loss in losses.items() if not math.isfinite(loss)]:
        raise CurationError(f"the held-out loss of {bad[0]} is {losses[bad[0]]}: lower the proxies' learning rate")
    return {
        "losses": losses,
        "drawn": {language: portion["tokens"] for language, portion in facts["portions"].items()},
        "tokens": facts["tokens"],
        "device": device,
        "parameters": facts["parameters"],
        "first_loss": facts["first_loss"],
        "final_loss": facts["final_loss"],
        "seconds": round(time.perf_counter() - wall, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
    }


def bits_per_byte(model: PreTrainedModel, rows: list[Row], token_bytes_V: Counts) -> float:
    """Bits of all labels of the rows (ends of documents too) over the UTF-8 bytes that they stand for."""
    import torch

    from training.pretraining.attention import packed_loss

    nats, size = 0.0, 0
    model.eval()
    with torch.no_grad():
        for start in range(0, len(rows), JUDGED_AT_ONCE):
            part = rows[start : start + JUDGED_AT_ONCE]
            ids_BT = np.stack([row.ids_T for row in part])
            loss, _ = packed_loss(model, torch.from_numpy(ids_BT).to(model.device), [row.lengths for row in part])
            nats += loss.item()
            size += int(token_bytes_V[ids_BT[:, 1:]].sum())
    return nats / math.log(2) / size


def main(arguments: list[str]) -> int:
    """Carry out plan.json of the directory; returns 1 after the first run that fails, when those that had begun have ended."""
    directory, workers = Path(arguments[0]), int(arguments[1])
    caller = os.getppid()
    prepare("cpu", 1)
    plan = json.loads((directory / PLAN).read_text(encoding="utf-8"))
    made = bench(decode(plan["settings"]), ProxyCorpora.load(directory / TEXT, plan["languages"]))
    waiting, failed = list(reversed(plan["runs"])), False
    running: dict[int, str] = {}
    # A caller that is gone wants no more of it.
    while running or (waiting and not failed and os.getppid() == caller):
        while waiting and not failed and len(running) < workers:
            ordered = waiting.pop()
            running[_forked(made, ordered, directory, plan["device"])] = ordered["run"]
        child, status = os.wait()
        run = running.pop(child)
        if status:
            failed = True
            ended = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "an error"
            print(f"proxy {run} ended with {ended}", file=sys.stderr, flush=True)
        else:
            print(run, flush=True)
    return 1 if failed else 0


def _forked(made: Bench, ordered: Mapping[str, Any], directory: Path, device: str) -> int:
    """Fork a child that does one run and leaves its row; returns its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        row = one(made, ordered["weights"], prepare(device, 1))  # a GPU is first touched here: it does not survive a fork
        write_atomically(directory / RUNS / f"{ordered['run']}.json", {**ordered, "variant": variant(ordered["run"]), **row})
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)  # the parent's files and threads are not the child's to close


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
