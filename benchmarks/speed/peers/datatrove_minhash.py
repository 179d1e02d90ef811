"""datatrove's four MinHash steps over Parquet shards: pip install 'datatrove[io,processing]==0.10.1'.

    PYTHON benchmarks/speed/peers/datatrove_minhash.py --input SHARDS --output DIR --bands 16 --rows 8 --workers 2

One task a shard. Its defaults but for what a shingle is: five words between spaces, where each character of a script without spaces is a word, as in
ours; normalisation is lower case and white space only, so both hash the same shingles. What it keeps goes to plain JSONL, for its Parquet writer refuses
shards whose metadata differ. clusters/ tells what it takes for one.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.text import TextNormConfig
from datatrove.utils.word_tokenizers import WordTokenizer

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai and Lao, Burmese, Khmer
UNIT = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")


class Units(WordTokenizer):
    """Words between spaces; characters where a script has none."""

    def word_tokenize(self, text: str) -> list[str]:
        """The units of a text."""
        return UNIT.findall(text)

    def sent_tokenize(self, text: str) -> list[str]:
        """Not asked for by MinHash."""
        return [text]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Not asked for by MinHash."""
        return [(0, len(text))]


def run(steps: Iterable[tuple[str, list[object], int]], output: Path, workers: int) -> None:
    """One executor after the other: (name, pipeline, tasks)."""
    for name, pipeline, tasks in steps:
        LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=min(workers, tasks), logging_dir=str(output / "logs" / name)).run()


def main() -> None:
    """The command line; the last line printed is JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--bands", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    given = parser.parse_args()
    norm = TextNormConfig(remove_punctuation=False, norm_unicode_diacritics=False, norm_numbers=False)
    config = MinhashConfig(num_buckets=given.bands, hashes_per_bucket=given.rows, norm_config=norm)
    shards = len(list(given.input.glob("*.parquet")))
    signatures, buckets, clusters, kept = (str(given.output / name) for name in ("signatures", "buckets", "clusters", "kept"))
    read = ParquetReader(str(given.input), glob_pattern="*.parquet")
    steps: list[tuple[str, list[object], int]] = [
        ("1", [read, MinhashDedupSignature(output_folder=signatures, config=config, language=Units())], shards),
        ("2", [MinhashDedupBuckets(input_folder=signatures, output_folder=buckets, config=config)], given.bands),
        ("3", [MinhashDedupCluster(input_folder=buckets, output_folder=clusters, config=config, save_cluster_id=True)], 1),
        ("4", [read, MinhashDedupFilter(input_folder=clusters), JsonlWriter(kept, compression=None)], shards),
    ]
    run(steps, given.output, given.workers)
    removed = sum(path.stat().st_size // 4 for path in Path(clusters).glob("*.remove"))
    print("\n" + json.dumps({"dropped": removed}))


if __name__ == "__main__":
    main()
