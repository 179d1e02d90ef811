"""Mixtures to train proxies on: drawn around the raw shares, flattened by a temperature, within bounds (RegMix's synthesis of mixtures).

A draw is Dirichlet(strength * prior ** temperature), the strength one of fifteen, log-spaced: weak ones give lopsided mixtures, strong ones
mixtures like the prior. Draws over a bound are thrown away, weights under the minimum become zero, what is left is rounded.

Where it differs from RegMix's own: weights are multiples of 1/4096 (RegMix: of .0002) given out by largest remainders within the bounds,
so that a mixture sums to 1 exactly, in floats and in any order, and rounding breaks no bound (RegMix's sums are off by up to .005 and its
rounding may pass a bound). The first distinct mixtures of the stream are taken, not a sample of all of them: equal in distribution, and
96 runs go on from the same 64.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from training.curation.documents import CurationError

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

PARTS = 4096  # a power of two: multiples of its inverse add up exactly
TRIES = 100  # draws a mixture asked for, as RegMix
BATCH = 512  # draws at a time; fixed, so that a longer list begins with the shorter one
SUM_ERROR = 1e-9


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Mixtures:
    """Weights of N runs over D domains (languages). Domains are held in the order of their names, so no answer depends on columns' order."""

    runs: tuple[str, ...]
    domains: tuple[str, ...]
    weights_ND: Floats

    def __post_init__(self) -> None:
        """Put the domains in order; refuse what is no mixture."""
        weights = np.asarray(self.weights_ND, dtype=np.float64)
        if weights.shape != (len(self.runs), len(self.domains)):
            raise CurationError(f"weights of shape {weights.shape} are not of {len(self.runs)} runs and {len(self.domains)} domains")
        for what, names in (("run", self.runs), ("domain", self.domains)):
            if twice := sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []:
                raise CurationError(f"two {what}s of the mixtures are named {twice[0]!r}; each needs a name of its own")
        if not np.isfinite(weights).all() or (weights < 0).any() or (np.abs(weights.sum(1) - 1) > SUM_ERROR).any():
            bad = int(np.argmin(np.isfinite(weights).all(1) & (weights >= 0).all(1) & (np.abs(weights.sum(1) - 1) <= SUM_ERROR)))
            raise CurationError(
                f"the weights of run {self.runs[bad]!r} are no mixture: {weights[bad].tolist()} (0 or more each, 1 together)"
            )
        order = sorted(range(len(self.domains)), key=self.domains.__getitem__)
        object.__setattr__(self, "domains", tuple(self.domains[place] for place in order))
        object.__setattr__(self, "weights_ND", np.ascontiguousarray(weights[:, order]))

    def of(self, runs: Sequence[str]) -> Mixtures:
        """The mixtures of these runs, in this order."""
        place = {run: index for index, run in enumerate(self.runs)}
        if unknown := [run for run in runs if run not in place]:
            raise CurationError(f"there is no run {unknown[0]!r} among the {len(self.runs)} mixtures")
        return Mixtures(runs=tuple(runs), domains=self.domains, weights_ND=self.weights_ND[[place[run] for run in runs]])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much of a domain may be drawn: at most `epochs` over its raw tokens when `budget` tokens are drawn in all.

    `budget` 0: as many as the raw text holds, as in RegMix, whose bound is then min(epochs * share, 1). A weight under `minimum` is 0.
    RegMix explores up to 15 epochs; for a real run it advises about 4.
    """

    epochs: float = 15.0
    budget: float = 0.0
    minimum: float = 2e-4

    def __post_init__(self) -> None:
        """Refuse what bounds nothing."""
        if not self.epochs > 0 or self.budget < 0 or not 0 <= self.minimum < 1:
            raise CurationError(f"bounds need epochs > 0, budget >= 0 and a minimum in [0, 1); these are {self}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How mixtures are drawn; RegMix's values."""

    temperature: float = 0.5  # the power on the shares: 1 leaves them, 0 makes them equal
    weakest: float = 0.1
    strongest: float = 5.0
    strengths: int = 15
    bounds: Bounds = dataclasses.field(default_factory=Bounds)
    seed: int = 42


def shares(prior: Mapping[str, float]) -> tuple[tuple[str, ...], Floats]:
    """(domains in the order of their names, their shares of the raw tokens). Raises CurationError for a domain without tokens."""
    if len(prior) < 2:
        raise CurationError(f"a mixture is of two domains or more; the prior has {len(prior)}")
    if bad := [name for name, tokens in prior.items() if not (np.isfinite(tokens) and tokens > 0)]:
        raise CurationError(f"the prior of {bad[0]!r} is {prior[bad[0]]}: give its raw tokens or share, more than 0, or leave it out")
    domains = tuple(sorted(prior))
    tokens_D = np.array([float(prior[name]) for name in domains])
    return domains, tokens_D / tokens_D.sum()


def upper(prior: Mapping[str, float], bounds: Bounds, parts: int = PARTS) -> Floats:
    """The largest weight of each domain, in the order of names. Raises CurationError where no mixture of `parts` parts keeps the bounds."""
    domains, share_D = shares(prior)
    ratio = bounds.budget / sum(prior.values()) if bounds.budget else 1.0
    upper_D = np.minimum(bounds.epochs * share_D / ratio, 1.0)
    together = int(np.floor(upper_D * parts).sum())
    if together < parts:
        raise CurationError(
            f"no mixture keeps the bounds: with at most {bounds.epochs:g} epochs over each domain they give {together / parts:.4f} of the "
            f"tokens together; raise the epochs above {ratio * (1 + len(domains) / parts):.3g}, or lower the budget"
        )
    least = max(1, int(np.ceil(bounds.minimum * parts)))
    if poor := [name for name, most in zip(domains, upper_D, strict=True) if int(most * parts) < least]:
        most = float(upper_D[domains.index(poor[0])])
        raise CurationError(
            f"domain {poor[0]!r} may have at most {most:.6f} of the tokens ({bounds.epochs:g} epochs), which is under the smallest weight, "
            f"{least / parts:.6f}: raise the epochs, lower the minimum, or leave the domain out"
        )
    return upper_D


