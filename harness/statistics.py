"""What a verdict rests on: scores of rows, and estimates with intervals that hold for clustered, few and skewed samples.

A score is a ratio of sums over rows (`harness.suites.Metric`), its exponential, or a corpus metric of sums; over several languages it
is the equally weighted mean of their scores. Samples of one cluster are not independent, and a cluster may reach over languages (one document in fifteen
of them), so the error is a jackknife that deletes one cluster everywhere at once:

- Standard error: sqrt((G - 1) / G * sum of d_g^2), d_g = score - score without cluster g (the CV3 of MacKinnon, Nielsen and Webb
  2023, conservative where clusters are few or uneven). A paired difference jackknifes the difference itself.
- Degrees of freedom: Bell and McCaffrey's (2002) Satterthwaite approximation under equally variable clusters; at most G - 1, fewer
  when a handful of clusters carries the score.
- Skewness: Hall's (1992) cubic transform of the t statistic beside the plain one; of the two bounds the more cautious holds. With 20 to 60
  lognormal clusters the plain t interval covers 88-91 % instead of 95, Hall's alone 92 % under heavy tails; the more cautious of both
  covers 94-97 %, and 91-93 % under lognormal effects, its known weak spot (`harness/simulation.py` prints the table).
  Hall's word ends at a distance (`_cautious`, with figures): one document with a third of the bytes would by its weight alone stretch
  the bound to thrice the plain one, however well the others agree.
- Binary metrics with one sample a cluster: Clopper and Pearson for a score; for a paired difference Tango's (1998) score bound, which
  besides must agree with the exact McNemar test about zero. Otherwise they are clustered means.

All bounds are one-sided and come from the same p-values as the verdicts. SciPy is imported where it is needed.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.rows import JOIN, Floats, Rows, StatisticsError, paired, sums
from harness.suites import Metric

MINIMUM_CLUSTERS = 20
CONFIDENCE = 0.95
POWER = 0.90


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number, and how sure it is. `samples` and `clusters` are those that decided something. `value` is the score, or candidate - ratio * reference; all in the metric's unit and sign.

    `kind`: "clustered" (jackknife), "proportion" (Clopper-Pearson; `counts` = successes, trials), "pairs" (Tango and McNemar;
    `counts` = only the candidate right, only the reference right, pairs). `influence` [G] is each cluster's d_g, `weight` [G] its
    share of the score, `names` [G] the clusters.
    """

    value: float
    score: float
    reference: float | None = None
    kind: Literal["clustered", "proportion", "pairs"] = "clustered"
    standard_error: float
    degrees: float
    skewness: float = 0.0  # of the estimate: sum d^3 / (sum d^2)^1.5
    counts: tuple[int, ...] = ()
    samples: int
    clusters: int
    parts: tuple[tuple[float, float], ...] = ()  # (variance, degrees) of sampling and of seeds, where `widened` added the latter
    identical: bool = False  # candidate and reference agree on every row (to the rounding of a sum, 1e-12)
    names: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    influence: Floats = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False)
    weight: Floats = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False)

    @property
    def constant(self) -> bool:
        """Every cluster says the same number: an interval of width nought, which must not be taken for certainty."""
        size = max(abs(self.value), abs(self.score), abs(self.reference or 0.0))
        return self.kind == "clustered" and self.standard_error <= 1e-12 * size

    def p_above(self, line: float) -> float:
        """P-value of the hypothesis that the truth is at or below `line`; small where it is surely above."""
        return self._tail(line, +1)

    def p_below(self, line: float) -> float:
        """P-value of the hypothesis that the truth is at or above `line`; small where it is surely below."""
        return self._tail(line, -1)

    def lower(self, confidence: float = CONFIDENCE) -> float:
        """One-sided lower bound."""
        return self._bound(confidence, +1)

    def upper(self, confidence: float = CONFIDENCE) -> float:
        """One-sided upper bound."""
        return self._bound(confidence, -1)

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Two-sided interval of the confidence: both one-sided bounds at half the error."""
        half = (1 + confidence) / 2
        return self.lower(half), self.upper(half)

    def detectable(self, seed_sd: float = 0.0, seeds: int = 0, power: float = POWER) -> float:
        """Smallest distance of the truth from a line at which the bound clears it with `power`.

        (t_.95 + t_.90) * standard error; with a seed deviation, t_.95 * sampling error + t_.90 * total error, since a verdict is
        on this checkpoint but the next one has another seed.
        """
        from scipy import special

        if self.kind != "clustered":
            return sum((self.upper(level) - self.lower(level)) / 2 for level in (CONFIDENCE, power))
        total = self.widened(seed_sd, seeds)
        bound = float(special.stdtrit(self.degrees, CONFIDENCE)) * self.standard_error
        return bound + float(special.stdtrit(total.degrees, power)) * total.standard_error

    def widened(self, seed_sd: float, seeds: int) -> Estimate:
        """The same estimate with the variance between training seeds added.

        Its p-values are Cochran and Cox's (1950): the critical values of both parts, weighted by their variances. Satterthwaite's degrees
        (kept for what is shown) err 2.4 times as often as they say at the levels that Holm's correction comes down to, where five seeds
        make up most of the variance; these never more than 1.03 times, and a third as often where they make up half.
        """
        if seed_sd <= 0:
            return self
        own = self.standard_error if self.kind == "clustered" else (self.upper(0.8413) - self.lower(0.8413)) / 2
        total = math.hypot(own, seed_sd)
        degrees = total**4 / (own**4 / self.degrees + seed_sd**4 / max(1, seeds - 1))
        skewness = self.skewness * (own / total) ** 3
        parts = ((own**2, self.degrees), (seed_sd**2, max(1, seeds - 1)))
        return dataclasses.replace(self, kind="clustered", standard_error=total, degrees=degrees, skewness=skewness, parts=parts)

    def _tail(self, line: float, side: Literal[-1, 1]) -> float:
        """P-value for the truth lying above (side 1) or below (side -1) the line."""
        from scipy import special

        if self.kind == "proportion":
            hits, trials = self.counts
            line = min(1.0, max(0.0, line))
            if side > 0:
                return float(special.betainc(hits, trials - hits + 1, line)) if hits else 1.0
            return float(special.betaincc(hits + 1, trials - hits, line)) if hits < trials else 1.0
        if self.kind == "pairs":
            return self._pairs_tail(line, side)
        if self.standard_error == 0:
            return 0.0 if side * (self.value - line) > 0 else 1.0
        t = (self.value - line) / self.standard_error
        cautious = _cautious(side * t, side * self.skewness, self._reach)
        return _cochran_cox(cautious, self.parts) if self.parts else float(special.stdtr(self.degrees, -cautious))

    @property
    def _reach(self) -> float:
        """How far Hall's transform holds, in 1 / |skewness|: 3, and less where one cluster has more than half of the variance by weight."""
        if not len(self.weight):
            return 3.0
        share = float((self.weight**2).max() / (self.weight**2).sum())
        if self.parts:
            share *= self.parts[0][0] / self.standard_error**2
        return 3.0 * min(1.0, 2 * (1 - share))

    def _pairs_tail(self, line: float, side: Literal[-1, 1]) -> float:
        from scipy import special

        gained, lost, n = self.counts
        if line >= 1:
            return 1.0 if side > 0 else float(gained == n)
        if line <= -1:
            return 1.0 if side < 0 else float(lost == n)
        # Tango (1998): the restricted maximum likelihood of the probability that only the reference is right, given the difference
        b = -gained - lost + (2 * n - gained + lost) * line
        q = (math.sqrt(max(0.0, b * b + 8 * n * lost * line * (1 - line))) - b) / (4 * n)
        variance = n * (2 * q + line * (1 - line))
        beyond = gained - lost - n * line
        # at a line within rounding of -1 or 1 the restricted variance vanishes: then any distance from it is beyond doubt
        z = beyond / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, beyond) if beyond else 0.0
        p = float(special.ndtr(-side * z))
        if side * line >= 0:
            wins, losses = (gained, lost) if side > 0 else (lost, gained)
            p = max(p, float(special.bdtr(losses, wins + losses, 0.5)))  # exact McNemar: no claim beyond zero against it
        return p

    def _bound(self, confidence: float, side: Literal[-1, 1]) -> float:
        from scipy import special

        if self.kind != "clustered":
            low, high = (0.0, 1.0) if self.kind == "proportion" else (-1.0, 1.0)
            for _ in range(60):
                middle = (low + high) / 2
                if (self._tail(middle, side) < 1 - confidence) == (side > 0):
                    low = middle
                else:
                    high = middle
            return low if side > 0 else high
        if self.standard_error == 0:
            return self.value
        q = float(special.stdtrit(self.degrees, confidence))
        return self.value - side * _cautious_inverse(q, side * self.skewness, self._reach) * self.standard_error


