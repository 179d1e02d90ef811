"""The builder of `stage1` and `stage2`: the parent checkpoint, trained on (paper 4.3, 4.4)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from training.models import load
from training.pretraining import corpus
from training.pretraining.expand import trainable_parameters
from training.pretraining.loop import Plan, train
from training.pretraining.packing import PackingError
from training.pretraining.stream import Stream
from training.recipe import ContinuePretraining, digest, encode

if TYPE_CHECKING:
    from training.run import Job


def build(recipe: ContinuePretraining, job: Job) -> None:
    """Train the parent on the recipe's portions and leave the checkpoint in `job.result`."""
    from training.run import RANK, add_facts

    parent = job.parent()
    tokenizer = load.load_tokenizer(parent)
    corpora, rows = corpus.of_job(recipe.portions, tokenizer, job)
    reader = Stream(corpora, recipe.sequence, recipe.seed, most_epochs=recipe.most_epochs)
    rows_wanted = recipe.steps * recipe.batch
    if (left := reader.rows_left()) is not None and left < rows_wanted:  # said now, and not after weeks
        raise PackingError(
            f"the text, read at most {recipe.most_epochs:g} times, fills {left:,} rows of {recipe.sequence} tokens, and {rows_wanted:,} are to be "
            "trained on: raise the recipe's `most_epochs`, or draw fewer tokens"
        )
    model = load.load_model(parent, dtype="float32")  # on the CPU: `train` puts it, whole or its part, where it learns
    trainable_parameters(model, recipe.train)
    plan = Plan(
        steps=recipe.steps,
        batch=recipe.batch,
        optimisation=recipe.optimisation,
        identity=digest({"recipe": encode(recipe), "rows": rows}),
        precision=recipe.precision,
        isolation=recipe.document_isolation,
        label_shift=recipe.label_shift,
    )
    facts = train(model, reader, plan, job)
    if RANK == 0:
        job.progress("save", step=recipe.steps, steps=recipe.steps)
        load.save_checkpoint(model, parent, job.result)
        if recipe.swapped_tokenizer:
            swap_vocabulary(job.result / "tokenizer.json")
        add_facts(job.result / "build.json", **facts, rows=rows)


def swap_vocabulary(path: Path) -> None:
    """Plant a defect: give the tokenizer's entries, but for the special tokens, each other's ids in reverse order."""
    data = json.loads(path.read_text(encoding="utf-8"))
    special = {token["content"] for token in data.get("added_tokens", ())}
    vocabulary = data["model"]["vocab"]
    names = [token for token in vocabulary if token not in special]
    ids = [vocabulary[token] for token in names]
    vocabulary.update(zip(names, reversed(ids), strict=True))
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
