"""A stage small enough to be built in a second: text files, a recipe of 12,000 parameters, orders and jobs for it."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.progress import Interruption
from training.recipe import Architecture, ContinuePretraining, FromScratch, Optimisation, Portion, TextFiles, encode
from training.run import Job

WORDS = {
    "eng": ["the", "boat", "came", "late", "and", "nobody", "sold", "fish", "in", "town", "that", "day"],
    "ind": ["perahu", "datang", "terlambat", "dan", "tidak", "ada", "ikan", "di", "kota"],
}


def write_text(directory: Path, documents: int = 60) -> None:
    """eng.jsonl and ind.jsonl: short documents of a few words in random order."""
    for language, words in WORDS.items():
        rng = random.Random(language)
        lines = [" ".join(rng.choices(words, k=rng.randint(3, 40))) for _ in range(documents)]
        text = "".join(json.dumps({"text": line}) + "\n" for line in lines)
        (directory / f"{language}.jsonl").write_text(text, encoding="utf-8")


def portions(english: int, indonesian: int) -> tuple[Portion, ...]:
    """Two portions on the two files."""
    return tuple(
        Portion(name=language, language=language, tokens=tokens, sources=(TextFiles(path=f"{language}.jsonl", language=language),))
        for language, tokens in (("eng", english), ("ind", indonesian))
    )


def scratch(steps: int = 12, **changes: Any) -> FromScratch:
    """A model of two layers on 4 rows of 32 tokens a step."""
    recipe = FromScratch(
        architecture=Architecture(vocabulary=280, hidden=16, intermediate=32, layers=2, heads=2, kv_heads=1, context=64),
        tokenizer_sources=tuple(source for portion in portions(1, 1) for source in portion.sources),
        portions=portions(steps * 64, steps * 64),
        optimisation=Optimisation(learning_rate=1e-2, decay="cosine", final_fraction=0.1, warmup_fraction=0.2),
        sequence=32,
        batch=4,
        seed=3,
    )
    return dataclasses.replace(recipe, **changes)


def continual(steps: int = 6, **changes: Any) -> ContinuePretraining:
    """The same, going on from a checkpoint."""
    recipe = ContinuePretraining(
        portions=portions(steps * 32, steps * 96), optimisation=Optimisation(learning_rate=5e-3), sequence=32, batch=4, seed=4
    )
    return dataclasses.replace(recipe, **changes)


def silent(phase: str, **values: Any) -> None:
    """A progress that tells nobody."""


def job(workdir: Path, texts: Path, progress: Callable[..., None] = silent, parents: dict[str, Path] | None = None, **changes: Any) -> Job:
    """A job on one thread that saves only when interrupted."""
    (workdir / "result").mkdir(parents=True, exist_ok=True)
    (workdir / "resume").mkdir(exist_ok=True)
    made = Job(
        parents=parents or {},
        hub=None,
        profile_dir=texts,
        result=workdir / "result",
        resume=workdir / "resume",
        progress=progress,
        threads=1,
        device="cpu",
        stage="stage1" if parents else "base",
        save_every_seconds=1e9,
        interruption=Interruption(),
    )
    return dataclasses.replace(made, **changes)


def order(workdir: Path, texts: Path, what: Any, **changes: Any) -> Path:
    """Write an order for `python -m training.run` and return its path."""
    workdir.mkdir(parents=True, exist_ok=True)
    content = {
        "schema": 1,
        "profile": "small",
        "stage": "base",
        "variant": "main",
        "recipe": encode(what),
        "parents": {},
        "hub": None,
        "profile_dir": str(texts),
        "workdir": str(workdir),
        "threads": 1,
        "device": "cpu",
        "save_every_seconds": 0.0,
        "attention": "auto",
        "sharding": "auto",
        "evaluation": None,
        "ray": "",
        **changes,
    }
    path = workdir / "order.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def losses(result: Path) -> list[float]:
    """The losses in result/metrics.jsonl."""
    return [json.loads(line)["loss"] for line in (result / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