def _cochran_cox(t: float, parts: Sequence[tuple[float, float]]) -> float:
    """Upper-tail p-value of `t` = difference / sqrt(sum of variances): the level whose weighted mean critical value it reaches."""
    from scipy import special

    if t < 0:
        return 1 - _cochran_cox(-t, parts)
    total = sum(variance for variance, _ in parts)
    ends = sorted(float(special.stdtr(degrees, -t)) for _, degrees in parts)
    low, high = ends[0], ends[-1]  # the level lies between those of the parts alone
    for _ in range(60):
        middle = math.sqrt(low * high)
        critical = sum(-variance / total * float(special.stdtrit(degrees, middle)) for variance, degrees in parts)
        low, high = (middle, high) if critical > t else (low, middle)
    return high


def _cautious(t: float, skewness: float, reach: float) -> float:
    """The t statistic (positive beyond the line) or Hall's transform of it, whichever says less; the plain one past reach / |skewness|.

    At 3 / |skewness| a transform that holds t down is level; what follows its cubic added to stay monotone, it tells nothing of the data.
    And it is an expansion for sums of many small parts. Where one cluster carries most of the variance by its weight alone, known and not
    drawn, the skewness is near +-1 whatever the effects, t hardly leaves -1 to 1, and the few Bell-McCaffrey degrees have paid already:
    from half the variance to all of it the reach goes from 3 to 0 (`Estimate._reach`). Upper 5 % bounds, 32,000 simulated runs, effects
    independent of size; without an end, with it, and the plain t; then the mean width of the first two in widths of the third:

        clusters  sizes                   effects      errs, %           width
        20        equal                   exponential  6.8  6.8  10.8    1.55  1.45
        20        equal                   lognormal    10.8 10.9 17.4    2.38  1.84
        20        log-sd .5               t, 3 degrees 3.8  3.8  4.0     1.37  1.23
        20        log-sd .5               lognormal    12.2 12.2 17.3    2.43  1.80
        26        log-sd 1                exponential  7.3  7.3  8.9     1.94  1.41
        20        one of a fifth          exponential  6.4  6.4  8.1     2.03  1.51
        20        one of a third          lognormal    3.3  4.1  4.8     1.87  1.03
        26        one of a third          normal       0.2  0.2  0.2     1.64  1.01
        26        the same, rest log-sd 1 lognormal    5.1  5.5  6.2     1.94  1.07

    At the 1 and .2 % levels the errors differ by .05 points at most. What the end costs: effects that both grow with the size and are
    skewed (20 clusters, log-sd 1: 6.6 to 6.8, at 1 % 1.1 to 1.3; log-sd 1.5, where samples without a big one mislead: 6.4 to 11.4, at 1 %
    1.0 to 4.9; a difference of one standard deviation for each e-fold of size).
    Weighed and left: 2 / |skewness| everywhere, Hall's with G - 1 degrees (both lose more there: 8.3 and 9.6 at log-sd 1), the skewness
    of the effects apart from the weights (no better there than the plain t: 16.4).
    """
    return t if t * -skewness >= reach else min(t, _hall(t, skewness))


