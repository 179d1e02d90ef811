"""Lines seen too often: menus, notices and the like, removed wherever they stand (3.1; in the paper 5 % of the tokens).

    python -m training.curation lines --input a.jsonl --output out/ [--set lines.most=5 lines.bucket=10000000]

Lines are counted a bucket of documents at a time, in the order of the documents: a line is boilerplate because it is frequent nearby, not because
the corpus is large. The paper gives both numbers and no more. Chosen here: lines are alike that differ in case, in numbers (a run of digits of any
script is one sign) and in white space; every occurrence counts, within one document too, and every occurrence goes, the first ones as well.
A line of one character is left alone: brackets, bullets and lone numbers are frequent in any 10 million documents and say nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from training.curation import narrow
from training.curation.documents import CurationError, Document
from training.curation.engine import Engine
from training.curation.layer import Decision, Judge, Layer, shown

EMPTY, SHORT = "only frequent lines", "too little left without its frequent lines"
LINES, BYTES = "lines removed", "bytes removed"
_DIGITS = re.compile(r"\d+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lines(Layer):
    """Removes lines that occur more than `most` times in a bucket of `bucket` documents.

    Lines of fewer than `least_characters` after folding are neither counted nor removed. A document of which something was removed is
    dropped where fewer than `least_left` characters are left.
    """

    name: ClassVar[str] = "lines"
    version: ClassVar[int] = 1
    cuts: ClassVar[bool] = True
    most: int = 5
    bucket: int = 10_000_000
    least_characters: int = 2
    least_left: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers that count nothing."""
        for name in ("most", "bucket", "least_characters", "least_left"):
            if getattr(self, name) < 1:
                raise CurationError(f"lines.{name} is {getattr(self, name)}; set it to 1 or more")

    def prepare(self, shards: Sequence[Path], work: Path, engine: Engine) -> None:
        """Leaves plan.json, the number of each shard's first document, and frequent-NNNNN.npy, the sorted keys of each bucket's frequent lines."""
        sizes = [narrow.rows([shard]) for shard in shards]
        starts = [0, *itertools.accumulate(sizes)][: len(shards)]
        aside = work / "keys"
        aside.mkdir()
        files: dict[int, list[Path]] = {}
        for written in engine.map(functools.partial(_count, aside=aside, layer=self), list(zip(shards, starts, strict=True))):
            for bucket, file in written:
                files.setdefault(bucket, []).append(file)
        for bucket, counted in files.items():
            np.save(work / f"frequent-{bucket:05d}.npy", self._frequent(engine, counted))
        (work / "plan.json").write_text(json.dumps({"starts": starts}))
        shutil.rmtree(aside)

    def _frequent(self, engine: Engine, files: Sequence[Path]) -> narrow.Keys:
        """The keys of the bucket's frequent lines, sorted."""
        found = [np.empty(0, dtype=np.int64)]
        for part in narrow.in_parts(engine, files):
            col = engine.daft().col
            often = part.groupby("key").agg(col("times").sum()).where(col("times") > self.most)
            found.append(often.select("key").to_arrow().column("key").to_numpy())
        return np.sort(np.concatenate(found))

    def judge(self, work: Path) -> Judge:
        """Removes the lines that the plan names."""
        starts = json.loads((work / "plan.json").read_text())["starts"]

        @functools.lru_cache(maxsize=2)
        def frequent(bucket: int) -> narrow.Keys:
            file = work / f"frequent-{bucket:05d}.npy"
            return np.load(file) if file.exists() else np.empty(0, dtype=np.int64)

        def judge(documents: Sequence[Document], shard: int, first: int) -> list[Decision]:
            number = starts[shard] + first
            return [self._decision(document, frequent((number + row) // self.bucket)) for row, document in enumerate(documents)]

        return judge

    def _decision(self, document: Document, frequent: narrow.Keys) -> Decision:
        places, folded = folded_lines(document.text, self.least_characters)
        keys = narrow.keys(folded)
        places_at = np.searchsorted(frequent, keys)
        hit = frequent[np.minimum(places_at, len(frequent) - 1)] == keys if len(frequent) else np.zeros(len(keys), dtype=bool)
        if not hit.any():
            return Decision(document=document)
        removed = {place for place, out in zip(places, hit.tolist(), strict=True) if out}
        lines = document.text.split("\n")
        left = "\n".join(line for place, line in enumerate(lines) if place not in removed)
        counts = {LINES: len(removed), BYTES: len(document.text.encode()) - len(left.encode())}
        characters = len(left.strip())
        if characters == 0:
            return Decision(reason=EMPTY, detail=f"{len(removed)} lines", counts=counts)
        if characters < self.least_left:
            return Decision(reason=SHORT, detail=f"{characters} characters < {self.least_left}", counts=counts)
        cut = shown(lines[place] for place in sorted(removed))
        return Decision(document=dataclasses.replace(document, text=left), counts=counts, cut=cut)


def folded_lines(text: str, least: int) -> tuple[list[int], list[str]]:
    """The lines of at least `least` characters, folded, and their numbers among all lines of the text (split at line feeds only)."""
    folded = _DIGITS.sub("0", text.casefold()).split("\n")
    normal = [" ".join(line.split()) for line in folded]
    places = [place for place, line in enumerate(normal) if len(line) >= least]
    return places, [normal[place] for place in places]


def _count(item: tuple[Path, int], aside: Path, layer: Lines) -> list[tuple[int, Path]]:
    """Of one shard and each bucket that it reaches into: the keys of its lines and how often each occurs, as (bucket, file)."""
    shard, start = item
    found: dict[int, list[narrow.Keys]] = {}
    for first, batch in narrow.batches(shard, ("text",)):
        for number, text in enumerate(batch.column("text").to_pylist(), start + first):
            found.setdefault(number // layer.bucket, []).append(narrow.keys(folded_lines(text or "", layer.least_characters)[1]))
    written = []
    for bucket, parts in found.items():
        keys, times = np.unique(np.concatenate(parts), return_counts=True)
        file = aside / f"{bucket:05d}-{start:015d}.parquet"
        narrow.write(file, {"key": keys, "times": times.astype(np.int64)})
        written.append((bucket, file))
    return written
