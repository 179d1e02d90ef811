"""Translation of parallel text: FLORES-200, PUD, NusaX-MT and the Universal Declaration, by generation and by likelihood.

A sample is a sentence in one direction. Its language is the one that is not English (of a pair without English: the target), its stratum the
pair, its cluster the sentence in all languages. The directions into and out of English are never pooled: each has metrics and columns of
its own, and a row is nought in the columns of the others, so that a gate over a language or a macro gate needs no stratum.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites.parallel import corpora, prompts
from benchmarks.suites.parallel.counting import Counting, model_of, signatures
from benchmarks.suites.parallel.scores import BLEU_COLUMNS, CHRF_COLUMNS
from benchmarks.suites.perplexity.texts import repeated
from harness.suites import MOST_INVALID, Metric, Request, Row, Sample, SuiteContext, SuiteError, spread
from training.identification import consistent, identify

MODES = ("generate", "likelihood")
SHOWN = 240  # characters that a person sees
SCORES = "benchmarks.suites.parallel.scores"
JUDGED_AS = ("same", "decided", "same_set", "decided_set", "undecided")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A direction of translation."""

    source: str
    target: str

    @property
    def name(self) -> str:
        """As an option and a stratum: "ind-eng"."""
        return f"{self.source}-{self.target}"

    @property
    def language(self) -> str:
        """The language that the pair is about."""
        return self.source if self.target == "eng" else self.target

    @property
    def side(self) -> str:
        """Which metrics the pair belongs to; of pairs without English the gate names the stratum."""
        return "from_english" if self.source == "eng" else "into_english" if self.target == "eng" else "without_english"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sentence:
    """What a row needs: the sentence, its translation by a person, and why it is amiss ("" where it is not)."""

    pair: Pair
    source: str
    reference: str
    amiss: str = ""


