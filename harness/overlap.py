"""Stands between training and evaluation text: `python -m harness.overlap ORDER.json`, a child that the pipeline runs before it trains.

A text that a suite asks about overlaps with the training text where more than half of its windows of 50 bytes (`training/windows.py`)
also stand there. Half, because law, templates and quotations repeat phrases. A text shorter than a window overlaps where all of it stands
there; one shorter than half a window is a phrase. Which texts those are, `harness/evaluation_text.py` says. Of a curated corpus each document
is looked at by itself. Training does not begin while one text overlaps.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.durable import write_json
from harness.evaluation_text import carry_out, evaluation_texts, hub_of
from training.pretraining.sources import read, sources_of
from training.recipe import CuratedText, Source, decode
from training.windows import SEPARATOR, WINDOW, normalised, shortest, window_hashes

SHARE = 0.5
BLOCK = 1 << 22  # bytes of training text hashed at once
AT_ONCE = 1024  # documents of a corpus looked at together


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overlap:
    """A text of a suite that training also holds: `share` of its windows."""

    suite: str
    sample: str
    share: float


def find(
    training: Iterable[str], evaluation: Sequence[tuple[str, str, str]], window: int = WINDOW, share: float = SHARE, least: int = 1
) -> list[Overlap]:
    """The evaluation texts (suite, sample, text) that overlap with the training texts, the most overlapping first.

    A text shorter than a window overlaps (share 1) where all of it stands in one training text; one shorter than `least` bytes never.
    """
    import numpy as np

    texts = [normalised(text) for _, _, text in evaluation]
    hashes = [window_hashes(text, window) for text in texts]
    wanted = np.unique(np.concatenate(hashes)) if hashes else np.zeros(0, dtype=np.uint64)
    met = np.zeros(len(wanted), dtype=bool)
    short = {text for text in texts if least <= len(text) < window}
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
    return sorted(overlaps, key=_order)


def _order(overlap: Overlap) -> tuple[float, str, str]:
    return -overlap.share, overlap.suite, overlap.sample


def find_in_corpus(training: Iterable[str], evaluation: Sequence[tuple[str, str, str]], window: int, share: float) -> list[Overlap]:
    """The same of a curated corpus, where one document must hold that share: by the very look-up that the layer `decontaminate` cleans by.

    Windows met anywhere in a large corpus say little: ordinary phrases add up to any text.
    """
    from training.curation.decontaminate import Ngrams, write_ngrams

    reached: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "windows.npz"
        if not write_ngrams(((str(number), text) for number, (_, _, text) in enumerate(evaluation)), path, window):
            return []
        known = Ngrams.read(path)
    documents = iter(training)
    while batch := [normalised(text) for text in itertools.islice(documents, AT_ONCE)]:
        for held in known.look(batch, share):
            for text, part in held.items():
                number = int(known.names[text])
                reached[number] = max(part, reached.get(number, 0.0))
    found = (Overlap(suite=evaluation[number][0], sample=evaluation[number][1], share=part) for number, part in reached.items())
    return sorted(found, key=_order)


def _blocks(texts: Iterable[str]) -> Iterator[bytes]:
    """Texts joined into blocks, a separator between them that no normalised text holds."""
    parts: list[bytes] = []
    size = 0
    for text in texts:
        parts.append(normalised(text))
        size += len(parts[-1])
        if size >= BLOCK:
            yield SEPARATOR.join(parts)
            parts, size = [], 0
    if parts:
        yield SEPARATOR.join(parts)


def check(order: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out an order: its recipe's training text against its suites' texts; returns the facts that are written."""
    hub, directory = hub_of(order), Path(order["profile_dir"])
    evaluation = evaluation_texts(order)
    sources = dict.fromkeys(sources_of(decode(order["recipe"]).portions))
    corpora = {stage: Path(path) for stage, path in order["corpora"].items()}
    named = [source for source in sources if not isinstance(source, CuratedText)]
    curated = [source for source in sources if isinstance(source, CuratedText)]
    found = [
        *find(_texts(named, hub, directory, corpora), evaluation, order["window"], order["share"], least=shortest(order["window"])),
        *find_in_corpus(_texts(curated, hub, directory, corpora), evaluation, window=order["window"], share=order["share"]),
    ]
    found.sort(key=_order)
    worst: dict[tuple[str, str], Overlap] = {}  # of a sample's texts the most overlapping
    for overlap in found:
        worst.setdefault((overlap.suite, overlap.sample), overlap)
    samples = len({(suite, sample) for suite, sample, _ in evaluation})
    overlaps = [dataclasses.asdict(overlap) for overlap in worst.values()]
    return {"samples": samples, "texts": len(evaluation), "sources": len(sources), "overlaps": overlaps}


def _texts(sources: Iterable[Source], hub: Path | None, directory: Path, corpora: Mapping[str, Path]) -> Iterator[str]:
    return (document.text for source in sources for document in read(source, hub, directory, corpora))


class Overlapping(Exception):
    """Evaluation text stands in training text; the message says how much of it. `facts` are those of `check`."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        first = facts["overlaps"][0]
        super().__init__(
            f"{len(facts['overlaps'])} of {facts['samples']} evaluation samples stand in the training text, "
            f"the first {first['suite']} {first['sample']} ({first['share']:.0%} of it): "
            "take them out of the recipe's sources, or out of the suite"
        )
        self.facts = facts


def write_facts(order: Mapping[str, Any], directory: Path) -> None:
    """Leave the facts in overlap.json. Raises Overlapping."""
    facts = check(order)
    if facts["overlaps"]:
        raise Overlapping(facts)
    write_json(directory / "overlap.json", facts)


def main(arguments: Sequence[str]) -> int:
    """0: no overlap; 1: overlaps or an error, in error.json beside the order."""
    return carry_out(arguments, "comparing with evaluation texts", write_facts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