def _cautious_inverse(x: float, skewness: float, reach: float) -> float:
    """The least t from which on `_cautious` is at least x."""
    hall = _hall_inverse(x, skewness)
    return max(x, min(hall, reach / -skewness) if skewness < 0 else hall)


def _hall(t: float, skewness: float) -> float:
    """Hall's (1992) monotone cubic transform: removes the first-order effect of skewness from a t statistic."""
    return t + skewness * t * t / 3 + skewness**2 * t**3 / 27 + skewness / 6


def _hall_inverse(x: float, skewness: float) -> float:
    if abs(skewness) < 1e-7:
        return x - skewness / 6
    return 3 / skewness * (math.copysign(abs(inner := 1 + skewness * (x - skewness / 6)) ** (1 / 3), inner) - 1)


def score(rows: Rows, metric: Metric, languages: Sequence[str]) -> float:
    """The metric over the rows: its score for one language, the equally weighted mean of scores for several."""
    table, _, _ = _tables(rows, metric, languages)
    return float(_scores(table.sum(0), metric).mean())


def row_score(rows: Rows, metric: Metric, index: int) -> float:
    """The metric of one row alone; NaN where it has none (its denominator is nought)."""
    values = np.array([rows.values[column][index] for column in metric.used])
    if not metric.reducer and not metric.denominator:
        values = np.append(values, rows.count[index])
    try:
        return float(_scores(values, metric))
    except StatisticsError:
        return math.nan