def in_parts(weights_D: Floats, least_D: Counts, most_D: Counts, parts: int) -> Counts:
    """Whole parts that sum to `parts`, nearest to the weights, each within [least, most].

    Largest remainders; equal ones go by place. `least_D.sum() <= parts <= most_D.sum()` is the caller's to see to.
    """
    exact_D = weights_D * parts
    counts_D = np.clip(np.floor(exact_D).astype(np.int64), least_D, most_D)
    while left := parts - int(counts_D.sum()):
        lacking_D = exact_D - counts_D
        if left > 0:
            counts_D[int(np.argmax(np.where(counts_D < most_D, lacking_D, -np.inf)))] += 1
        else:
            counts_D[int(np.argmin(np.where(counts_D > least_D, lacking_D, np.inf)))] -= 1
    return counts_D


def sample(prior: Mapping[str, float], runs: int, sampling: Sampling | None = None) -> Mixtures:
    """`runs` distinct mixtures around `prior` (raw tokens or shares), named proxy-000 and on; the same for the same settings.

    Raises CurationError for bounds that cannot be kept, or within which too few mixtures are found.
    """
    sampling = sampling or Sampling()
    if runs < 1:
        raise CurationError(f"{runs} runs: ask for 1 or more")
    _check(sampling)
    domains, _ = shares(prior)
    flat_D, upper_D = _flattened(prior, sampling), upper(prior, sampling.bounds)
    least, most_D = max(1, int(np.ceil(sampling.bounds.minimum * PARTS))), np.floor(upper_D * PARTS).astype(np.int64)
    generator = np.random.Generator(np.random.PCG64(sampling.seed))
    found: dict[tuple[int, ...], None] = {}
    tries = 0
    while len(found) < runs and tries < TRIES * runs:
        tries += BATCH
        for draw_D in _draws(flat_D, sampling, generator, BATCH):
            if (draw_D > upper_D).any():
                continue
            kept_D = np.where(draw_D < sampling.bounds.minimum, 0.0, draw_D)
            used_D = kept_D > 0
            if not used_D.sum() * least <= PARTS <= most_D[used_D].sum():
                continue  # what is left of it does not fit the bounds
            counts_D = in_parts(kept_D / kept_D.sum(), np.where(used_D, least, 0), np.where(used_D, most_D, 0), PARTS)
            found.setdefault(tuple(counts_D.tolist()))
            if len(found) == runs:
                break
    if len(found) < runs:
        raise CurationError(
            f"{tries} draws gave {len(found)} distinct mixtures of the {runs} asked for within {sampling.bounds.epochs:g} epochs: "
            "raise the epochs or the strongest strength, lower the temperature or the runs"
        )
    weights_ND = np.array(list(found), dtype=np.float64) / PARTS
    return Mixtures(runs=tuple(f"proxy-{number:03d}" for number in range(runs)), domains=domains, weights_ND=weights_ND)


def simulate(prior: Mapping[str, float], count: int, sampling: Sampling) -> Floats:
    """`count` draws within the bounds, (count, D), neither rounded nor distinct: what a search looks through. Raises CurationError.

    They are drawn as the runs are, in a stream of their own, so that regressors are asked about what they have seen the like of.
    """
    _check(sampling)
    flat_D, upper_D = _flattened(prior, sampling), upper(prior, sampling.bounds)
    generator = np.random.Generator(np.random.PCG64([sampling.seed, 1]))
    parts: list[Floats] = []
    found = tries = 0
    while found < count and tries < TRIES * count:
        draws_BD = _draws(flat_D, sampling, generator, 16 * BATCH)
        draws_BD = draws_BD[(draws_BD <= upper_D).all(1)]
        tries, found = tries + 16 * BATCH, found + len(draws_BD)
        parts.append(draws_BD)
    if found < count:
        raise CurationError(
            f"{tries} draws around the prior gave {found} mixtures within {sampling.bounds.epochs:g} epochs, {count} are wanted: "
            "raise the epochs or the strongest strength, lower the temperature, or simulate fewer"
        )
    return np.concatenate(parts)[:count]


def _check(sampling: Sampling) -> None:
    if not (0 < sampling.weakest <= sampling.strongest and sampling.strengths >= 1 and sampling.temperature >= 0):
        raise CurationError(f"sampling needs 0 < weakest <= strongest, one strength or more and a temperature of 0 or more, not {sampling}")


def _flattened(prior: Mapping[str, float], sampling: Sampling) -> Floats:
    _, share_D = shares(prior)
    flat_D: Floats = share_D**sampling.temperature
    return flat_D / flat_D.sum()


def _draws(flat_D: Floats, sampling: Sampling, generator: np.random.Generator, count: int) -> Floats:
    """`count` draws, each at a strength of its own."""
    strengths = np.geomspace(sampling.weakest, sampling.strongest, sampling.strengths)
    chosen_B = generator.integers(sampling.strengths, size=count)
    draws_BD = np.empty((count, len(flat_D)))
    for place, strength in enumerate(strengths):
        at_B = chosen_B == place
        draws_BD[at_B] = generator.dirichlet(strength * flat_D, size=int(at_B.sum()))
    return draws_BD
