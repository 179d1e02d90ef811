"""The mixture: many simulated ones, their losses predicted, the best averaged (RegMix's top k).

One regressor's best mixture is not trusted: a linear one's is a corner of the simplex, a boosted one's is any point of a flat region, so the
mean of the best hundred is taken. The paper's objective is "maximizing the log sum across all languages", without a formula. It is read here as:
minimise the sum over languages of log(loss), which is the log of their product, so that a language counts by the relative change of its loss.

Mixtures are simulated as the runs were drawn, the shares flattened. RegMix's notebook draws Dirichlet(raw shares) for its one target; there a
language of half a per cent is next to nothing in 19 draws of 20, and with every language's loss to be lowered the mean of the best starves the
small ones. Under a known law (tests) that mixture is predicted to be better than the default's, and in truth is far worse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from training.curation.documents import CurationError
from training.curation.regmix.mixtures import Floats, Sampling, in_parts, shares, simulate, upper
from training.curation.regmix.regression import Regressors

FINE = 2**20  # parts of the mixture that comes out: they add up exactly


def log_sum(losses_NT: Floats) -> Floats:
    """Sum of log losses; infinite where a predicted loss is not above 0, which only a wild extrapolation gives."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where((losses_NT > 0).all(1), np.log(losses_NT).sum(1), np.inf)
    return found


def mean(losses_NT: Floats) -> Floats:
    """The mean loss: languages with high losses weigh more."""
    found: Floats = losses_NT.mean(1)
    return found


def worst(losses_NT: Floats) -> Floats:
    """The highest loss of any language."""
    found: Floats = losses_NT.max(1)
    return found


OBJECTIVES: Mapping[str, Callable[[Floats], Floats]] = {"log-sum": log_sum, "mean": mean, "worst": worst}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """What is looked through: `simulated` draws by `sampling`, bounds and all; the mean of the `top` is taken.

    RegMix's notebook: NOTEBOOK, 100,000 draws, the best 128; its paper: 1,000,000, the best 100.
    """

    objective: str = "log-sum"
    simulated: int = 100_000
    top: int = 100
    sampling: Sampling = dataclasses.field(default_factory=Sampling)

    def __post_init__(self) -> None:
        """Refuse what cannot be searched."""
        if self.objective not in OBJECTIVES:
            raise CurationError(f"no objective {self.objective!r}; there are {', '.join(OBJECTIVES)}")
        if not 1 <= self.top <= self.simulated:
            raise CurationError(f"a search takes the best 1 or more of those simulated; this is {self}")


NOTEBOOK = Sampling(temperature=1.0, weakest=1.0, strongest=1.0, strengths=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """The mixture, and what is predicted of it and of the prior (losses a target; `value` is the objective's, lower is better).

    `tied`: simulated mixtures predicted exactly as the last one taken, of which `tied_taken` are in the mean (the first drawn);
    `distinct`: different values among those taken; `excluded`: simulated ones with a predicted loss of 0 or less.
    """

    weights: dict[str, float]
    epochs: dict[str, float]
    losses: dict[str, float]
    value: float
    prior_losses: dict[str, float]
    prior_value: float
    best_value: float
    tied: int
    tied_taken: int
    distinct: int
    excluded: int

    @property
    def better(self) -> bool:
        """Whether the mixture is predicted to beat the prior."""
        return self.value < self.prior_value

    def facts(self) -> dict[str, Any]:
        """As plain JSON."""
        return {**dataclasses.asdict(self), "better": self.better}


def search(regressors: Regressors, prior: Mapping[str, float], settings: Search | None = None) -> Found:
    """Find the mixture for the prior's domains; the same for the same settings. Raises CurationError where prior and runs differ in domains."""
    settings = settings or Search()
    domains, share_D = shares(prior)
    if domains != regressors.domains:
        odd = sorted(set(domains) ^ set(regressors.domains))
        raise CurationError(f"{odd[0]!r} is in the prior or in the mixtures, not in both; they must be of the same domains")
    objective = OBJECTIVES[settings.objective]
    drawn_ND = simulate(prior, settings.simulated, settings.sampling)
    value_N = objective(regressors.predict(drawn_ND))
    order_N = np.argsort(value_N, kind="stable")  # equal ones in the order in which they were drawn
    taken = order_N[: settings.top]
    last = value_N[taken[-1]]
    if not np.isfinite(last):
        raise CurationError(
            f"only {int(np.isfinite(value_N).sum())} of {settings.simulated} simulated mixtures have predicted losses above 0, "
            f"{settings.top} are to be averaged: lower the top, tighten the epochs, or use another regressor or objective"
        )
    bounds = settings.sampling.bounds
    most_D = np.floor(upper(prior, bounds) * FINE).astype(np.int64)
    weights_D = in_parts(drawn_ND[taken].mean(0), np.zeros_like(most_D), most_D, FINE) / FINE
    losses_T, prior_T = regressors.predict(np.stack([weights_D, share_D]))
    value, prior_value = objective(np.stack([losses_T, prior_T]))
    rate = bounds.budget / sum(prior.values()) if bounds.budget else 1.0
    return Found(
        weights=dict(zip(domains, weights_D.tolist(), strict=True)),
        epochs=dict(zip(domains, (weights_D / share_D * rate).tolist(), strict=True)),
        losses=dict(zip(regressors.targets, losses_T.tolist(), strict=True)),
        value=_finite(value, "the averaged mixture"),
        prior_losses=dict(zip(regressors.targets, prior_T.tolist(), strict=True)),
        prior_value=_finite(prior_value, "the prior"),
        best_value=float(value_N[order_N[0]]),
        tied=int((value_N == last).sum()),
        tied_taken=int((value_N[taken] == last).sum()),
        distinct=len(np.unique(value_N[taken])),
        excluded=int((~np.isfinite(value_N)).sum()),
    )


def _finite(value: float, what: str) -> float:
    if not np.isfinite(value):
        raise CurationError(f"a loss of {what} is predicted at 0 or less; the regressor extrapolates wildly: use LightGBM, or more runs")
    return float(value)
