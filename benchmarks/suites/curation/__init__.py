"""Whether curation did to a crawl what should be done to it, from one of two sources of rows.

With the truth of what was planted (`planted.py`, the embedded crawl) one row a record; without (`found.py`, a crawl of one's own) one row a
document that reached the chain. It asks no model: the stage's artifact is read (`corpus.py`). README.md says what each metric is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites.curation import found, planted, quality, scores
from benchmarks.suites.curation.asked import Asked
from benchmarks.suites.curation.found import Found
from benchmarks.suites.curation.planted import Planted
from benchmarks.suites.curation.scores import Judged
from harness.suites import Metric, Row, Sample, SuiteContext, SuiteError
from training.world.language import LANGUAGES


@dataclasses.dataclass(kw_only=True)
class CurationSuite:
    """The suite. `rows` is where its rows come from; with `auc` the quality classifier's held-out examples give some besides."""

    name: str
    languages: Sequence[str]
    rows: Planted | Found
    auc: bool = False
    version: int = 1
    needs_model: bool = False
    metrics: Sequence[Metric] = ()

    def __post_init__(self) -> None:
        """The metrics follow from the source of rows."""
        self.metrics = (*self.rows.metrics(), *([scores.AUC] if self.auc else []))

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        """One sample a row; nothing is asked."""
        if context.artifact is None:
            raise SuiteError(f"suite {self.name}: it judges the directory of the stage curation, and was given none; run it on that stage")
        held_against = self._asked(context)
        columns = {column: 0.0 for metric in self.metrics for column in metric.used}
        for one in self._judged(context.artifact, held_against):
            data = {"values": {**columns, **one.values}, "shown": one.shown}
            yield Sample(sample=one.name, cluster=one.cluster, language=one.language, stratum=one.stratum, data=data)

    def row(self, sample: Sample, answers: Sequence[Mapping[str, Any]]) -> Row:
        """What was found for the record or document."""
        return Row(
            sample=sample.sample,
            cluster=sample.cluster,
            language=sample.language,
            stratum=sample.stratum,
            values=sample.data["values"],
            shown=sample.data["shown"],
        )

    def _asked(self, context: SuiteContext) -> Asked | None:
        """What the profile's other suites ask, where the corpus is held against it. Raises SuiteError."""
        if not isinstance(self.rows, Found) or self.rows.asked is None:
            return None
        if context.asked is None:
            raise SuiteError(
                f"suite {self.name}: `asked` holds the corpus against what a profile's suites ask: run it by pytest -m curation"
            )
        if not len(found := Asked(context.asked())):
            raise SuiteError(f"suite {self.name}: `asked` holds the corpus against what the suites ask, and they ask nothing; leave it out")
        return found

    def _judged(self, artifact: Path, asked: Asked | None) -> Iterator[Judged]:
        if isinstance(self.rows, Found):
            yield from self.rows.judged(artifact, self.name, self.languages, asked)
        else:
            yield from self.rows.judged(artifact, self.name, self.languages)
        for pair in quality.pairs(artifact, self.name, self.languages) if self.auc else ():
            values = {"auc": pair.area, "told_apart": 1.0}
            yield Judged(
                name=pair.name, cluster=pair.name, language=pair.language, stratum="held-out examples", values=values, shown=pair.shown
            )


def build(
    name: str,
    languages: Sequence[str],
    truth: bool = True,
    layers: Sequence[str] = (),
    threshold: float = 0.7,
    compared: int = 300,
    auc: bool = False,
    documents: int = found.DOCUMENTS,
    least: int = found.LEAST,
    asked: float | None = None,
) -> CurationSuite:
    """Factory of the entry point. Raises SuiteError for languages or layers that there are none of, and for numbers that count nothing."""
    if truth and (unknown := [iso for iso in languages if iso not in LANGUAGES]):
        raise SuiteError(
            f"suite {name}: the embedded crawl has no language {unknown[0]!r}: it has {', '.join(LANGUAGES)}; "
            "a crawl of your own is judged with truth = False"
        )
    known = planted.LAYERS if truth else found.LAYERS
    if unknown := [layer for layer in layers if layer not in known]:
        raise SuiteError(f"suite {name}: no layer {unknown[0]!r}; there are {', '.join(known)}")
    if not 0 < threshold <= 1 or compared < 2:
        raise SuiteError(f"suite {name}: threshold {threshold} lies above 0 and at most at 1, and compared {compared} is 2 or more")
    if min(documents, least) < 1:
        raise SuiteError(f"suite {name}: documents {documents} and least {least} are 1 or more")
    if asked is not None and (truth or not 0 <= asked < 1):
        raise SuiteError(
            f"suite {name}: asked {asked} is a share of an evaluation text, from 0 to below 1, and of a crawl without truth: the embedded one "
            "says which of its pages hold such text"
        )
    told = tuple(layers) or known
    rows: Planted | Found = (
        Planted(layers=told, threshold=threshold, compared=compared)
        if truth
        else Found(layers=told, threshold=threshold, compared=compared, documents=documents, least=least, asked=asked)
    )
    return CurationSuite(name=name, languages=tuple(languages), rows=rows, auc=auc)
