"""Whether curation did to a crawl what should be done to it: its corpus against the truth of what was planted.

One row a record of the crawl. It asks no model: the stage's artifact is read (`corpus.py`), kept text is measured (`measures.py`), and a record
that should have gone is right where a layer that may drop its kind dropped it. README.md says what each metric is.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.suites.curation import corpus, measures, quality
from benchmarks.suites.curation.corpus import KEPT, Corpus, Outcome
from harness.suites import Metric, Row, Sample, SuiteContext, SuiteError
from training.world.crawl_truth import KINDS, Truth
from training.world.language import LANGUAGES

LAYERS = ("extract", "url", "lines", "rules", "language", "perplexity", "quality", "near", "exact", "pii", "decontaminate")
WHOLE = ("", "charset", "private")  # kinds whose text should be left as it was
DROPPED = tuple(name for name, kind in KINDS.items() if kind.fate == "drop" and name != "torn")


def _metrics(layers: Sequence[str], auc: bool) -> Iterator[Metric]:
    def ratio(name: str, numerator: str, denominator: str, direction: Literal["higher", "lower"], binary: bool = True) -> Metric:
        ceiling = 1.0 if direction == "higher" else 0.0
        return Metric(name=name, numerator=numerator, denominator=denominator, direction=direction, ceiling=ceiling, binary=binary)

    yield ratio("recall", "right", "should_drop", "higher")
    yield ratio("precision", "dropped_rightly", "dropped_judged", "higher")
    yield ratio("right_layer", "right_layer", "dropped_rightly", "higher")
    yield ratio("kept_clean", "kept_clean", "clean", "higher")
    for kind in DROPPED:
        yield ratio(f"recall_{kind}", f"right_{kind}", f"planted_{kind}", "higher")
    for layer in layers:
        yield ratio(f"recall_by_{layer}", f"right_by_{layer}", f"meant_for_{layer}", "higher")
        yield ratio(f"precision_of_{layer}", f"rightly_by_{layer}", f"judged_by_{layer}", "higher")
        yield Metric(name=f"share_{layer}", numerator=f"dropped_by_{layer}", denominator=f"seen_by_{layer}", direction="lower", binary=True)
    yield ratio("text_kept", "text_kept", "text", "higher", binary=False)
    yield ratio("text_strange", "text_strange", "text_left", "lower", binary=False)
    yield ratio("boilerplate_left", "boilerplate_left", "boilerplate", "lower")
    yield ratio("purity", "own_characters", "decided_characters", "higher", binary=False)
    yield ratio("private_left", "private_left", "private", "lower")
    yield ratio("contamination_left", "contamination_left", "planted_contaminated", "lower")
    yield ratio("passages_left", "passages_left", "passages", "lower")
    yield ratio("duplicates_left", "duplicates_left", "compared", "lower")
    yield ratio("present", "present", "clean", "higher")
    if auc:
        yield Metric(name="auc", numerator="auc", denominator="told_apart", direction="higher", chance=0.5, ceiling=1.0)


@dataclasses.dataclass(kw_only=True)
class CurationSuite:
    """The suite. `layers` are those whose metrics there are; `threshold` is what a duplicate is; `compared` documents a language are compared."""

    name: str
    languages: Sequence[str]
    layers: tuple[str, ...] = LAYERS
    threshold: float = 0.7
    compared: int = 300
    auc: bool = False
    version: int = 1
    needs_model: bool = False
    metrics: Sequence[Metric] = ()

    def __post_init__(self) -> None:
        """The metrics follow from the layers."""
        self.metrics = tuple(_metrics(self.layers, self.auc))

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        """One sample a planted record of the suite's languages; nothing is asked."""
        if context.artifact is None:
            raise SuiteError(f"suite {self.name}: it judges the directory of the stage curation, and was given none; run it on that stage")
        found = corpus.read(context.artifact, self.name)
        languages = Counter(truth.declared for truth, _ in found.planted)
        if missing := [iso for iso in self.languages if not languages[iso]]:
            raise SuiteError(f"suite {self.name}: the crawl of {context.artifact} has no pages in {', '.join(missing)}")
        for place, truth, values in self._judged(found):
            if truth.declared not in self.languages:
                continue
            data = {"values": values, "shown": {"url": truth.url, "planted": truth.kind or "nothing", **values.pop("shown")}}
            yield Sample(sample=place, cluster=truth.group, language=truth.declared, stratum=truth.kind or "clean", data=data)
        if self.auc:
            yield from self._quality(context.artifact)

    def row(self, sample: Sample, answers: Sequence[Mapping[str, Any]]) -> Row:
        """What was found for the record."""
        return Row(
            sample=sample.sample,
            cluster=sample.cluster,
            language=sample.language,
            stratum=sample.stratum,
            values=sample.data["values"],
            shown=sample.data["shown"],
        )

    def _quality(self, artifact: Path) -> Iterator[Sample]:
        """One sample a pair of held-out examples, good and bad; its value is what the pair has of the area under the ROC curve."""
        columns = {column: 0.0 for metric in self.metrics for column in metric.used}
        for pair in quality.pairs(artifact, self.name, self.languages):
            data = {"values": {**columns, "auc": pair.area, "told_apart": 1.0}, "shown": pair.shown}
            yield Sample(sample=pair.name, cluster=pair.name, language=pair.language, stratum="held-out examples", data=data)

    def _judged(self, found: Corpus) -> Iterator[tuple[str, Truth, dict[str, Any]]]:
        """(place, truth, values) of every record."""
        columns = {column: 0.0 for metric in self.metrics for column in metric.used}
        order = {name: number for number, name in enumerate((corpus.EXTRACT, *found.layers))}
        twins = measures.duplicates(found.kept, self.threshold, self.compared)
        places = corpus.matched(found.planted)
        documents = [(outcome.document, truth.declared) for _, truth, outcome in places if outcome.document]
        labelled = [(one.text, one.language or declared) for one, declared in documents]
        pure = dict(zip((one.id for one, _ in documents), measures.purity(labelled), strict=True))
        held: dict[str, int] = defaultdict(int)  # group -> members kept that were met before
        standing: dict[str, bool] = defaultdict(bool)
        for place, truth, outcome in places:
            values: dict[str, Any] = dict(columns)
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
            values["shown"] = {"became": outcome.end, "reason": outcome.reason}
            yield place, truth, values

    def _fate(self, values: dict[str, Any], truth: Truth, outcome: Outcome, order: Mapping[str, int]) -> None:
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


