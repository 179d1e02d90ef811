"""The text that a profile's suites ask about, as training text is compared with it.

    python -m harness.evaluation_text ORDER.json

A child that the pipeline runs before a corpus is curated: it leaves `windows.npz`, hashes by which the layer `decontaminate` finds the text, and
`windows.json` with the digest of the texts, which is part of what the corpus is made from: what asks the same text in another way changes nothing.
Compared are what a suite shows the model with what it lets it score after that (a choice, a translation), and the latter alone where it is two
windows or longer: a shorter one is an answer and no text.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.conditions import lacking
from harness.durable import write_json
from harness.suites import Sample, SuiteContext, SuiteError, load
from training.pretraining.sources import SourceError
from training.recipe import decode
from training.windows import normalised, shortest

WINDOWS, FACTS = "windows.npz", "windows.json"


def hub_of(order: Mapping[str, Any]) -> Path | None:
    """The local mirror of an order."""
    return Path(order["hub"]) if order["hub"] else None


def evaluation_texts(order: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(suite, sample, text) of everything that the order's suites ask of a checkpoint; a suite that this run cannot ask is left out.

    Raises SuiteError.
    """
    originals = tuple(order["originals"])
    context = SuiteContext(hub=order["hub"], profile_dir=order["profile_dir"], samples="full", originals=originals)
    found = []
    for name, encoded in order["suites"].items():
        spec = decode(encoded)
        if lacking(spec, [Path(path) for path in originals], {"HF_ALLOW_CODE_EVAL": "1"}):  # no code is run to read what is asked
            continue
        suite = load(spec, name)
        if getattr(suite, "needs_tokenizer", False) or not getattr(suite, "needs_model", True):
            continue  # drawn for an artifact, and there is none yet
        for sample in suite.samples(context):
            found += [(name, sample.sample, text) for text in texts_of(sample, order["window"])]
    return found


def texts_of(sample: Sample, window: int) -> list[str]:
    """What of a sample is compared: each request, context and continuation as one text, and each continuation of two windows or more."""
    whole = dict.fromkeys(request.context + request.continuation for request in sample.requests)
    scored = dict.fromkeys(request.continuation for request in sample.requests)
    return [*whole, *(text for text in scored if text not in whole and len(normalised(text)) >= 2 * window)]


def carry_out(arguments: Sequence[str], phase: str, work: Callable[[Mapping[str, Any], Path], None]) -> int:
    """Hand an order and its directory to `work`; what goes wrong stands in error.json beside the order, and 1 is returned."""
    order_path = Path(arguments[0])
    directory = order_path.parent
    (directory / "progress.jsonl").write_text(json.dumps({"time": time.time(), "phase": phase}) + "\n")
    order = json.loads(order_path.read_text(encoding="utf-8"))
    if order["hub"] is not None:
        os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    try:
        work(order, directory)
    except (SuiteError, SourceError) as error:
        write_json(directory / "error.json", {"type": type(error).__name__, "message": str(error)})
        return 1
    except Exception as error:
        facts = getattr(error, "facts", None)
        message = str(error)
        if facts is None:
            traceback.print_exc()  # into the log beside the order
            message = f"{type(error).__name__}: {error}"
        write_json(directory / "error.json", {"type": type(error).__name__, "message": message, **(facts or {})})
        return 1
    return 0


def write_windows(order: Mapping[str, Any], directory: Path) -> None:
    """Leave the hashes of the order's evaluation texts, and last what they are of."""
    from training.curation.decontaminate import write_ngrams
    from training.pretraining.sources import file_digest

    found = evaluation_texts(order)
    write_ngrams(((f"{suite} {sample}", text) for suite, sample, text in found), directory / WINDOWS, order["window"])
    told = {"digest": texts_digest((text for _, _, text in found), order["window"]), "sha256": file_digest(directory / WINDOWS)}
    write_json(directory / FACTS, {**told, "texts": len(found), "suites": sorted({suite for suite, _, _ in found})})


def texts_digest(texts: Iterable[str], window: int) -> str:
    """SHA-256 (hex) of the texts as they are compared, whatever their order and whoever asks them."""
    known = sorted({hashlib.sha256(data).hexdigest() for text in texts if len(data := normalised(text)) >= shortest(window)})
    return hashlib.sha256(json.dumps([window, known]).encode()).hexdigest()


def main(arguments: Sequence[str]) -> int:
    """0: the windows are there; 1: an error, in error.json beside the order."""
    return carry_out(arguments, "reading evaluation texts", write_windows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