@dataclasses.dataclass(kw_only=True)
class Parallel:
    """The suite. `data` is a key of `corpora.OF`, `part` what is judged of it; `spm` the file of the flores200 SentencePiece model."""

    name: str
    data: str
    part: str
    languages: Sequence[str]
    pairs: Sequence[str]
    shots: int
    seed: int
    modes: Sequence[str]
    chat: bool
    spm: str
    max_tokens: int
    quick: int | Mapping[str, int]
    apart_from: Mapping[str, Sequence[Any]]
    version: int = 1

    def __post_init__(self) -> None:
        """Check options, lay out the pairs and declare metrics and columns."""
        self.facts: dict[str, Any] = {}
        self._pairs = self._laid_out()
        self._generates, self._scores = "generate" in self.modes, "likelihood" in self.modes
        if not self.modes or set(self.modes) - set(MODES):
            raise SuiteError(f"suite {self.name}: modes is {list(self.modes)}; it is one or both of {', '.join(MODES)}")
        if self.shots < 0 or self.max_tokens < 1:
            raise SuiteError(
                f"suite {self.name}: shots is {self.shots} and max_tokens {self.max_tokens}; shots is 0 or more, max_tokens 1 or more"
            )
        self.model = model_of(self.spm) if self._generates else None
        self.metrics: list[Metric] = []
        self.columns: list[str] = []
        for side in dict.fromkeys(pair.side for pair in self._pairs):
            self._declare(side)
        self._counting = Counting(self.model)

    def _laid_out(self) -> list[Pair]:
        there = corpora.OF[self.data]
        asked = self.pairs or [pair for language in self.languages for pair in (f"eng-{language}", f"{language}-eng")]
        found = []
        for name in asked:
            source, _, target = name.partition("-")
            if lacking := [language for language in (source, target) if language not in there]:
                raise SuiteError(f"suite {self.name}: {self.data} has no {lacking[0] or 'language'} of {name!r}; it has {', '.join(there)}")
            if source == target:
                raise SuiteError(
                    f"suite {self.name}: the pair {name} is one language; English stands in every pair by default: leave it out"
                )
            found.append(Pair(source=source, target=target))
        about = {pair.language for pair in found}
        if odd := sorted(about ^ set(self.languages)):
            raise SuiteError(
                f"suite {self.name}: {odd[0]} stands in `languages` or in a pair, and not in both; a pair's language is the one that is "
                "not English, or its target"
            )
        return list(dict.fromkeys(found))

    def _declare(self, side: str) -> None:
        def column(*names: str) -> tuple[str, ...]:
            return tuple(f"{name}_{side}" for name in names)

        def ratio(name: str, numerator: str, denominator: str, direction: Any, ceiling: float | None = None) -> Metric:
            over, under = column(numerator, denominator)
            return Metric(name=f"{name}_{side}", numerator=over, denominator=under, direction=direction, ceiling=ceiling)

        def corpus(name: str, reducer: str, counts: Sequence[str]) -> Metric:
            used = column("sentences", *counts)
            self.columns += [each for each in used if each not in self.columns]
            return Metric(name=f"{name}_{side}", reducer=f"{SCORES}:{reducer}", columns=used, direction="higher", ceiling=100.0)

        if self._generates:
            self.metrics.append(corpus("chrf", "chrf_of_some", CHRF_COLUMNS))
            self.metrics.append(corpus("bleu", "bleu_of_some", BLEU_COLUMNS))
            if self.model:
                self.metrics.append(corpus("spbleu", "bleu_of_some", [f"sp{each}" for each in BLEU_COLUMNS]))
            self.columns += column(*JUDGED_AS)
            self.metrics.append(ratio("target_language", "same", "decided", "higher", 1.0))
            self.metrics.append(ratio("set_target_language", "same_set", "decided_set", "higher", 1.0))
            self.metrics.append(ratio("undecided", "undecided", "sentences", "lower", 1.0))
        if self._scores:
            self.columns += column("bits", "bytes")
            self.metrics.append(ratio("bits_per_byte", "bits", "bytes", "lower"))

    # --------------------------------------------------------------------------------------------------------------- samples

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        """A sample a sentence and pair. Raises SuiteError where the data is missing or not what it should be."""
        if context.hub is None:
            raise SuiteError(
                f"suite {self.name}: {self.data} is read from a local mirror of the Hub: give --gate-hub DIR or set SEATRIALS_HUB"
            )
        named = dict.fromkeys(language for pair in self._pairs for language in (pair.source, pair.target))
        try:
            corpus = corpora.read(self.data, list(named), Path(context.hub), self.part)
        except SuiteError as error:
            raise SuiteError(f"suite {self.name}: {error}") from error
        self.facts = {
            "data": dict(corpus.rows),
            "unaligned": {language: list(found) for language, found in corpus.unaligned.items() if found},
            "invalid": {},
            "shots": {},
            "prompt": "ours: " + ("a conversation" if self.chat else "lines LANGUAGE: SENTENCE") + ", labels in English",
        }
        if self._generates:
            self.facts["signatures"] = signatures(self.model)
        found = self._apart([sample for pair in self._pairs for sample in self._of_pair(pair, corpus)], context)
        if context.samples == "quick":
            kept = {one.sample for one in spread([one for one in found if not one.data.amiss], self.quick)}
            found = [one for one in found if one.data.amiss or one.sample in kept]
        yield from found

    def _apart(self, found: list[Sample], context: SuiteContext) -> list[Sample]:
        """Without the sentences that also stand in the training text: data sets hold parts of one another."""
        asked = [(one.sample, one.data.pair.source, one.data.source) for one in found]
        asked += [(one.sample, one.data.pair.target, one.data.reference) for one in found]
        dropped = repeated(self.name, asked, self.apart_from, context)
        self.facts["left out, in the training text"] = len(dropped)
        return [one for one in found if one.sample not in dropped]

    def _of_pair(self, pair: Pair, corpus: corpora.Corpus) -> list[Sample]:
        theirs, ours = corpus.texts[pair.source], corpus.texts[pair.target]
        both = [one for one in corpus.judged if one in theirs and one in ours]
        pool = [
            one for one in corpus.shots if one in theirs and one in ours and not corpora.amiss(theirs[one]) and not corpora.amiss(ours[one])
        ]
        told = prompts.drawn(pool, self.shots, self.seed)
        if len(told) < self.shots:
            raise SuiteError(
                f"suite {self.name}: {self.data} has {len(pool)} sentences to show for {pair.name}, shots asks for {self.shots}"
            )
        if not both:
            raise SuiteError(f"suite {self.name}: {self.data} has no sentence in both languages of {pair.name}; check both files")
        self.facts["shots"][pair.name] = told
        shots = [(theirs[one].strip(), ours[one].strip()) for one in told]
        amiss = {one: why for one in both if (why := corpora.amiss(theirs[one]) or corpora.amiss(ours[one]))}
        if amiss:
            self.facts["invalid"][pair.name] = {"left out" if len(amiss) <= MOST_INVALID * len(both) else "too many": len(amiss)}
        if len(amiss) <= MOST_INVALID * len(both):
            both = [one for one in both if one not in amiss]
        return [
            Sample(
                sample=f"{pair.name}/{one}",
                cluster=corpus.clusters[one],
                language=pair.language,
                stratum=pair.name,
                requests=() if one in amiss else self._requests(pair, shots, theirs[one].strip(), ours[one].strip()),
                data=Sentence(pair=pair, source=str(theirs[one]).strip(), reference=str(ours[one]).strip(), amiss=amiss.get(one, "")),
            )
            for one in both
        ]

    def _requests(self, pair: Pair, shots: prompts.Shots, source: str, reference: str) -> tuple[Request, ...]:
        asked = (prompts.talk if self.chat else prompts.plain)(pair.source, pair.target, shots, source)
        chat = {"chat": True} if self.chat else {}
        found = []
        if self._generates:
            limit = prompts.most_tokens(pair.source, pair.target, source, self.max_tokens)
            settings = {"max_tokens": limit, "stop": [] if self.chat else ["\n"], **chat}
            found.append(Request(kind="generate", context=asked, settings=settings))
        if self._scores:
            continuation = reference if self.chat else f" {reference}"
            found.append(Request(kind="loglikelihood", context=asked, continuation=continuation, settings=chat))
        return tuple(found)

    # ------------------------------------------------------------------------------------------------------------------ rows

    def row(self, sample: Sample, answers: Sequence[Mapping[str, Any]]) -> Row:
        """The counts of one translation, nought in the columns of other directions; of an invalid sentence NaN in those of its own."""
        told: Sentence = sample.data
        shown = {"source": told.source[:SHOWN], "reference": told.reference[:SHOWN]}
        values: dict[str, float] = {}
        if told.amiss:
            values = {column: math.nan for column in self.columns if column.endswith(f"_{told.pair.side}")}
            shown["invalid"] = told.amiss
        else:
            found = self._counted(sample, answers, shown)
            values = {f"{name}_{told.pair.side}": float(value) for name, value in found.items()}
        return Row(
            sample=sample.sample,
            cluster=sample.cluster,
            language=sample.language,
            stratum=sample.stratum,
            values=dict.fromkeys(self.columns, 0.0) | values,
            shown=shown,
        )

    def _counted(self, sample: Sample, answers: Sequence[Mapping[str, Any]], shown: dict[str, str]) -> dict[str, float]:
        told: Sentence = sample.data
        found: dict[str, float] = {}
        if self._generates:
            text = " ".join(answers[0]["text"].split()) if self.chat else answers[0]["text"].partition("\n")[0].strip()
            target = told.pair.target
            strict, as_set = consistent(text, target), consistent(text, target, as_set=True)
            said = (strict is True, strict is not None, as_set is True, as_set is not None, strict is None)
            found = {"sentences": 1.0, **self._counting.of(text, told.reference), **dict(zip(JUDGED_AS, map(float, said), strict=True))}
            seen = identify(text)
            shown |= {"answer": text[:SHOWN], "identified": seen.language or f"none ({seen.why})"}
        if self._scores:
            found["bits"] = -answers[-1]["logprob"] / math.log(2)
            found["bytes"] = float(len(sample.requests[-1].continuation.encode("utf-8")))
        return found


