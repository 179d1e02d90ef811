"""Our side of the benchmark of language identification, as a command; its other side is peers/fasttext_lid176.py.

    python -m benchmarks.speed.identification_work --input asked.jsonl --output labels.json

labels.json holds for each document [language, languages it may be in]; the last line printed is JSON: documents, and the CPU seconds of identifying
them, without reading them and without what a process does once (`training.identification` makes its table of n-grams).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from benchmarks.speed.short_documents import read
from training.identification import identify, identify_many


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.identification_work")
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    texts = [text for _, text in read(given.input)]
    identify("")  # what is done once
    begun = time.process_time()
    found = identify_many(texts)
    seconds = time.process_time() - begun
    given.output.write_text(json.dumps([[one.language, sorted(one.among)] for one in found]), encoding="utf-8")
    print(json.dumps({"documents": len(texts), "seconds": seconds}))


if __name__ == "__main__":
    main()
