"""Rows without any truth, for a crawl of one's own: one a document that reached the chain, and what can be measured on the corpus as it is.

Documents are drawn by the hash of their ids, at most so many a language; the corpus is read once, and the texts of those drawn are in memory. A
document is judged in the language that it is filed under, one that was dropped before it had any in that of its excerpt.
"""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from benchmarks.suites.curation import corpus, measures, private, scores
from benchmarks.suites.curation.asked import Asked
from benchmarks.suites.curation.corpus import KEPT, Kept
from benchmarks.suites.curation.scores import Judged, ratio, share_cut, share_dropped
from harness.suites import Metric
from training import languages as known

LAYERS = ("ids", *scores.LAYERS)
CUTTING = ("lines", "exact", "decontaminate")
DOCUMENTS, LEAST = 2_000, 20
BATCH = 1_000  # excerpts that are identified at once
EXCERPT = 200  # characters shown of a document

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Met:
    """A document that reached the chain: `step` is the place of the layer that dropped it, the number of layers for one that was kept."""

    name: str
    cluster: str
    step: int
    end: str
    reason: str
    text: str


class Draw(Generic[Item]):
    """The `most` items of the smallest keys, of however many are offered."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._heap: list[tuple[int, str, Item]] = []

    def offer(self, key: bytes, name: str, item: Item) -> None:
        """Take the item in, where its key (and no other's) is small enough."""
        entry = (-int.from_bytes(key, "big"), name, item)
        if len(self._heap) < self.most:
            heapq.heappush(self._heap, entry)
        elif entry[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, entry)

    def items(self) -> list[Item]:
        """Those drawn, by name."""
        return [item for _, _, item in sorted(self._heap, key=lambda entry: entry[1])]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """`documents` a language are judged and `compared` of the corpus compared; `least` are what a language should have in it.

    `layers` are those whose metrics there are, `threshold` is what a duplicate is, `asked` how much of an evaluation text no document should exceed.
    """

    layers: tuple[str, ...]
    threshold: float
    compared: int
    documents: int
    least: int
    asked: float | None = None

    def metrics(self) -> Iterator[Metric]:
        """They follow from the layers."""
        for layer in self.layers:
            yield share_dropped(layer)
            if layer in CUTTING:
                yield share_cut(layer)
        yield ratio("purity", "own_characters", "decided_characters", "higher", binary=False)
        yield ratio("private_left", "private_left", "private", "lower")
        yield ratio("duplicates_left", "duplicates_left", "compared", "lower")
        yield ratio("present", "present", "wanted", "higher")
        if self.asked is not None:
            yield ratio("evaluation_left", "evaluation_left", "held_against", "lower")

    def judged(self, artifact: Path, suite: str, languages: Sequence[str], asked: Asked | None = None) -> Iterator[Judged]:
        """Those of documents, of compared documents, of what was cut, and of the `least` that a language should have. Raises SuiteError."""
        steps = corpus.steps(artifact, suite)
        met = {iso: Draw[Met](self.documents) for iso in languages}
        alike = {iso: Draw[Kept](self.compared) for iso in languages}
        held: Counter[str] = Counter()
        sizes = list(corpus.sizes(artifact, suite))
        filed = {str(row["id"]): _iso(row["language"] or "") for _, row in sizes}  # until it is met: a layer may name the language later
        for document in corpus.kept(artifact, suite):
            if document.id in filed:
                filed[document.id] = _iso(document.language)
            if (iso := _iso(document.language)) in met:
                held[iso] += 1
                cluster = document.record or document.id
                one = Met(name=document.id, cluster=cluster, step=len(steps), end=KEPT, reason="", text=document.text)
                met[iso].offer(_key(one.name), one.name, one)
                alike[iso].offer(*measures.place(document), document)
        for iso, one in _dropped(steps, suite):
            if one.name in filed:
                filed[one.name] = iso
            if iso in met:
                met[iso].offer(_key(one.name), one.name, one)
        yield from self._documents({iso: draw.items() for iso, draw in met.items()}, [corpus.layer_of(step) for step in steps], asked)
        yield from self._compared({iso: draw.items() for iso, draw in alike.items()})
        yield from self._cut([(layer, filed[str(row["id"])], row) for layer, row in sizes if filed[str(row["id"])] in met])
        for iso in languages:
            for number in range(1, self.least + 1):
                name = f"{iso}/present-{number}"
                values = {"wanted": 1.0, "present": float(held[iso] >= number)}
                shown = {"documents in the corpus": str(held[iso]), "wanted": str(self.least)}
                yield Judged(name=name, cluster=name, language=iso, stratum="present", values=values, shown=shown)

    def _documents(self, met: dict[str, list[Met]], order: list[str], asked: Asked | None) -> Iterator[Judged]:
        """What became of each; of those kept, the language of their text and whether personal data or evaluation text stands in it."""
        first = {layer: order.index(layer) for layer in dict.fromkeys(order)}
        for iso, documents in met.items():
            texts = [(one.text, iso) for one in documents if one.end == KEPT and _told(iso)]
            pure = iter(measures.purity(texts))
            for one in documents:
                values: dict[str, float] = {}
                for layer in self.layers:  # one that the chain lacks drops nothing of what reaches it
                    values[f"seen_by_{layer}"] = float(one.step >= first.get(layer, 0))
                    values[f"dropped_by_{layer}"] = float(one.end == layer)
                if one.end == KEPT:
                    values |= {"private": 1.0, "private_left": float(private.stands(one.text))}
                    if _told(iso):
                        values["own_characters"], values["decided_characters"] = map(float, next(pure))
                shown = {"became": one.end, "reason": one.reason, "text": one.text[:EXCERPT]}
                if one.end == KEPT and asked and self.asked is not None:
                    share, which = asked.most(one.text)
                    values |= {"held_against": 1.0, "evaluation_left": float(share > self.asked)}
                    shown |= {"holds": f"{share:.0%} of {which}"} if share > self.asked else {}
                yield Judged(name=f"{iso}/{one.name}", cluster=one.cluster, language=iso, stratum=one.end, values=values, shown=shown)

    def _cut(self, sizes: Sequence[tuple[str, str, dict[str, Any]]]) -> Iterator[Judged]:
        """One a document whose sizes are told, with what each layer that kept it met and cut."""
        values: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
        for layer, iso, row in sizes:
            if layer in self.layers and layer in CUTTING:
                name = str(row["id"])
                values[iso, name, str(row["record"] or name)].update(
                    {f"met_by_{layer}": row["bytes"], f"cut_by_{layer}": row["bytes"] - row["left"]}
                )
        for (iso, name, cluster), found in values.items():
            shown = {what: str(size) for what, size in found.items()}
            told = {what: float(size) for what, size in found.items()}
            yield Judged(name=f"{iso}/cut/{name}", cluster=cluster, language=iso, stratum="cut", values=told, shown=shown)

    def _compared(self, kept: dict[str, list[Kept]]) -> Iterator[Judged]:
        """Whether each has another of its language that is a near duplicate."""
        for iso, documents in kept.items():
            twins = measures.duplicates({iso: documents}, self.threshold, self.compared)
            for document in documents:
                values = {"compared": 1.0, "duplicates_left": float(twins[document.id])}
                name = f"{iso}/compared/{document.id}"
                shown = {"text": document.text[:EXCERPT]}
                yield Judged(name=name, cluster=document.id, language=iso, stratum="compared", values=values, shown=shown)


def _dropped(steps: Sequence[Path], suite: str) -> Iterator[tuple[str, Met]]:
    """(language, document) of everything that was dropped."""
    for number, step in enumerate(steps):
        layer = corpus.layer_of(step)
        again: Counter[str] = Counter()
        for iso, row in _in_a_language(corpus.dropped(step, suite)):
            name = str(row["id"])
            if layer == "ids":  # its documents share their id with the one that stayed
                again[name] += 1
                name = f"{name} (once more, {again[name]})"
            cluster = str(row["record"] or row["id"])
            yield iso, Met(name=name, cluster=cluster, step=number, end=layer, reason=row["reason"], text=row["excerpt"])


def _in_a_language(rows: Iterator[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(language, row): the one that the document was filed under when it was dropped, else that of its excerpt; "" where neither is known."""
    from training.identification import identify_many

    while batch := list(itertools.islice(rows, BATCH)):
        filed = [_iso(row["language"] or "") for row in batch]
        said = iter(identify_many(row["excerpt"] for iso, row in zip(filed, batch, strict=True) if not iso))
        for iso, row in zip(filed, batch, strict=True):
            yield iso or next(said).language or "", row


def _key(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _iso(code: str) -> str:
    """The ISO 639-3 code of what a page calls its language; what is none of ours stands as it is."""
    try:
        return known.by_code(code).iso if code else ""
    except known.LanguageError:
        return code


def _told(iso: str) -> bool:
    """Whether the identifier knows the language: of another its text says nothing."""
    return any(language.iso == iso for language in known.LANGUAGES)
