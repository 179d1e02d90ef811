"""The Suite contract: what an evaluation yields, and how a multiset of its rows becomes a score.

A suite turns a checkpoint into rows, one a sample, each a vector of sufficient statistics with a cluster, a language and a
stratum. A metric is a named reducer over such rows, so that resampling (which resamples clusters) and pairing need no more
than the rows. Suites live in `benchmarks/suites/`; a third party registers its own in the entry-point group `seatrials.suites`.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib
import importlib.metadata
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

MOST_INVALID = 0.01  # of a language's rows; more, and its metrics have no value: a gate on them is inconclusive


class SuiteError(Exception):
    """A suite that cannot run: data missing, wrong columns, too few rows. The message names the thing and the mend."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One sample's sufficient statistics. `shown` is what a person sees of it under a failed gate."""

    sample: str  # unique within the suite, equal for every checkpoint
    cluster: str  # samples of one cluster are not independent (a passage, a document, an article in all languages)
    language: str
    stratum: str = ""
    values: Mapping[str, float]
    shown: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """A score: sum(numerator) / sum(denominator) over rows (denominator "" counts rows: a mean), or a `reducer` of sums.

    A corpus metric that is no ratio of sums (chrF++, BLEU) names its sufficient statistics as `columns`, K of them, and a reducer
    "module:function" that takes their sums, float64 [..., K], to scores [...]; sentences are never averaged.
    """

    name: str
    numerator: str = ""
    denominator: str = ""
    reducer: str = ""
    columns: tuple[str, ...] = ()
    direction: Literal["higher", "lower"]
    chance: float | None = None
    ceiling: float | None = None
    binary: bool = False  # the numerator is 0 or 1: exact or score intervals
    transform: Literal["identity", "exp"] = "identity"  # exp: token perplexity from mean negative log-likelihood

    def __post_init__(self) -> None:
        """Refuse what is neither a ratio nor a reducer of columns."""
        if bool(self.reducer) != bool(self.columns) or bool(self.reducer) == bool(self.numerator) or (self.reducer and self.binary):
            raise SuiteError(f"metric {self.name}: give `numerator` (and `denominator`), or `reducer` and its `columns`")

    @property
    def used(self) -> tuple[str, ...]:
        """The value columns of a row that the metric reads."""
        return self.columns or tuple(column for column in (self.numerator, self.denominator) if column)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What a suite asks of a model. Token ids are made by the runner from the checkpoint's own tokenizer.

    kind "loglikelihood": log-probability of `continuation` after `context`; answer {"logprob", "tokens", "greedy"}.
    kind "rolling": log-probability of the whole text `context`; answer {"logprob", "tokens"} (natural logarithm).
    With settings {"first": "unscored"} the text stands alone, as the tokenizer encodes it: no prefix of ours, its first token is given
    and not predicted, "tokens" counts it too, and a text longer than the window loses its beginning (`truncated`).
    kind "generate": text after `context`; answer {"text"}; `settings` holds max_tokens, stop, temperature; with chat True `context` is JSON
    {"messages": [...]} for the tokenizer's chat template, with chat "auto" so where it has one, else their texts go on as plain text.
    kind "logits_difference": largest absolute difference between the logits of subject and reference checkpoint over
    `context`; answer {"max_abs"}. Only for a suite whose spec names a `reference`.
    kind "fact": what the checkpoint's builder measured (build.json, entry `context`, at settings["index"], there under settings["of"] where that
    is given); answer {"value"}, NaN if absent.
    """

    kind: Literal["loglikelihood", "rolling", "generate", "logits_difference", "fact"]
    context: str
    continuation: str = ""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One sample: its requests, and what `Suite.row` needs to turn the answers into a row (`data`)."""

    sample: str
    cluster: str
    language: str
    stratum: str = ""
    requests: tuple[Request, ...] = ()
    data: Any = None
    invalid: str = ""  # why it cannot be asked: a row of the data that is amiss (`sift`); it asks nothing, and `Suite.row` never sees it


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuiteContext:
    """What surrounds a run of a suite; none of it changes what a sample is, except `samples`.

    A suite whose samples fill a length in tokens declares `needs_tokenizer = True`, and is told the checkpoint's `measure`. One that judges files
    and asks no model declares `needs_model = False`, and is told the `artifact`: the directory that the stage made; of a corpus too what the
    profile's suites ask of a checkpoint, `asked`, (suite, sample, text).
    """

    hub: str | None  # local mirror, or None
    profile_dir: str  # relative paths of a profile resolve against it
    samples: Literal["quick", "full"] = "full"
    originals: tuple[str, ...] = ()  # checkouts of benchmarks that the user named: a suite looks for its own among them
    measure: Measure | None = None
    artifact: Path | None = None
    asked: Callable[[], Sequence[tuple[str, str, str]]] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure:
    """How long a request is for the checkpoint under evaluation, by the code that renders it."""

    tokens: Callable[[Request], int]  # of the request's context, prefix included, before anything is cut to the window
    tokenizer: str  # content digest (hex)
    window: int  # tokens the model may see at once
    kept: Path | None = None  # a folder where a suite may keep what it measured, under keys of its own