def _text(values: dict[str, Any], truth: Truth, document: corpus.Kept) -> None:
    """What is left of the text, and what with it."""
    if truth.kind in WHOLE:
        values["text"] = float(len(truth.text))
        values["text_kept"] = measures.share(truth.text, document.text) * len(truth.text)
        values["text_left"] = float(len(document.text))
        values["text_strange"] = (1 - measures.share(document.text, truth.text)) * len(document.text)
    values["boilerplate"], values["boilerplate_left"] = 1.0, float(measures.surrounded(document.text, truth.declared, truth.host))
    private = [one for held in truth.private.values() for one in held]
    values["private"], values["private_left"] = float(bool(private)), float(any(one in document.text for one in private))


def build(
    name: str,
    languages: Sequence[str],
    layers: Sequence[str] = LAYERS,
    threshold: float = 0.7,
    compared: int = 300,
    auc: bool = False,
) -> CurationSuite:
    """Factory of the entry point. Raises SuiteError for languages or layers that there are none of."""
    if unknown := [iso for iso in languages if iso not in LANGUAGES]:
        raise SuiteError(f"suite {name}: the crawl has no language {unknown[0]!r}: it has {', '.join(LANGUAGES)}")
    if unknown := [layer for layer in layers if layer not in LAYERS]:
        raise SuiteError(f"suite {name}: no layer {unknown[0]!r}; there are {', '.join(LAYERS)}")
    if not 0 < threshold <= 1 or compared < 2:
        raise SuiteError(f"suite {name}: threshold {threshold} lies above 0 and at most at 1, and compared {compared} is 2 or more")
    return CurationSuite(name=name, languages=tuple(languages), layers=tuple(layers), threshold=threshold, compared=compared, auc=auc)
