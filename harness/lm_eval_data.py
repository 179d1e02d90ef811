"""lm-eval's data sets from a local mirror of the Hub: `DATASET/CONFIG/SPLIT.jsonl|parquet`, counted against its MANIFEST.json.

While a task is being built, `datasets.load_dataset` is answered from the mirror; a task reads its rows as it would from the Hub.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.suites import SuiteError
from training.pretraining import sources as reading

# Owners that the Hub forwards: lm-eval's YAMLs hold the old name, a mirror may hold either.
FORWARDED = {"CohereForAI": "CohereLabs"}


@contextlib.contextmanager
def from_mirror(hub: str | None) -> Iterator[None]:
    """Answer `datasets.load_dataset` from the mirror; with None leave it alone (the Hub checks its own counts)."""
    if hub is None:
        yield
        return
    import datasets

    real = datasets.load_dataset
    datasets.load_dataset = lambda path, name=None, *rest, split=None, **more: _load(real, Path(hub), path, name, split, rest, more)
    try:
        yield
    finally:
        datasets.load_dataset = real


def _load(real: Any, hub: Path, path: str, name: str | None, split: str | None, rest: tuple[Any, ...], more: dict[str, Any]) -> Any:
    if path in ("json", "csv", "parquet", "text") or Path(path).exists():  # a task's own files
        return real(path, name, *rest, split=split, **more)
    import datasets

    folder = _folder(hub, path, name)
    found: dict[str, Any] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix in (".jsonl", ".parquet") and file.stem not in found:
            found[file.stem] = datasets.Dataset.from_list(rows(hub, file))
    if not found:
        raise SuiteError(f"the mirror's {folder} holds no .jsonl or .parquet file")
    if split is None:
        return datasets.DatasetDict(found)
    plain, _, part = split.partition("[")
    if plain not in found:
        raise SuiteError(f"the mirror has no split {plain} of {path}/{name}: {folder} holds {', '.join(found)}")
    if not part:
        return found[plain]
    cut = re.fullmatch(r"(\d*):(\d*)\]", part)
    if cut is None:
        raise SuiteError(f"the split {split!r} of {path} cannot be cut from a mirror; write it as [BEGIN:END]")
    return found[plain].select(range(*slice(*(int(at) if at else None for at in cut.groups())).indices(len(found[plain]))))


def _folder(hub: Path, path: str, name: str | None) -> Path:
    home = hub / path
    owner, _, dataset = path.partition("/")
    if not home.is_dir() and owner in FORWARDED:
        home = hub / FORWARDED[owner] / dataset
    if not home.is_dir():
        raise SuiteError(
            f"the mirror {hub} has no data set {path}; fetch it there as {path}/{name or 'CONFIG'}/SPLIT.jsonl, or leave --gate-hub out"
        )
    configs = sorted(entry.name for entry in home.iterdir() if entry.is_dir())
    if name is None and len(configs) == 1:
        return home / configs[0]
    if name is None or name not in configs:
        raise SuiteError(f"the mirror's {path} has no configuration {name}: it has {', '.join(configs)}")
    return home / name


def rows(hub: Path, file: Path) -> list[dict[str, Any]]:
    """The rows of a file of the mirror, as many and with the digest that its manifest says. Raises SuiteError."""
    try:
        return reading.rows_of_mirror(file, hub)
    except reading.SourceError as error:
        raise SuiteError(str(error)) from error
