"""Rows from the truth of what was planted: one a record of the embedded crawl.

A record that should have gone is right where a layer that may drop its kind dropped it; kept text is measured (`measures.py`).
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.suites.curation import corpus, measures, scores
from benchmarks.suites.curation.corpus import KEPT, Corpus, Outcome
from benchmarks.suites.curation.scores import Judged, ratio, share_dropped
from harness.suites import Metric, SuiteError
from training.world.crawl_truth import KINDS, Truth

LAYERS = ("extract", *scores.LAYERS)
WHOLE = ("", "charset", "private")  # kinds whose text should be left as it was
DROPPED = tuple(name for name, kind in KINDS.items() if kind.fate == "drop" and name != "torn")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planted:
    """`layers` are those whose metrics there are; `threshold` is what a duplicate is; `compared` documents a language are compared."""

    layers: tuple[str, ...]
    threshold: float
    compared: int

    def metrics(self) -> Iterator[Metric]:
        """They follow from the layers."""
        yield ratio("recall", "right", "should_drop", "higher")
        yield ratio("precision", "dropped_rightly", "dropped_judged", "higher")
        yield ratio("right_layer", "right_layer", "dropped_rightly", "higher")
        yield ratio("kept_clean", "kept_clean", "clean", "higher")
        for kind in DROPPED:
            yield ratio(f"recall_{kind}", f"right_{kind}", f"planted_{kind}", "higher")
        for layer in self.layers:
            yield ratio(f"recall_by_{layer}", f"right_by_{layer}", f"meant_for_{layer}", "higher")
            yield ratio(f"precision_of_{layer}", f"rightly_by_{layer}", f"judged_by_{layer}", "higher")
            yield share_dropped(layer)
        yield ratio("text_kept", "text_kept", "text", "higher", binary=False)
        yield ratio("text_strange", "text_strange", "text_left", "lower", binary=False)
        yield ratio("boilerplate_left", "boilerplate_left", "boilerplate", "lower")
        yield ratio("purity", "own_characters", "decided_characters", "higher", binary=False)
        yield ratio("private_left", "private_left", "private", "lower")
        yield ratio("contamination_left", "contamination_left", "planted_contaminated", "lower")
        yield ratio("passages_left", "passages_left", "passages", "lower")
        yield ratio("duplicates_left", "duplicates_left", "compared", "lower")
        yield ratio("present", "present", "clean", "higher")

    def judged(self, artifact: Path, suite: str, languages: Sequence[str]) -> Iterator[Judged]:
        """One a planted record that declares one of the languages. Raises SuiteError."""
        found = corpus.read(artifact, suite)
        declared = Counter(truth.declared for truth, _ in found.planted)
        if missing := [iso for iso in languages if not declared[iso]]:
            raise SuiteError(f"suite {suite}: the crawl of {artifact} has no pages in {', '.join(missing)}")
        for place, truth, outcome, values in self._measured(found):
            if truth.declared in languages:
                shown = {"url": truth.url, "planted": truth.kind or "nothing", "became": outcome.end, "reason": outcome.reason}
                stratum = truth.kind or "clean"
                yield Judged(name=place, cluster=truth.group, language=truth.declared, stratum=stratum, values=values, shown=shown)

    def _measured(self, found: Corpus) -> Iterator[tuple[str, Truth, Outcome, dict[str, float]]]:
        """(place, truth, what became of it, values) of every record."""
        order = {name: number for number, name in enumerate((corpus.EXTRACT, *found.layers))}
        twins = measures.duplicates(found.kept, self.threshold, self.compared)
        places = corpus.matched(found.planted)
        documents = [(outcome.document, truth.declared) for _, truth, outcome in places if outcome.document]
        labelled = [(one.text, one.language or declared) for one, declared in documents]
        pure = dict(zip((one.id for one, _ in documents), measures.purity(labelled), strict=True))
        held: dict[str, int] = defaultdict(int)  # group -> members kept that were met before
        standing: dict[str, bool] = defaultdict(bool)
        for place, truth, outcome in places:
            values: dict[str, float] = defaultdict(float)
            self._fate(values, truth, outcome, order)
            values["present"] = float(values["clean"] and bool(found.kept.get(truth.declared)))
            if (document := outcome.document) is not None:
                _text(values, truth, document)
                values["own_characters"], values["decided_characters"] = map(float, pure[document.id])
                if document.id in twins:
                    values["compared"], values["duplicates_left"] = 1.0, float(twins[document.id])
                if truth.kind == "passage":
                    here = measures.stands(truth.passage, document.text)
                    values["passages"] = float(held[truth.group] > 0)
                    values["passages_left"] = float(held[truth.group] > 0 and here and standing[truth.group])
                    held[truth.group] += 1
                    standing[truth.group] |= here
            yield place, truth, outcome, values

    def _fate(self, values: dict[str, float], truth: Truth, outcome: Outcome, order: Mapping[str, int]) -> None:
        """What should have become of the record, and what did."""
        fate = truth.fate
        if truth.kind == "near" and truth.jaccard["words"] < self.threshold:
            fate = "any"  # to this curation it is no duplicate
        dropped, should = outcome.end != KEPT, fate == "drop"
        mended = _mended(truth, outcome)
        right = should and (mended if not dropped else outcome.end in truth.layers)
        values["should_drop"], values["right"] = float(should), float(right)
        values["clean"], values["kept_clean"] = float(fate == "keep"), float(fate == "keep" and not dropped)
        if dropped and fate != "any":
            values["dropped_judged"], values["dropped_rightly"] = 1.0, float(should)
            values["right_layer"] = float(right)
        if should and truth.kind in DROPPED:
            values[f"planted_{truth.kind}"], values[f"right_{truth.kind}"] = 1.0, float(right)
            values["contamination_left"] = float(truth.kind == "contaminated" and not dropped and not mended)
        for layer in self.layers:
            if should and truth.layers[0] == layer:
                values[f"meant_for_{layer}"], values[f"right_by_{layer}"] = 1.0, float(right)
            if layer in order:
                values[f"seen_by_{layer}"] = float(not dropped or order[outcome.end] >= order[layer])
            elif outcome.end != "extract":  # a layer that the chain lacks drops nothing of what would have reached it
                values[f"seen_by_{layer}"] = 1.0
            if outcome.end == layer:
                values[f"dropped_by_{layer}"] = 1.0
                if fate != "any":
                    values[f"judged_by_{layer}"], values[f"rightly_by_{layer}"] = 1.0, float(right)


def _mended(truth: Truth, outcome: Outcome) -> bool:
    """Whether a record that should go was made good instead: it stands under its own language, or without its evaluation text."""
    if outcome.document is None:
        return False
    if truth.kind == "wrong_language":
        return outcome.document.language == truth.language
    return truth.kind == "contaminated" and not measures.stands(truth.passage, outcome.document.text)


def _text(values: dict[str, float], truth: Truth, document: corpus.Kept) -> None:
    """What is left of the text, and what with it."""
    if truth.kind in WHOLE:
        values["text"] = float(len(truth.text))
        values["text_kept"] = measures.share(truth.text, document.text) * len(truth.text)
        values["text_left"] = float(len(document.text))
        values["text_strange"] = (1 - measures.share(document.text, truth.text)) * len(document.text)
    values["boilerplate"], values["boilerplate_left"] = 1.0, float(measures.surrounded(document.text, truth.declared, truth.host))
    private = [one for held in truth.private.values() for one in held]
    values["private"], values["private_left"] = float(bool(private)), float(any(one in document.text for one in private))