class Suite(Protocol):
    """An evaluation. Built from a profile's `SuiteSpec` by `factory(name=..., languages=..., **options)`.

    A suite may name groups of its languages, `groups` (country -> languages): the person's table then has a line for each.
    """

    name: str
    version: int
    languages: Sequence[str]
    metrics: Sequence[Metric]

    def samples(self, context: SuiteContext) -> Iterable[Sample]:
        """Yield the samples, in a fixed order. Raises SuiteError where the data is short, absent or misshapen."""

    def row(self, sample: Sample, answers: Sequence[Mapping[str, Any]]) -> Row:
        """Turn the model's answers to `sample.requests` into a row."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuiteSpec:
    """A profile's naming of a suite: `suite` is an entry-point name, `module:factory` or `lm_eval:TASK`; options are literals."""

    suite: str
    languages: tuple[str, ...]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reference: str = ""  # "parent": the suite takes the parent stage's checkpoint beside the subject (`identity`)
    stages: tuple[str, ...] = ()  # the stages it runs on; () is all


# The suites of this distribution (`table13_ROW`: a row of the paper's Table 13); `lm_eval:TASK` goes to the adapter. Named, not imported: benchmarks -> harness stays one way.
BUILT_IN = {
    "curation": "benchmarks.suites.curation:build",
    "perplexity": "benchmarks.suites.perplexity:build",
    "choice": "benchmarks.suites.choice:build",
    "identity": "benchmarks.suites.identity:build",
    "isolation": "benchmarks.suites.isolation:build",
    "mixture": "benchmarks.suites.mixture:build",
    "language": "benchmarks.suites.language:build",
    "sailcompass": "benchmarks.suites.sailcompass:build",
    "table13": "benchmarks.suites.table13:build",
    **{
        f"table13_{row}": f"benchmarks.suites.table13:{row}"
        for row in (
            "indoculture_ind", "tydiqa_ind", "belebele_ind", "mmlu_tha", "m3exam_tha", "belebele_tha", "vmlu_vie", "m3exam_vie",
            "belebele_vie", "tatabahasa_zsm", "m3exam_jav", "flores200", "xcopa",
        )
    },
    "ruler": "benchmarks.suites.ruler:build",
    "ruler-sea": "benchmarks.suites.ruler:build_sea",
    "emoji": "benchmarks.suites.emoji:build",
    "culture": "benchmarks.suites.culture:build",
    "retention": "benchmarks.suites.retention:build",
    "speculation": "benchmarks.suites.speculation:build",
    "flores200": "benchmarks.suites.parallel:build_flores200",
    "pud_mt": "benchmarks.suites.parallel:build_pud_mt",
    "nusax_mt": "benchmarks.suites.parallel:build_nusax_mt",
    "udhr_mt": "benchmarks.suites.parallel:build_udhr_mt",
}  # fmt: skip


