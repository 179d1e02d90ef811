"""Whether a checkpoint computes the same function as another: the largest difference of logits on probe documents.

The gate on block expansion (paper 4.1): new blocks start as the identity, so the logits equal the parent's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.suites.perplexity.texts import check_sources, texts
from harness.suites import Metric, Request, Row, Sample, SuiteContext


@dataclasses.dataclass(kw_only=True)
class Identity:
    """The suite: the first `documents` of each language, compared position by position with the reference checkpoint."""

    name: str
    languages: Sequence[str]
    sources: Mapping[str, Sequence[Any]]
    documents: int
    version: int = 1
    needs_backend: str = "hf"  # the logits of all positions: no server gives them
    metrics: Sequence[Metric] = (Metric(name="max_abs_logit_difference", numerator="max_abs", direction="lower", ceiling=0.0),)

    def __post_init__(self) -> None:
        """Check that every language has a source."""
        check_sources(self.name, self.languages, self.sources)

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        """One sample a probe. Raises SuiteError where a source cannot be read."""
        taken: dict[str, int] = {}
        for text in texts(self.name, self.languages, self.sources, context):
            taken[text.language] = taken.get(text.language, 0) + 1
            if taken[text.language] <= self.documents:
                request = Request(kind="logits_difference", context=text.text)
                yield Sample(
                    sample=text.sample, cluster=text.cluster, language=text.language, stratum=text.stratum, requests=(request,), data=text
                )

    def row(self, sample: Sample, answers: Sequence[Mapping[str, Any]]) -> Row:
        """The largest absolute difference over all positions and the shared vocabulary."""
        return Row(
            sample=sample.sample,
            cluster=sample.cluster,
            language=sample.language,
            stratum=sample.stratum,
            values={"max_abs": answers[0]["max_abs"]},
            shown={"text": sample.data.text[:240]},
        )


def build(name: str, languages: Sequence[str], sources: Mapping[str, Sequence[Any]], documents: int = 24) -> Identity:
    """Factory of the entry point. 24 documents a language: a verdict needs 20 clusters."""
    return Identity(name=name, languages=tuple(languages), sources=sources, documents=documents)
