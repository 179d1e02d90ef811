"""The files that the stages of the paper's profiles read, of the corpus that their stage `curation` leaves.

    python -m training.recipes.sailor2_files CORPUS DIRECTORY

writes of each language DIRECTORY/stage1/LANGUAGE.jsonl (Table 4's: every document) and DIRECTORY/stage2/LANGUAGE.jsonl (Table 5's: the best fifth by
the classifier, of equal scores the first; 3.2). English and Chinese are the user's own. A file comes under its name when it is whole; one that
is there already is refused. Scores are in memory, 8 bytes a document; texts are read twice.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training import parquet
from training.curation import ranking
from training.curation.documents import CurationError
from training.recipes import sailor2
from training.whole import whole

COLUMNS = ("id", "text", "language", "source", "licence")
SCORE = "quality"


def write_files(corpus: Path, directory: Path) -> dict[str, int]:
    """File (from `directory`) -> documents in it. Raises CurationError for a corpus without scores or a language, and for a file that is there."""
    wanted = {f"stage1/{language}.jsonl": language for language in sailor2.STAGE1_NEW}
    wanted |= {f"stage2/{language}.jsonl": language for language in sailor2.TABLE_5}
    if there := [name for name in wanted if (directory / name).exists()]:
        raise CurationError(f"{directory / there[0]} is there already; move it away or name another directory")
    shards = sorted((corpus / "shards").glob("*.parquet"))
    best = _best(shards, corpus)
    if missing := [language for language in sailor2.CRAWLED if not best.get(language, np.zeros(0)).any()]:
        raise CurationError(f"{corpus} has no document with a score in {', '.join(missing)}; the recipe has examples of every language")
    written = dict.fromkeys(wanted, 0)
    met = dict.fromkeys(best, 0)
    with contextlib.ExitStack() as held:
        files = {}
        for name in wanted:
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            files[name] = held.enter_context(held.enter_context(whole(directory / name)).open("w", encoding="utf-8"))
        for shard in shards:
            for row in _rows(shard, COLUMNS):
                language = row["language"]
                if language not in best:
                    continue
                good = best[language][met[language]]
                met[language] += 1
                line = json.dumps({key: row[key] for key in COLUMNS if key in row and key != "language"}, ensure_ascii=False) + "\n"
                for name in (f"stage1/{language}.jsonl", *([f"stage2/{language}.jsonl"] if good else ())):
                    if name in files:
                        files[name].write(line)
                        written[name] += 1
    return written


def _best(shards: Sequence[Path], corpus: Path) -> dict[str, ranking.Flags]:
    """Language -> which of its documents, in order, are among its best fifth; one without a score is not. Raises CurationError."""
    scores: dict[str, list[ranking.Floats]] = {}
    for shard in shards:
        found: dict[str, list[float]] = {}
        for row in _rows(shard, ("language", SCORE)):
            if row["language"] in sailor2.CRAWLED:
                score = row.get(SCORE)
                found.setdefault(row["language"], []).append(float("nan") if score is None else float(score))
        for language, told in found.items():
            scores.setdefault(language, []).append(np.array(told))
    if not scores:
        raise CurationError(f"{corpus} holds no shards/*.parquet with text of {', '.join(sailor2.CRAWLED)}; give what `curation` left")
    joined = {language: np.concatenate(parts) for language, parts in scores.items()}
    return {
        language: ranking.best(own, np.zeros(len(own), dtype=np.int64), sailor2.BEST) & ~np.isnan(own) for language, own in joined.items()
    }


def _rows(shard: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(shard)
        known = [name for name in columns if name in file.schema_arrow.names]
        for batch in parquet.batches(file, 1024, known):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise CurationError(f"{shard} is not a readable Parquet file ({error}); make the corpus again") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 well, 2 not."""
    parser = argparse.ArgumentParser(
        prog="python -m training.recipes.sailor2_files", description="the files of stages 1 and 2, of a corpus"
    )
    parser.add_argument("corpus", metavar="CORPUS", type=Path, help="what the stage curation left: it holds shards/")
    parser.add_argument("directory", metavar="DIRECTORY", type=Path, help="where stage1/ and stage2/ are written (SEATRIALS_CORPUS)")
    told = parser.parse_args(arguments)
    try:
        for name, documents in write_files(told.corpus, told.directory).items():
            print(f"{name:<24}{documents:>14,} documents")
    except CurationError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