# --------------------------------------------------------------------------------------------------------------------- building


def _build(
    data: str,
    name: str,
    languages: Sequence[str],
    part: str = "",
    pairs: Sequence[str] = (),
    shots: int = 3,
    seed: int = 0,
    modes: Sequence[str] = MODES,
    chat: bool = False,
    spm: str = "",
    max_tokens: int = 1024,
    quick: int | Mapping[str, int] = 25,
    apart_from: Mapping[str, Sequence[Any]] | None = None,
) -> Parallel:
    return Parallel(
        name=name,
        data=data,
        part=part,
        languages=tuple(languages),
        pairs=tuple(pairs),
        shots=shots,
        seed=seed,
        modes=tuple(modes),
        chat=chat,
        spm=spm,
        max_tokens=max_tokens,
        quick=quick,
        apart_from=apart_from or {},
    )


def build_flores200(name: str, languages: Sequence[str], **options: Any) -> Parallel:
    """Factory of `flores200`: devtest is judged, shots are of dev.

    Options: `pairs` ("ind-jav": any pair; default both directions with English), `shots`, `seed`, `modes` ("generate", "likelihood"), `chat`,
    `spm` (the flores200 SentencePiece model), `max_tokens` (the most of any translation), `quick` sentences a pair (a verdict needs 20),
    `apart_from` (language -> training sources: sentences that they repeat are left out).
    """
    return _build("flores200", name, languages, **options)


def build_pud_mt(name: str, languages: Sequence[str], **options: Any) -> Parallel:
    """Factory of `pud_mt`: options as `build_flores200`."""
    return _build("pud_mt", name, languages, **options)


def build_nusax_mt(name: str, languages: Sequence[str], split: str = "test", **options: Any) -> Parallel:
    """Factory of `nusax_mt`: `split` (test or valid) is judged, other options as `build_flores200`."""
    if split not in ("test", "valid"):
        raise SuiteError(f"suite {name}: split is {split!r}; it is test or valid (train is for training and shots)")
    return _build("nusax_mt", name, languages, part=split, **options)


def build_udhr_mt(name: str, languages: Sequence[str], only: str = "held_out", **options: Any) -> Parallel:
    """Factory of `udhr_mt`: `only` "held_out" judges the articles that the recipes keep out of training, "all" every article."""
    if only not in ("held_out", "all"):
        raise SuiteError(f"suite {name}: only is {only!r}; it is held_out or all")
    return _build("udhr_mt", name, languages, part=only, **options)
