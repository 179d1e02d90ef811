"""Rows of a checkpoint that is in order and of one that is broken, for any gate of a profile: the profile's own samples, scores as told.

What the rows look like comes from three places. How many samples and clusters, and which languages share a cluster, are read from the ids that
`goldens/samples/PROFILE.json` pins. How uneven documents are comes from `BYTES`, and what scores, documents' differences and checkpoints'
differences are from the `Shape` of each metric: rounded figures of a real run. Deviations are quantiles of a normal distribution in a
scrambled order, weighted to nought in each language, so that a score is exactly what was told; `luck` then moves it, by as many standard
errors, toward the other verdict.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from scipy import special

from harness import profiles, quick
from harness.gates import Gate, RowsLookup
from harness.profiles import Profile
from harness.rows import Floats, Rows
from harness.rules import contrast
from harness.suites import Metric
from tests.harness.profile_kit import metrics_of

State = Literal["honest", "broken"]
ByKey = float | Mapping[str, float]  # one figure, or by language (or stage, or rule); "" is every other


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """What a metric's rows look like. With `relative`, all but `level` are shares of it.

    A gate without reference holds `level` itself (by language, else by stage) against `broken` (by rule). One with a reference holds a
    candidate against it, whose documents' own changes spread by `effect` (by stage and rule, else by stage). An honest one has learned
    (`learned`, by stage and language, else by stage) where that is asked, and lost nothing where that is; a broken one was hardly trained, or
    has lost a number of margins.
    """

    level: ByKey
    spread: ByKey = 0.0
    effect: ByKey = 0.0
    learned: ByKey = 0.0
    broken: ByKey | None = None
    broken_spread: float | None = None
    relative: bool = False
    sizes: float = 0.0  # standard deviation of the logarithm of a sample's denominator; those of `BYTES` for documents
    documents: Mapping[str, int] | None = None  # of a language, where no sample is pinned


@dataclasses.dataclass(frozen=True, kw_only=True)
class Places:
    """The samples behind a gate: one entry each."""

    sample: Sequence[str]
    cluster: Sequence[str]
    language: Sequence[str]


def by_key(told: ByKey, *keys: str) -> float:
    """The figure of the first key that has one."""
    if not isinstance(told, Mapping):
        return told
    return next(told[key] for key in (*keys, "") if key in told)


# Bytes of a held-out document, by what its id holds, first match; the median of each source, and twice and a half for scripts of three bytes.
PREAMBLE = "#article-0"
BYTES = (
    (PREAMBLE, 2200),
    ("#article-", 480),
    ("xquad", 690),
    ("gja/", 25),
    ("ugnayan/", 60),
    ("khPOS", 20),
    ("wisesight", 40),
    ("csui/", 77),
    ("", 120),
)
THREE_BYTES = ("tha", "lao", "khm", "mya")
# belebele's 60 questions of the quick sample stand on 55 passages, which no id tells
SHARED = {"belebele": 55}
ARTICLES = 22
HARDLY = 1 / 3  # of the spread of documents' changes is left where a checkpoint was hardly trained: they move a little, either way


@functools.cache
def pinned(name: str, suite: str) -> tuple[str, ...]:
    return quick.read(quick.path_of(profiles.load(name)))[suite].ids


def places(profile: Profile, gate: Gate, shape: Shape) -> Places:
    """The gate's samples: of the pinned ids those in its languages (and direction of translation), or the shape's numbers of documents."""
    if shape.documents is not None:
        # every language has the articles of law, and some have hardly anything else
        found = [
            (f"{one}/{number}", f"article-{number}" if number < ARTICLES else f"{one}/{number}", one)
            for one in gate.languages
            for number in range(shape.documents.get(one, shape.documents[""]))
        ]
    else:
        ids = pinned(profile.name, gate.suite)
        if "english" in gate.metric:
            ids = tuple(one for one in ids if one.startswith("eng-") == gate.metric.endswith("from_english"))
        found = [(one, cluster_of(gate.suite, number, one), language_of(profile, gate.suite, one)) for number, one in enumerate(ids)]
        found = [one for one in found if one[2] in gate.languages]
    sample, cluster, language = zip(*found, strict=True)
    return Places(sample=sample, cluster=cluster, language=language)


def language_of(profile: Profile, suite: str, sample: str) -> str:
    """The language of a pinned id: it begins with it, with its pair or with its task; or the suite has but one."""
    spec = profile.suites[suite]
    if len(spec.languages) == 1:
        return spec.languages[0]
    tasks = {str(task): language for language, task in spec.options.get("tasks", {}).items()}
    head = sample.partition("/")[0]
    return tasks[head] if head in tasks else next(part for part in re.split("[-/]", sample) if part in spec.languages)


def cluster_of(suite: str, number: int, sample: str) -> str:
    """What a pinned id shares with those of other languages: an article, a review, a slice; of a document its data set, split and key."""
    if suite in SHARED:
        return str(number % SHARED[suite])
    if document := re.fullmatch(r"\w+/([^/]+)/.*/(\w+):\w+#(.*)", sample):
        return "/".join(document.groups())
    return sample.rpartition("/")[2] if suite != "mmlu" else sample.partition("/")[2]


def sizes_of(gate: Gate, metric: Metric, shape: Shape, where: Places) -> Floats:
    """The denominators."""
    factor = np.exp(shape.sizes * deviations(where, gate.suite + "sizes", np.ones(len(where.sample)), scaled=False))
    if "bytes" not in metric.denominator or "#" not in where.sample[0]:
        return factor
    factor[[PREAMBLE in name for name in where.sample]] = 1.0  # which in the small languages holds a third of all
    size = [next(size for part, size in BYTES if part in name) for name in where.sample]
    return np.array(size) * np.where(np.isin(where.language, THREE_BYTES), 2.5, 1.0) * factor


def deviations(where: Places, purpose: str, weight: Floats, *, scaled: bool = True) -> Floats:
    """Normal quantiles in a scrambled order, whose weighted mean in each language is nought and weighted deviation one."""
    language = np.array(where.language)
    found = np.zeros(len(language))
    for one in dict.fromkeys(where.language):
        own = np.flatnonzero(language == one)
        order = np.random.default_rng(zlib.crc32(f"{purpose}/{one}".encode())).permutation(len(own))
        z = special.ndtri((order + 0.5) / len(own))
        if scaled and len(own) > 1:
            w = weight[own] / weight[own].sum()
            z -= w @ z
            z /= (w @ z**2) ** 0.5
        found[own] = z
    return found


def planted(profile: Profile, gate: Gate, shape: Shape, state: State, luck: float = 0.0, margins: float = 3.0) -> tuple[Rows, Rows | None]:
    """A candidate's rows, and its reference's where the gate has one. `margins` is what a broken one loses that should keep or equal."""
    metric = metrics_of(profile.name)[gate.suite][gate.metric]
    assert not metric.reducer, f"{gate.name}: {metric.name} is no ratio of sums; teach `rows_of` its columns"
    if not luck:
        return _planted(profile, gate, metric, shape, state, margins, 0.0)
    found = contrast(gate, lookup(gate, *planted(profile, gate, shape, state, margins=margins)), metrics_of(profile.name))
    assert found is not None, gate.name
    estimate, _, up = found
    if gate.rule == "matches":
        toward = -np.sign(estimate.value) if state == "broken" else 0.0
    else:
        toward = (-1.0 if up else 1.0) * (1.0 if state == "honest" else -1.0)
    return _planted(profile, gate, metric, shape, state, margins, toward * luck * estimate.standard_error)


def _planted(
    profile: Profile, gate: Gate, metric: Metric, shape: Shape, state: State, margins: float, shift: float
) -> tuple[Rows, Rows | None]:
    where = places(profile, gate, shape)
    size = sizes_of(gate, metric, shape, where) if metric.denominator else np.ones(len(where.sample))
    unit = np.array([by_key(shape.level, one, gate.stage) if shape.relative else 1.0 for one in where.language])
    level = np.array([by_key(shape.level, one, gate.stage) for one in where.language])
    own = by_key(shape.spread, gate.stage) * deviations(where, gate.suite + "level", size)
    if not gate.against:
        if state == "broken":
            assert shape.broken is not None, f"{gate.name}: its shape does not say what a broken checkpoint scores"
            level = np.full(len(unit), by_key(shape.broken, gate.rule, gate.stage))
            own = own if shape.broken_spread is None else shape.broken_spread * deviations(where, gate.suite + "level", size)
        return rows_of(gate, metric, where, size, level + unit * own + shift), None
    reference = level + unit * own
    effect = by_key(shape.effect, f"{gate.stage}.{gate.rule}", gate.stage)
    moved = np.zeros(len(unit))
    if state == "honest" and gate.rule == "improves_on":
        moved = unit * np.array([by_key(shape.learned, f"{gate.stage}.{one}", gate.stage) for one in where.language])
    elif gate.rule == "improves_on":
        effect *= HARDLY
    elif state == "honest":
        effect *= gate.rule != "matches"
    else:
        assert gate.margin is not None, f"{gate.name}: its margin is relative: teach `_planted` what a broken checkpoint loses"
        moved += margins * gate.margin * (1 if metric.direction == "lower" else -1)
    candidate = reference + moved + unit * effect * deviations(where, gate.suite + "effect", size) + shift
    return rows_of(gate, metric, where, size, candidate), rows_of(gate, metric, where, size, reference)


def rows_of(gate: Gate, metric: Metric, where: Places, size: Floats, score: Floats) -> Rows:
    """Rows whose samples score as told; of a metric of right and wrong so many are right that their share is it."""
    if metric.binary:
        language, right = np.array(where.language), np.zeros(len(score))
        for one in dict.fromkeys(where.language):
            own = np.flatnonzero(language == one)
            hits = int(np.clip(round(score[own].mean() * len(own)), 0, len(own)))
            right[np.random.default_rng(zlib.crc32(f"{gate.metric}/{one}".encode())).permutation(own)[:hits]] = 1.0
        score = right
    values = {metric.numerator: score * size} | ({metric.denominator: size} if metric.denominator else {})
    return Rows(
        sample=np.array(where.sample, dtype=object),
        cluster=np.array(where.cluster, dtype=object),
        language=np.array(where.language, dtype=object),
        stratum=np.array([gate.stratum] * len(size), dtype=object),
        count=np.ones(len(size)),
        values=values,
    )


def lookup(gate: Gate, candidate: Rows | None, reference: Rows | None) -> RowsLookup:
    """What `judge_stage` asks for: the candidate under the gate's own stage, the reference under every other name."""
    return lambda which, suite: candidate if which == gate.stage else reference
