"""text-dedup's MinHash over Parquet shards, by its own command: pip install text-dedup==0.4.0.

    PYTHON benchmarks/speed/peers/text_dedup_minhash.py --input SHARDS --output DIR --permutations 256 --threshold 0.7 --workers 2

Its defaults but for the permutations, as in SailCraft: shingles of five pieces between non-word characters, SHA-1, no verification; at .7 and 256 it takes
25 bands of 10. labels.npy tells for each row the least row of its cluster.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet


class _Clusters(pickle.Unpickler):
    """Reads what the command above has just written, and no other class than its own."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("text_dedup.") or (module, name) in (("collections", "Counter"), ("collections", "defaultdict")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no part of text-dedup's clusters")


def main() -> None:
    """The command line; the last line printed is JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--permutations", type=int, required=True)
    parser.add_argument("--threshold", type=float, required=True)
    parser.add_argument("--workers", type=int, required=True)
    given = parser.parse_args()
    shards = sorted(given.input.glob("*.parquet"))
    kept, cache = given.output / "kept", given.output / "cache"
    command = [sys.executable, "-m", "text_dedup.minhash", "--path", "parquet", "--data_files", str(given.input / "*.parquet")]
    command += ["--split", "train", "--column", "text", "--cache_dir", str(cache), "--output", str(kept), "--debug"]
    command += ["--num_perm", str(given.permutations), "--threshold", str(given.threshold), "--num_proc", str(given.workers)]
    offline = {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    subprocess.run(command, env={**os.environ, **offline}, check=True)
    labels = np.arange(sum(pyarrow.parquet.read_metadata(path).num_rows for path in shards))
    with (kept / "uf.pkl").open("rb") as file:
        found = _Clusters(file).load()
    for row in list(found.parent):
        labels[row] = found.find(row)
    np.save(given.output / "labels.npy", labels)
    print("\n" + json.dumps({"dropped": int((labels != np.arange(len(labels))).sum())}))


if __name__ == "__main__":
    main()