def estimate(rows: Rows, metric: Metric, languages: Sequence[str]) -> Estimate:
    """Estimate a checkpoint's score. Raises StatisticsError for what no verdict can rest on."""
    rows = rows.select(languages)
    told = _told(rows, metric)
    if set(languages) <= set(rows.language[told]):  # else the whole says which language is missing, or has nothing to divide by
        rows = rows.take(np.flatnonzero(told))
    table, weight, names = _tables(rows, metric, languages)
    value, influence = _jackknife(table, weight, metric)
    samples = int(rows.count.sum())
    clusters = int((weight > 0).any(1).sum())
    result = _clustered(value, influence, weight, names, samples=samples, clusters=clusters, score=value)
    trials = _trials(weight)
    if metric.binary and metric.transform == "identity":
        hits = int(rows.values[metric.numerator].sum())
        if _simple(rows, metric, languages):
            return dataclasses.replace(result, kind="proportion", counts=(hits, len(rows)))
        if hits in (0, int(weight.sum())):  # all wrong or all right: the clusters are the trials
            return dataclasses.replace(result, kind="proportion", counts=(trials if hits else 0, trials))
    share = metric.ceiling == 1.0 and metric.transform == "identity" and not metric.reducer
    if share and result.constant and value in (0.0, 1.0):  # a share of what was decided, all or nothing: the clusters are the trials
        return dataclasses.replace(result, kind="proportion", counts=(trials if value else 0, trials))
    return result


def compare(candidate: Rows, reference: Rows, metric: Metric, languages: Sequence[str], ratio: float = 1.0) -> Estimate:
    """Estimate candidate - ratio * reference on the same samples. Raises StatisticsError for what no verdict can rest on.

    `ratio` expresses a relative margin as a contrast against nought, so that the reference's own error counts. Clusters and samples are
    counted where both sides say something.
    """
    candidate, reference = paired(candidate.select(languages), reference.select(languages))
    new_told, old_told = _told(candidate, metric), _told(reference, metric)
    if set(languages) <= set(candidate.language[new_told]) & set(reference.language[old_told]):
        kept = np.flatnonzero(new_told | old_told)
        candidate, reference, both = candidate.take(kept), reference.take(kept), (new_told & old_told)[kept]
    else:
        both = np.ones(len(candidate), dtype=bool)
    ours, our_weight, names = _tables(candidate, metric, languages)
    theirs, their_weight, _ = _tables(reference, metric, languages)
    new, new_influence = _jackknife(ours, our_weight, metric)
    old, old_influence = _jackknife(theirs, their_weight, metric)
    identical = all(bool(np.allclose(candidate.values[name], reference.values[name], rtol=1e-12, atol=0)) for name in metric.used)
    shared = (our_weight / our_weight.sum(0) + their_weight / their_weight.sum(0)) / 2
    pairs = (our_weight * their_weight).any(1)
    result = _clustered(
        new - ratio * old,
        new_influence - ratio * old_influence,
        shared,
        names,
        samples=int(candidate.count[both].sum()),
        clusters=int(pairs.sum()),
        score=new,
        reference=old,
    )
    result = dataclasses.replace(result, identical=identical)
    if metric.binary and metric.transform == "identity" and ratio == 1.0 and not identical:
        change = candidate.values[metric.numerator] - reference.values[metric.numerator]
        if _simple(candidate, metric, languages):
            return dataclasses.replace(result, kind="pairs", counts=(int((change > 0).sum()), int((change < 0).sum()), len(candidate)))
        if result.constant and abs(new - old) == 1:  # every answer turned: the clusters are the pairs
            trials = _trials(our_weight * their_weight)
            turned = (trials, 0) if new > old else (0, trials)
            return dataclasses.replace(result, kind="pairs", counts=(*turned, trials))
    return result


