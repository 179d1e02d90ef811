"""What a checkpoint was trained on: each language's share of the tokens, and how often its text was read.

The trainer writes down what it drew of each language in every 24th of the run (`drawn_by_slice`, `tokens_by_slice` in build.json), so that a mixture
which is right in sum and wrong on the way (one language after the other) shows too, as a wide interval; so does one of a language whose few
documents are longer than its part of a slice. A language of which nothing was drawn has a share of 0. A checkpoint without the figures (adopted from
elsewhere, or trained in fewer than 24 steps, where slices are missing) has NaN, which never passes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.suites import Metric, Request, Row, Sample, SuiteContext

SLICES = 24  # what the trainer keeps apart; a verdict needs 20


@dataclasses.dataclass(kw_only=True)
class Mixture:
    """The suite: one row a slice of the run and language."""

    name: str
    languages: Sequence[str]
    version: int = 1
    metrics: Sequence[Metric] = (
        Metric(name="share", numerator="drawn", denominator="tokens", direction="higher"),
        Metric(name="epochs", numerator="read", denominator="text", direction="lower"),
    )

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        """What was drawn of the language in the slice, of all languages in it, and how many tokens the language's text has."""
        for language in self.languages:
            for slice_ in range(SLICES):
                requests = (
                    Request(kind="fact", context="drawn_by_slice", settings={"of": language, "index": slice_}),
                    Request(kind="fact", context="tokens_by_slice", settings={"index": slice_}),
                    Request(kind="fact", context="languages", settings={"of": language, "index": "corpus_tokens"}),
                )
                yield Sample(
                    sample=f"{language}/slice-{slice_}",
                    cluster=f"slice-{slice_}",
                    language=language,
                    requests=requests,
                    data={"slice": slice_},
                )

    def row(self, sample: Sample, answers: Sequence[Mapping[str, Any]]) -> Row:
        """Tokens; `read` is what the whole run would read at the slice's pace."""
        drawn, tokens, text = (float(answer["value"]) for answer in answers)
        if math.isnan(drawn) and not math.isnan(tokens):
            drawn = 0.0  # the figures are there, and the language is in none of them
        shown = {
            "drawn": f"{drawn:,.0f} of {tokens:,.0f} tokens in slice {sample.data['slice'] + 1} of {SLICES}",
            "text": f"{text:,.0f} tokens",
        }
        values = {"drawn": drawn, "tokens": tokens, "read": drawn * SLICES, "text": 0.0 if math.isnan(text) and not drawn else text}
        return Row(sample=sample.sample, cluster=sample.cluster, language=sample.language, values=values, shown=shown)


def build(name: str, languages: Sequence[str]) -> Mixture:
    """Factory of the entry point."""
    return Mixture(name=name, languages=tuple(languages))
