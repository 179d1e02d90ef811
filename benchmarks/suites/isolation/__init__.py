"""Whether documents were isolated where the checkpoint was trained: what its builder measured, by the forward pass that it trained with.

Nothing of a finished checkpoint shows how its rows were masked, so the trainer measures it: in packed rows of three documents a token of
one is changed, and of all movement of logits the share is taken that is the others' (`leaked_share` in build.json, one
number a probe). Nought is isolation. A checkpoint without the measurement (adopted from elsewhere, or built when probes were others) has NaN,
which never passes: build it again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.suites import Metric, Request, Row, Sample, SuiteContext, SuiteError

PROBES = 24  # what the trainer measures; a verdict needs 20


@dataclasses.dataclass(kw_only=True)
class Isolation:
    """The suite: one row a probe. Isolation has no language; the rows carry the one that the spec names."""

    name: str
    languages: Sequence[str]
    version: int = 2
    metrics: Sequence[Metric] = (Metric(name="leakage", numerator="leakage", direction="lower", ceiling=0.0),)

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        """One sample a probe."""
        for probe in range(PROBES):
            request = Request(kind="fact", context="leaked_share", settings={"index": probe})
            yield Sample(sample=f"probe-{probe}", cluster=f"probe-{probe}", language=self.languages[0], requests=(request,))

    def row(self, sample: Sample, answers: Sequence[Mapping[str, Any]]) -> Row:
        """The probe's leakage, relative to the movement within the changed document."""
        shown = {"measured": "the share of a change in one document that reaches its neighbours in a packed row"}
        return Row(
            sample=sample.sample, cluster=sample.cluster, language=sample.language, values={"leakage": answers[0]["value"]}, shown=shown
        )


def build(name: str, languages: Sequence[str]) -> Isolation:
    """Factory of the entry point; takes exactly one language."""
    if len(languages) != 1:
        raise SuiteError(f"suite {name}: isolation has no language; name exactly one for its rows, not {len(languages)}")
    return Isolation(name=name, languages=tuple(languages))