def load(spec: SuiteSpec, name: str, directory: str | Path = ".") -> Suite:
    """Build the suite that a profile's spec names, under the profile's own `name` for it. Loads no model and no data.

    `directory` is the profile's: an lm-eval `include_path` is relative to it. Raises SuiteError for an unknown suite (with the closest name), a module that cannot be imported, or options it does not take.
    """
    if spec.suite.startswith("lm_eval:"):
        target, options = "harness.lm_eval_suite:build", {"task": spec.suite.partition(":")[2], **spec.options}
        if options.get("include_path"):
            options["include_path"] = str(Path(directory) / options["include_path"])
    elif ":" in spec.suite:
        target, options = spec.suite, dict(spec.options)
    else:
        points = {point.name: point.value for point in importlib.metadata.entry_points(group="seatrials.suites")}
        known = {**BUILT_IN, **points}
        if spec.suite not in known:
            close = difflib.get_close_matches(spec.suite, known, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise SuiteError(
                f"suite {name}: no suite {spec.suite!r}: there are {', '.join(sorted(known))}, module:factory and lm_eval:TASK{hint}"
            )
        target, options = known[spec.suite], dict(spec.options)
    module, _, attribute = target.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SuiteError(f"suite {name}: {target} cannot be imported: {error}") from error
    try:
        return factory(name=name, languages=tuple(spec.languages), **options)
    except TypeError as error:
        raise SuiteError(f"suite {name}: {spec.suite} does not take these options: {error}") from error


def sift(name: str, samples: Iterable[Sample], languages: Sequence[str]) -> tuple[list[Sample], dict[str, dict[str, Any]]]:
    """The samples to run, and for the facts how many of each language were invalid and why the first was.

    Up to 1 % of a language's rows may be invalid: they are dropped and counted. Beyond that they stay, as rows without a value, so that no gate
    over the language passes. A row without a language (none could be read) counts against all of them. Raises SuiteError where a language
    has invalid rows and no other: its file has another form.
    """
    found = list(samples)
    nowhere = [sample for sample in found if sample.invalid and sample.language not in languages]
    kept = {id(sample) for sample in found if not sample.invalid}
    facts: dict[str, dict[str, Any]] = {}
    extra: list[Sample] = []
    for language in languages:
        own = [sample for sample in found if sample.language == language]
        stray = [dataclasses.replace(sample, language=language, sample=f"{language}/{sample.sample}") for sample in nowhere]
        bad = [sample for sample in own if sample.invalid] + stray
        total = len(own) + len(stray)
        if not bad:
            continue
        if len(bad) == total:
            raise SuiteError(f"suite {name}, {language}: not one of its {total} rows can be asked; the first: {bad[0].invalid}")
        few = len(bad) <= MOST_INVALID * total
        facts[language] = {"left out" if few else "too many": len(bad), "of": total, "the first": bad[0].invalid}
        if not few:
            kept |= {id(sample) for sample in bad}
            extra += stray
    return [sample for sample in (*found, *extra) if id(sample) in kept], facts


def void(sample: Sample, columns: Sequence[str]) -> Row:
    """The row of an invalid sample: no value in any column, and why."""
    return Row(
        sample=sample.sample,
        cluster=sample.cluster,
        language=sample.language,
        stratum=sample.stratum,
        values=dict.fromkeys(columns, math.nan),
        shown={"invalid": sample.invalid},
    )


def spread(samples: Sequence[Sample], count: int | Mapping[str, int], *, apart: bool = False) -> list[Sample]:
    """At most `count` samples (or, by language, `count[language]`; "" is every other) a language and stratum, in their order: those whose clusters come first by hash.

    Invalid samples are drawn all: they were counted against the whole. The draw depends on the cluster alone, so that a parallel text keeps the same documents in every language. `apart` takes a second sample of a
    cluster only when every cluster has given one: a verdict needs clusters, and a passage may have many questions.
    """
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in (sample for sample in samples if not sample.invalid):
        groups.setdefault((sample.language, sample.stratum), []).append(sample)
    kept: set[str] = set()
    for group in groups.values():
        group.sort(key=lambda sample: (hashlib.sha256(sample.cluster.encode()).hexdigest(), sample.sample))
        if apart:
            turns: Counter[str] = Counter()
            turn = {}
            for sample in group:
                turn[sample.sample] = turns[sample.cluster]
                turns[sample.cluster] += 1
            group.sort(key=lambda sample: turn[sample.sample])
        most = count if isinstance(count, int) else count.get(group[0].language, count[""])
        kept.update(sample.sample for sample in group[:most])
    return [sample for sample in samples if sample.invalid or sample.sample in kept]


def margin(scores: Sequence[float], gold: Sequence[int]) -> float:
    """The best gold score less the best other score."""
    return max(scores[index] for index in gold) - max(score for index, score in enumerate(scores) if index not in gold)
