"""Perplexity of held-out documents, per language: bits per byte, token perplexity, the distance to a byte 3-gram, and tokenizer fertility.

One row a document, scored after one fixed prefix token (`harness/backends/rendering.py`), in windows of the model's context that
predict every token once: the first window whole, each further one half a window with at least half a window of context.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites.perplexity.texts import Text, as_sources, check_sources, repeated, texts
from benchmarks.suites.perplexity.trigram import Trigram
from harness.suites import Metric, Request, Row, Sample, SuiteContext, SuiteSpec, sift, spread
from training.languages import LanguageError, by_code
from training.recipe import HubText, WorldText

SPACED = ("Latin",)  # of the scripts of our languages
UDHR = "un/udhr"
SHOWN = 240  # characters of a document that a person sees


@dataclasses.dataclass(kw_only=True)
class Perplexity:
    """The suite. `sources` and `trigram` map a language to encoded or decoded text sources."""

    name: str
    languages: Sequence[str]
    sources: Mapping[str, Sequence[Any]]
    trigram: Mapping[str, Sequence[Any]]
    apart_from: Mapping[str, Sequence[Any]]
    window: int
    quick: int | Mapping[str, int]
    version: int = 1

    def __post_init__(self) -> None:
        """Declare the metrics and check that every language has a source."""
        check_sources(self.name, self.languages, self.sources)
        self.facts: dict[str, Any] = {}
        self.metrics: list[Metric] = [
            Metric(name="bits_per_byte", numerator="bits", denominator="bytes", direction="lower"),
            Metric(name="token_perplexity", numerator="nats", denominator="tokens", direction="lower", transform="exp"),
            Metric(name="fertility", numerator="tokens", denominator="words", direction="lower"),
            Metric(name="tokens_per_character", numerator="tokens", denominator="characters", direction="lower"),
        ]
        if self.trigram:
            self.metrics.append(
                Metric(name="trigram_advantage", numerator="trigram_gain", denominator="trigram_bytes", direction="higher", chance=0.0)
            )

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        """One sample a document. Raises SuiteError where a source cannot be read."""
        settings = {"window": self.window} if self.window else {}
        invalid: list[Sample] = []
        found = [
            Sample(
                sample=text.sample,
                cluster=text.cluster,
                language=text.language,
                stratum=text.stratum,
                requests=(Request(kind="rolling", context=text.text, settings=settings),),
                data=text,
            )
            for text in texts(self.name, self.languages, self.sources, context, invalid)
        ]
        found, self.facts["invalid"] = sift(self.name, [*found, *invalid], self.languages)
        found = self._apart(found, context)
        if context.samples == "quick":
            found = spread(found, self.quick)
        baselines = self._trigram_bits([sample.data for sample in found if not sample.invalid], context)
        for sample in found:
            yield dataclasses.replace(sample, data=(sample.data, baselines.get(sample.sample)))

    def _apart(self, found: list[Sample], context: SuiteContext) -> list[Sample]:
        """Without the documents that also stand in the training text: data sets repeat themselves, and a split by document keeps that."""
        asked = [(sample.sample, sample.language, sample.data.text) for sample in found if not sample.invalid]
        dropped = repeated(self.name, asked, self.apart_from, context)
        self.facts["left out, in the training text"] = len(dropped)
        return [sample for sample in found if sample.sample not in dropped]

    def _trigram_bits(self, held_out: Sequence[Text], context: SuiteContext) -> dict[str, float]:
        """Bits that the language's byte 3-gram needs for each document; languages without one are left out."""
        bits: dict[str, float] = {}
        for language in self.languages:
            if language in self.trigram:
                model = Trigram([text.text for text in texts(self.name, [language], self.trigram, context)])
                bits |= {text.sample: model.bits(text.text) for text in held_out if text.language == language}
        return bits

    def row(self, sample: Sample, answers: Sequence[Mapping[str, Any]]) -> Row:
        """Bits, bytes, nats, tokens, words and characters of the document, and what the 3-gram needs more than the model.

        Where there is no 3-gram, or no space between words, the denominators are nought: such a metric has no value there.
        """
        text, trigram_bits = sample.data
        nats, size = -answers[0]["logprob"], float(len(text.text.encode("utf-8")))
        bits = nats / math.log(2)
        values = {"bits": bits, "bytes": size, "nats": nats, "tokens": float(answers[0]["tokens"])}
        values |= {"words": float(_words(text)), "characters": float(sum(not letter.isspace() for letter in text.text))}
        if self.trigram:
            compared = trigram_bits is not None
            values |= {"trigram_gain": trigram_bits - bits if compared else 0.0, "trigram_bytes": size if compared else 0.0}
        return Row(
            sample=sample.sample,
            cluster=sample.cluster,
            language=sample.language,
            stratum=sample.stratum,
            values=values,
            shown={"text": text.text[:SHOWN]},
        )


def _words(text: Text) -> int:
    """Words between spaces; 0 in a script that writes none between them (Thai, Lao, Khmer, Burmese, Chinese) or is unknown to us."""
    try:
        return len(text.text.split()) if by_code(text.language).script in SPACED else 0
    except LanguageError:
        return len(text.text.split())


def build(
    name: str,
    languages: Sequence[str],
    sources: Mapping[str, Sequence[Any]],
    trigram: Mapping[str, Sequence[Any]] | None = None,
    apart_from: Mapping[str, Sequence[Any]] | None = None,
    window: int = 0,
    quick: int | Mapping[str, int] = 30,
) -> Perplexity:
    """Factory of the entry point. `window` 0 is the model's own context; `quick` documents a language and stratum for quick samples.

    A source is one of a recipe's, or a path (JSONL or Parquet with `text`) relative to the profile, at the command to the working directory.
    `apart_from` maps a language to training sources: documents that repeat them are left out.
    """
    return Perplexity(
        name=name,
        languages=tuple(languages),
        sources=as_sources(name, sources),
        trigram=as_sources(name, trigram or {}),
        apart_from=as_sources(name, apart_from or {}),
        window=window,
        quick=quick,
    )


def alone(languages: Sequence[str], hub: Path | None, originals: Sequence[str] = ()) -> dict[str, SuiteSpec]:
    """What `--suite perplexity` stands for without options: the articles of the UDHR where a mirror has them in every language asked for,
    else the embedded held-out stories."""
    articles = hub is not None and all((hub / UDHR / language).is_dir() for language in languages)
    sources = {
        language: [_article(language) if articles else WorldText(language=language, documents=60, split="held_out")]
        for language in languages
    }  # type: ignore[arg-type]
    return {"perplexity": SuiteSpec(suite="perplexity", languages=tuple(languages), options={"sources": sources})}


def _article(language: str) -> HubText:
    return HubText(dataset=UDHR, config=language, split="train", field="text", language=language, licence="public domain", mirror_only=True)
