"""One document of each cluster of near duplicates: MinHash with banding, candidates verified by exact Jaccard (3.2; 5.1.1 for chat data).

    python -m training.curation near --input a.jsonl --output out/ [--set near.permutations=128 --set near.threshold=0.8]

Defaults are SailCraft's: 256 permutations, threshold .7, shingles of 5 words, hence 25 bands of 10. Those of the chat data: 128, .8, per language.
Two documents of similarity s meet with probability 1 - (1 - s^rows)^bands (near_bands.py): .51, .94 and .9999 at .7, .8 and .9 by default, but
with 128 and .8 (9 bands of 13) .40 at .8 and .93 at .9; ask for more bands where that is too few.

First pass: signatures of the texts of each shard, as keys of bands. Then the buckets of each band; second pass: shingle sets of the candidates
among them only, compared exactly. The plan is a small Parquet file for each shard that loses documents, sorted by row.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from training.curation import narrow, near_bands
from training.curation.documents import CurationError, Document
from training.curation.engine import Engine
from training.curation.layer import Decision, Judge, Layer

Keep = Literal["longest", "first"]
REASON = "near duplicate"
HERE = 10_000_000  # places in bands below which a process of its own costs more than it saves


@dataclasses.dataclass(frozen=True, kw_only=True)
class Near(Layer):
    """Keeps one document of a cluster: the longest in characters, of equally long ones the first by shard and row; or the first.

    `bands`, `rows`: 0 for what serves threshold and permutations best. `shingle`: units (near_signatures.py says what a unit is). `verify`:
    candidates are alike where the exact Jaccard of their shingle sets reaches the threshold; without, where they share a band. `per_language`:
    no cluster crosses languages. `hash`: "sha1" with verify off gives text-dedup 0.4.0's clusters.
    """

    name: ClassVar[str] = "near"
    version: ClassVar[int] = 1
    permutations: int = 256
    threshold: float = 0.7
    bands: int = 0
    rows: int = 0
    shingle: int = 5
    verify: bool = True
    per_language: bool = False
    keep: Keep = "longest"
    hash: near_bands.Hash = "splitmix"

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        for name, known in (("keep", get_args(Keep)), ("hash", get_args(near_bands.Hash))):
            if getattr(self, name) not in known:
                raise CurationError(f"near.{name} is {getattr(self, name)!r}; it is one of {', '.join(known)}")
        if not 0 < self.threshold <= 1:
            raise CurationError(f"near.threshold is {self.threshold}; a Jaccard similarity lies above 0 and at most at 1")
        if min(self.permutations, self.shingle) < 1 or min(self.bands, self.rows) < 0:
            raise CurationError("near.permutations and near.shingle are 1 at least, near.bands and near.rows 0 (chosen) or more")
        bands, rows = self.banding()
        if min(bands, rows) < 1 or bands * rows > self.permutations:
            raise CurationError(
                f"near: {bands} bands of {rows} rows need {bands * rows} permutations; near.permutations is {self.permutations}"
            )

    def banding(self) -> tuple[int, int]:
        """(bands, rows): as set, the missing one as many as the permutations allow, or both chosen for the threshold."""
        match self.bands, self.rows:
            case 0, 0:
                return near_bands.optimal(self.threshold, self.permutations)
            case bands, 0:
                return bands, self.permutations // bands
            case 0, rows:
                return self.permutations // rows, rows
            case bands, rows:
                return bands, rows

    def prepare(self, shards: Sequence[Path], work: Path, engine: Engine) -> None:
        """Leaves dropped-NNNNN.parquet (row, kept_id, jaccard) of each shard that loses documents, and plan.json, last, with the counts."""
        from training.curation import near_clusters as clusters

        bands, rows = self.banding()
        scheme = near_bands.Scheme(hash=self.hash, shingle=self.shingle, permutations=self.permutations, bands=bands, rows=rows)
        aside = work / "keys"
        aside.mkdir()
        sign = functools.partial(_sign, aside=aside, scheme=scheme, per_language=self.per_language)
        signed = list(engine.map(sign, list(enumerate(shards))))
        first_rows = np.cumsum([0, *(len(sequences) for sequences, _ in signed)])
        sequences = np.concatenate([np.empty(0, dtype=np.uint64), *(part for part, _ in signed)])
        characters = np.concatenate([np.empty(0, dtype=np.int64), *(part for _, part in signed)])
        del signed

        def spread(function: Any, items: Sequence[Any]) -> Iterator[Any]:
            return engine.map(function, items) if len(sequences) * bands >= HERE else map(function, items)

        addresses, of = clusters.distinct(sequences)
        np.save(aside / "distinct.npy", addresses)
        files = [aside / f"keys-{number:05d}.npy" for number in range(len(shards))]
        buckets_of = functools.partial(clusters.buckets_of, files=files, distinct_file=aside / "distinct.npy")
        buckets = clusters.joined(list(spread(buckets_of, range(bands))) if files else [])
        rank = self._rank(characters, of, len(addresses))
        if self.verify:
            component, jaccard, compared = clusters.verified(
                buckets, addresses, rank, shards, first_rows[:-1], scheme, self.threshold, aside, spread
            )
        else:
            component, compared = clusters.components(buckets, len(addresses)), 0
            jaccard = np.full(len(addresses), np.nan)
        some = np.flatnonzero(of >= 0)
        order = some[np.lexsort((some, some if self.keep == "first" else -characters[some], component[of[some]]))]
        kept = order[_firsts(component[of[order]])]
        in_favour = np.repeat(kept, np.diff(np.flatnonzero(np.concatenate([_firsts(component[of[order]]), [True]]))))
        similar = np.where(of[order] == of[in_favour], 1.0, jaccard[of[order]])
        gone = order != in_favour
        _write(work, shards, first_rows, order[gone], in_favour[gone], similar[gone])
        shutil.rmtree(aside)
        counts = {
            "documents": len(sequences),
            "without shingles": len(sequences) - len(some),
            "candidates": len(np.unique(buckets.members)),
        }
        counts |= {"pairs compared": compared, "clusters": len(np.unique(in_favour[gone])), "dropped": int(gone.sum())}
        (work / "plan.json").write_text(json.dumps({"bands": bands, "rows": rows, "counts": counts}, indent=1) + "\n")

    def _rank(self, characters: npt.NDArray[np.int64], of: npt.NDArray[np.int64], number: int) -> npt.NDArray[np.int64]:
        """For each distinct document, its place in the order of preference: that of the best of those equal to it."""
        some = np.flatnonzero(of >= 0)
        order = some if self.keep == "first" else some[np.lexsort((some, -characters[some]))]
        rank = np.empty(number, dtype=np.int64)
        rank[of[order[::-1]]] = np.arange(len(order))[::-1]
        return rank

    def judge(self, work: Path) -> Judge:
        """Drops what the plan names."""
        if not (work / "plan.json").is_file():
            raise CurationError(f"{work} holds no whole plan of the near layer (plan.json): prepare it again in an empty directory")
        dropped = functools.lru_cache(maxsize=2)(functools.partial(_dropped, work))

        def judge(documents: Sequence[Document], shard: int, first: int) -> list[Decision]:
            plan = dropped(shard)
            return [
                Decision(reason=REASON, detail=plan[row]) if row in plan else Decision(document=document)
                for row, document in enumerate(documents, first)
            ]

        return judge


def _sign(
    item: tuple[int, Path], aside: Path, scheme: near_bands.Scheme, per_language: bool
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Write the keys of a shard's bands, (bands, rows); returns the keys of its shingle sequences and its lengths in characters."""
    from training.curation import near_signatures as near

    number, shard = item
    keys, sequences, characters = [np.empty((scheme.bands, 0), np.uint64)], [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for _, batch in narrow.batches(shard, ("text", "language")):
        found = near.shingles(batch.column("text"), scheme)
        salt = np.zeros(batch.num_rows, dtype=np.uint64)
        if per_language and "language" in batch.schema.names:
            languages = batch.column("language").to_pylist()
            salts = {language: _salt(language or "") for language in set(languages)}
            salt = np.array([salts[language] for language in languages], dtype=np.uint64)
        of_bands, of_texts = near.keys(near.signatures(found, scheme), found, salt, scheme)
        keys.append(of_bands)
        sequences.append(of_texts)
        characters.append(found.characters)
    np.save(aside / f"keys-{number:05d}.npy", np.concatenate(keys, axis=1))
    return np.concatenate(sequences), np.concatenate(characters)


def _salt(language: str) -> int:
    return int.from_bytes(hashlib.blake2b(language.encode(), digest_size=8).digest(), "little")


def _firsts(sorted_values: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Where a new value begins."""
    return np.concatenate([np.ones(min(1, len(sorted_values)), dtype=bool), sorted_values[1:] != sorted_values[:-1]])


def _write(work: Path, shards: Sequence[Path], first_rows: Any, dropped: Any, kept: Any, jaccard: Any) -> None:
    """The plan: global rows of the dropped and the kept, as (row, id of the kept, Jaccard) for each shard."""
    import pyarrow
    import pyarrow.parquet

    ids = _ids(shards, first_rows, np.unique(kept))
    order = np.argsort(dropped)
    dropped, kept, jaccard = dropped[order], kept[order], jaccard[order]
    for number, (low, high) in enumerate(itertools.pairwise(first_rows.tolist())):
        here = slice(*np.searchsorted(dropped, [low, high]))
        if len(dropped[here]):
            columns = {"row": dropped[here] - low, "kept_id": [ids[row] for row in kept[here].tolist()], "jaccard": jaccard[here]}
            pyarrow.parquet.write_table(pyarrow.table(columns), work / f"dropped-{number:05d}.parquet", compression="zstd")


def _ids(shards: Sequence[Path], first_rows: Any, rows: Any) -> dict[int, str]:
    """The ids of global rows; a document without one is known by file and row, as everywhere."""
    found: dict[int, str] = {}
    for number, shard in enumerate(shards):
        wanted = rows[slice(*np.searchsorted(rows, first_rows[number : number + 2]))] - first_rows[number]
        if not len(wanted):
            continue
        ids = [
            made for _, batch in narrow.batches(shard, ("id",)) for made in (batch.column("id").to_pylist() if batch.num_columns else [])
        ]
        found |= {int(first_rows[number]) + row: str((ids[row] if ids else None) or f"{shard.name}#{row + 1}") for row in wanted.tolist()}
    return found


def _dropped(work: Path, shard: int) -> dict[int, str]:
    """Row -> what is said of it, for the rows of a shard that are dropped."""
    import pyarrow.parquet

    file = work / f"dropped-{shard:05d}.parquet"
    if not file.is_file():
        return {}
    table = pyarrow.parquet.read_table(file).to_pydict()
    said = ("not verified" if np.isnan(jaccard) else f"Jaccard {jaccard:.2f}" for jaccard in table["jaccard"])
    return {row: f"kept is {kept} ({how})" for row, kept, how in zip(table["row"], table["kept_id"], said, strict=True)}