def wilson(hits: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's (1927) score interval of a proportion, two-sided: for tables. Its mean coverage is the confidence; verdicts take exact bounds,
    whose least coverage is. Raises StatisticsError where there are no trials."""
    from scipy import special

    if not 0 <= hits <= trials or trials < 1:
        raise StatisticsError(f"{hits} of {trials} is no proportion")
    z = float(special.ndtri((1 + confidence) / 2))
    middle = (hits + z * z / 2) / (trials + z * z)
    half = z / (trials + z * z) * math.sqrt(hits * (trials - hits) / trials + z * z / 4)
    return 0.0 if hits == 0 else middle - half, 1.0 if hits == trials else middle + half


def _told(rows: Rows, metric: Metric) -> NDArray[np.bool_]:
    """Which rows say something, bool [n]: one of the metric's columns is not nought. The others decided nothing and add nothing."""
    if (not metric.columns and not metric.denominator) or not set(metric.used) <= rows.values.keys():
        return np.ones(len(rows), dtype=bool)
    return np.any([rows.values[column] != 0 for column in metric.used], axis=0)


def silent(rows: Rows, metric: Metric) -> bool:
    """Whether the rows hold nothing that the metric is about: it has no value there, and that is no fault."""
    return not _told(rows, metric).any()


def _trials(weight: Floats) -> int:
    """Independent trials that a score of all or nothing rests on, from the clusters' weights [G, L]: the clusters, and no more than the
    poorest language would give each: by how much the mean of languages may be off, its worst language decides."""
    return int(min((weight > 0).any(1).sum(), weight.shape[1] * (weight > 0).sum(0).min()))


def _simple(rows: Rows, metric: Metric, languages: Sequence[str]) -> bool:
    """Whether rows are independent trials of one language: one sample a cluster, and each counts once."""
    counted = rows.values[metric.denominator] if metric.denominator else rows.count
    return len(languages) == 1 and len(set(rows.cluster)) == len(rows) and bool(((rows.count == 1) & (counted == 1)).all())


def _tables(rows: Rows, metric: Metric, languages: Sequence[str]) -> tuple[Floats, Floats, tuple[str, ...]]:
    """Sums a cluster and language [G, L, K], their weight [G, L], and the clusters' names in sorted order.

    K is numerator and denominator, the weight the denominator; or the reducer's columns, the weight the number of samples.
    """
    names = set(rows.language)
    if missing := [language for language in languages if language not in names]:
        raise StatisticsError(f"no samples in {', '.join(missing)}")
    rows = rows.select(languages)
    columns = []
    for column in metric.columns or (metric.numerator, metric.denominator):
        if column and column not in rows.values:
            raise StatisticsError(f"the rows have no value {column!r}; there are {', '.join(sorted(rows.values))}")
        values = rows.values[column] if column else rows.count
        if not np.isfinite(values).all():
            bad = int(np.flatnonzero(~np.isfinite(values))[0])
            raise StatisticsError(f"{column} of sample {rows.sample[bad].split(JOIN)[0]!r} is {values[bad]}")
        columns.append(values)
    if metric.binary and ((columns[0] < 0) | (columns[0] > columns[1]) | (columns[0] % 1 != 0)).any():
        raise StatisticsError(f"{metric.name} is declared binary, but its {metric.numerator} is not 0 or 1 throughout")
    clusters, row_of = np.unique(rows.cluster.astype(str), return_inverse=True)
    place = {language: i for i, language in enumerate(languages)}
    cell = row_of * len(languages) + np.array([place[language] for language in rows.language], dtype=np.intp)
    shape = (len(clusters), len(languages))
    table = np.stack([sums(cell, values, shape[0] * shape[1]).reshape(shape) for values in columns], axis=-1)
    weight = sums(cell, rows.count, shape[0] * shape[1]).reshape(shape) if metric.reducer else table[..., 1]
    if (total := weight.sum(0)).min() <= 0:
        raise StatisticsError(f"{metric.denominator or 'count'} of {languages[int(total.argmin())]} sums to {total.min()}")
    if (left := total - weight.max(0)).min() <= 0:
        raise StatisticsError(f"{languages[int(left.argmin())]} has a single cluster: its sampling error is unknown")
    return table, weight, tuple(str(name) for name in clusters)


def _scores(table: Floats, metric: Metric) -> Floats:
    """Scores [...] of sums [..., K]. Raises StatisticsError where one is not a finite number."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        found = _reducer(metric.reducer)(table) if metric.reducer else table[..., 0] / table[..., 1]
        if metric.transform == "exp":
            found = np.exp(found)
    if not np.isfinite(found).all():
        raise StatisticsError(f"{metric.name} is not a finite number")
    return found


@functools.cache
def _reducer(name: str) -> Callable[[Floats], Floats]:
    """The function that a metric names, "module:function"."""
    module, _, function = name.partition(":")
    found: Callable[[Floats], Floats] = getattr(importlib.import_module(module), function)
    return found


def _jackknife(table: Floats, weight: Floats, metric: Metric) -> tuple[float, Floats]:
    """The score, and each cluster's influence on it [G]: the score less the score without that cluster."""
    total = table.sum(0)
    whole = _scores(total, metric)
    value = float(whole.mean())
    # where a language lacks the cluster nothing was deleted; the subtraction must not add rounding noise to it
    absent = (weight == 0) & (table == 0).all(-1)
    without = np.where(absent, whole, _scores(np.where(absent[..., None], total, total - table), metric))
    return value, value - without.mean(1)


def _clustered(
    value: float,
    influence: Floats,
    weight: Floats,
    names: tuple[str, ...],
    *,
    samples: int,
    clusters: int,
    score: float,
    reference: float | None = None,
) -> Estimate:
    size = max(abs(value), abs(score), abs(reference or 0.0))
    if np.abs(influence).max() <= 1e-13 * size:  # rounding of equal rows, not variation
        influence = np.zeros_like(influence)
    squares = float((influence**2).sum())
    deleted = len(names)
    return Estimate(
        value=value,
        score=score,
        reference=reference,
        standard_error=math.sqrt((deleted - 1) / deleted * squares),
        degrees=_degrees(weight),
        skewness=float((influence**3).sum() / squares**1.5) if squares > 0 else 0.0,
        samples=samples,
        clusters=clusters,
        names=names,
        influence=influence,
        weight=(weight / weight.sum(0)).mean(1),
    )


def _degrees(weight: Floats) -> float:
    """Bell and McCaffrey's degrees of freedom of the jackknife variance, from the clusters' weights [G, L] alone.

    Working model: clusters are equally variable and a cluster's effect is common to its languages. The influences are then d = -T c
    with T = diag(k) - K H, where H holds each language's weights h [L, G], K = h / (1 - h) / L [G, L] and k its row sums; the variance
    is proportional to c' T'T c, whose Satterthwaite degrees are tr(T'T)^2 / |T'T|^2. Expanded so that no G x G matrix is formed.
    """
    h = weight / weight.sum(0)
    k = h / (1 - h) / h.shape[1]
    d = k.sum(1)
    p, big_h, s = d[:, None] * k, h.T, k.T @ k
    hp, hh = big_h @ p, big_h @ h
    trace = float((d**2).sum() - 2 * np.trace(hp) + np.trace(s @ hh))
    diagonal = -2 * (p * h).sum(1) + ((h @ s) * h).sum(1)
    square = 2 * np.trace(hp @ hp) + 2 * np.trace(p.T @ p @ hh) + np.trace(s @ hh @ s @ hh) - 4 * np.trace(hp @ hh @ s)
    norm = float((d**4).sum() + 2 * (d**2 * diagonal).sum() + square)
    return min(max(1.0, trace**2 / norm), len(h) - 1.0)


def holm(p_values: Sequence[float], family: int) -> list[float]:
    """Holm's adjusted p-values for a family of `family` hypotheses; those that were not tested count as p = 1."""
    adjusted = [1.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (max(family, len(p_values)) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
