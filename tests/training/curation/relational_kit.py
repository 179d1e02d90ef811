"""Both passes of a layer over documents in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from training.curation.documents import Document, write
from training.curation.engine import Engine
from training.curation.layer import Decision, Layer

HERE = Engine(workers=1)


def shards(directory: Path, documents: Sequence[Sequence[Document]]) -> list[Path]:
    """Each list as a Parquet shard."""
    paths = [directory / f"shard-{number:05d}.parquet" for number in range(len(documents))]
    for path, part in zip(paths, documents, strict=True):
        write(path, part)
    return paths


def decisions(layer: Layer, documents: Sequence[Sequence[Document]], batch: int = 3, engine: Engine = HERE) -> list[list[Decision]]:
    """The decisions a shard; shards are judged last to first, in batches, for neither may matter."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name) / "work"
        work.mkdir()
        layer.prepare(shards(Path(name), documents), work, engine)
        judge = layer.judge(work)
        made = []
        for shard in reversed(range(len(documents))):
            part = documents[shard]
            made.append([decision for first in range(0, len(part), batch) for decision in judge(part[first : first + batch], shard, first)])
    return made[::-1]
