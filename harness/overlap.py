"""Stands between training and evaluation text: `python -m harness.overlap ORDER.json`, a child that the pipeline runs before it trains.

A text that a suite asks about overlaps with the training text where more than half of its windows of 50 bytes (after Unicode
compatibility folding, lower case, and white space taken out) also stand there. Half, because law, templates and quotations repeat
phrases; windows of bytes, because no segmenter knows all the scripts. A text shorter than a window overlaps where all of it stands
there. Compared are what a suite shows the model with what it lets it score after that (a choice, a translation), and the latter alone
where it is two windows or longer: a shorter one is an answer and no text. Training does not begin while one text overlaps.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
import traceback
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.durable import write_json
from harness.suites import Sample, SuiteContext, SuiteError, load
from training.pretraining.sources import SourceError, read, sources_of
from training.recipe import decode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]

WINDOW = 50  # bytes: some eight English words, or five Thai ones
SHARE = 0.5
BLOCK = 1 << 22  # bytes of training text hashed at once
PRIME = 0x9E3779B97F4A7C15 | 1  # odd, so that it has an inverse modulo 2**64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overlap:
    """A text of a suite that training also holds: `share` of its windows."""

    suite: str
    sample: str
    share: float


def normalised(text: str) -> bytes:
    """The text as it is compared."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return "".join(folded.split()).encode("utf-8", "surrogatepass")


def window_hashes(data: bytes, window: int = WINDOW) -> Hashes:
    """A 64-bit hash of every window of `data`, [max(0, len - window + 1)]; a text shorter than a window has none.

    The hash of data[i : i + w] is sum_j data[i + j] * p**j modulo 2**64: by prefix sums, so that all windows cost one pass.
    """
    import numpy as np

    count = len(data) - window + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    values = np.frombuffer(data, dtype=np.uint8).astype(np.uint64) + np.uint64(1)
    powers = np.full(len(data), PRIME, dtype=np.uint64)
    powers[0] = 1
    powers = np.multiply.accumulate(powers)
    inverses = np.full(count, pow(PRIME, -1, 1 << 64), dtype=np.uint64)
    inverses[0] = 1
    inverses = np.multiply.accumulate(inverses)
    sums = np.zeros(len(data) + 1, dtype=np.uint64)
    np.add.accumulate(values * powers, out=sums[1:])
    return (sums[window:] - sums[:-window]) * inverses


def find(training: Iterable[str], evaluation: Sequence[tuple[str, str, str]], window: int = WINDOW, share: float = SHARE) -> list[Overlap]:
    """The evaluation texts (suite, sample, text) that overlap with the training texts, the most overlapping first.

    A text shorter than a window overlaps (share 1) where all of it stands in one training text; an empty one never.
    """
    import numpy as np

    texts = [normalised(text) for _, _, text in evaluation]
    hashes = [window_hashes(text, window) for text in texts]
    wanted = np.unique(np.concatenate(hashes)) if hashes else np.zeros(0, dtype=np.uint64)
    met = np.zeros(len(wanted), dtype=bool)
    short = {text for text in texts if 0 < len(text) < window}
    sought = set(short)
    for block in _blocks(training):
        sought -= {text for text in sought if text in block}
        found = window_hashes(block, window)
        place = np.searchsorted(wanted, found)
        place[place == len(wanted)] = 0
        if len(wanted):
            met[place[wanted[place] == found]] = True
    overlaps = []
    for (suite, sample, _), text, own in zip(evaluation, texts, hashes, strict=True):
        reached = float(met[np.searchsorted(wanted, own)].mean()) if len(own) else float(text in short and text not in sought)
        if reached > share:
            overlaps.append(Overlap(suite=suite, sample=sample, share=reached))
    return sorted(overlaps, key=lambda overlap: (-overlap.share, overlap.suite, overlap.sample))


def _blocks(texts: Iterable[str]) -> Iterator[bytes]:
    """Texts joined into blocks, a separator between them that no normalised text holds."""
    parts: list[bytes] = []
    size = 0
    for text in texts:
        parts.append(normalised(text))
        size += len(parts[-1])
        if size >= BLOCK:
            yield b"\xff".join(parts)
            parts, size = [], 0
    if parts:
        yield b"\xff".join(parts)


def check(order: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out an order: its recipe's training text against its suites' texts; returns the facts that are written."""
    hub = Path(order["hub"]) if order["hub"] else None
    directory = Path(order["profile_dir"])
    context = SuiteContext(hub=order["hub"], profile_dir=order["profile_dir"], samples="full")
    evaluation = []
    for name, spec in order["suites"].items():
        suite = load(decode(spec), name)
        if getattr(suite, "needs_tokenizer", False) or not getattr(
            suite, "needs_model", True
        ):  # drawn for an artifact, and there is none yet
            continue
        for sample in suite.samples(context):
            evaluation += [(name, sample.sample, text) for text in _texts(sample, order["window"])]
    recipe = decode(order["recipe"])
    sources = dict.fromkeys(sources_of(recipe.portions))
    texts = (document.text for source in sources for document in read(source, hub, directory))
    found = find(texts, evaluation, window=order["window"], share=order["share"])
    worst: dict[tuple[str, str], Overlap] = {}  # of a sample's texts the most overlapping
    for overlap in found:
        worst.setdefault((overlap.suite, overlap.sample), overlap)
    samples = len({(suite, sample) for suite, sample, _ in evaluation})
    overlaps = [dataclasses.asdict(overlap) for overlap in worst.values()]
    return {"samples": samples, "texts": len(evaluation), "sources": len(sources), "overlaps": overlaps}


def _texts(sample: Sample, window: int) -> list[str]:
    """What of a sample is compared: each request, context and continuation as one text, and each continuation of two windows or more."""
    whole = dict.fromkeys(request.context + request.continuation for request in sample.requests)
    scored = dict.fromkeys(request.continuation for request in sample.requests)
    return [*whole, *(text for text in scored if text not in whole and len(normalised(text)) >= 2 * window)]


def main(arguments: Sequence[str]) -> int:
    """0: no overlap; 1: overlaps or an error, in error.json beside the order."""
    order_path = Path(arguments[0])
    directory = order_path.parent
    (directory / "progress.jsonl").write_text(json.dumps({"time": time.time(), "phase": "comparing with evaluation texts"}) + "\n")
    order = json.loads(order_path.read_text(encoding="utf-8"))
    if order["hub"] is not None:
        os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    try:
        facts = check(order)
    except (SuiteError, SourceError) as error:
        write_json(directory / "error.json", {"type": type(error).__name__, "message": str(error)})
        return 1
    except Exception as error:
        traceback.print_exc()  # into the log beside the order
        write_json(directory / "error.json", {"type": type(error).__name__, "message": f"{type(error).__name__}: {error}"})
        return 1
    if facts["overlaps"]:
        worst = facts["overlaps"][0]
        message = (
            f"{len(facts['overlaps'])} of {facts['samples']} evaluation samples stand in the training text, "
            f"the first {worst['suite']} {worst['sample']} ({worst['share']:.0%} of it): "
            "take them out of the recipe's sources, or out of the suite"
        )
        write_json(directory / "error.json", {"type": "Overlap", "message": message, **facts})
        return 1
    write_json(directory / "overlap.json", facts)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
