"""From a mixture to the loss of each language: one regressor a target, fitted to proxy runs and judged on runs that it has not seen.

The sum of the losses is not regressed: on RegMix's own runs a regressor of the mean ranked mixtures at the 1B scale with a Spearman of .75,
regressors of the single losses with about .95. Nothing of an unseen run takes part in fitting: RegMix's notebook stops boosting
on its test set; here boosting stops early on a tenth of the fitted runs, or, as by default, not at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from training.curation.documents import CurationError
from training.curation.regmix.files import Losses
from training.curation.regmix.mixtures import Floats, Mixtures

LEAST_RUNS = 64
RESAMPLES = 1_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class LightGBM:
    """Boosted trees with RegMix's settings. `stop_early`: after 3 rounds without gain on a tenth of the fitted runs (RegMix: of the test runs)."""

    iterations: int = 1_000
    learning_rate: float = 0.01
    leaves: int = 31
    min_child: int = 20
    stop_early: bool = False
    seed: int = 42


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ridge:
    """Linear with an intercept, which is not penalised: weights sum to 1, so without a penalty the coefficients would not be determined."""

    penalty: float = 0.01


Settings = LightGBM | Ridge


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Regressors:
    """A fitted regressor a target; `models` are boosters, or (intercept, coefficients). `seen_ND`: the mixtures that were fitted."""

    settings: Settings
    domains: tuple[str, ...]
    targets: tuple[str, ...]
    models: tuple[Any, ...]
    seen_ND: Floats

    def predict(self, weights_ND: Floats) -> Floats:
        """Predicted losses (N, T) of mixtures whose columns are `domains`."""
        if weights_ND.shape[1] != len(self.domains):
            raise CurationError(f"mixtures of {weights_ND.shape[1]} domains are not of the {len(self.domains)} that were fitted")
        if isinstance(self.settings, Ridge):
            return np.stack([intercept + weights_ND @ slope_D for intercept, slope_D in self.models], axis=1)
        return np.stack([np.asarray(model.predict(weights_ND)) for model in self.models], axis=1)


def fit(mixtures: Mixtures, losses: Losses, settings: Settings | None = None) -> Regressors:
    """Fit a regressor to each target. Raises CurationError below LEAST_RUNS runs, and for a target whose loss never moves."""
    settings = settings or LightGBM()
    if mixtures.runs != losses.runs:
        raise CurationError("mixtures and losses are of other runs, or in another order; join them first (files.joined)")
    if len(mixtures.runs) < LEAST_RUNS:
        raise CurationError(
            f"{len(mixtures.runs)} runs are too few to fit, {LEAST_RUNS} are needed: a LightGBM leaf holds 20 runs, so below 40 every prediction "
            f"is one constant, and at {LEAST_RUNS} it ranked RegMix's own mixtures with a Spearman of .88 (ridge .84). Train more proxies"
        )
    if flat := [name for name, column in zip(losses.targets, losses.values_NT.T, strict=True) if np.ptp(column) == 0]:
        raise CurationError(f"the loss of {flat[0]!r} is the same in all {len(losses.runs)} runs: nothing to fit; did the proxies train?")
    fit_one = _ridge if isinstance(settings, Ridge) else _boost
    models = tuple(fit_one(mixtures.weights_ND, losses.values_NT[:, place], settings) for place in range(len(losses.targets)))
    return Regressors(settings=settings, domains=mixtures.domains, targets=losses.targets, models=models, seen_ND=mixtures.weights_ND)


def _ridge(weights_ND: Floats, loss_N: Floats, settings: Any) -> tuple[float, Floats]:
    centre_D, middle = weights_ND.mean(0), float(loss_N.mean())
    around_ND = weights_ND - centre_D
    slope_D = np.linalg.solve(around_ND.T @ around_ND + settings.penalty * np.eye(len(centre_D)), around_ND.T @ (loss_N - middle))
    return middle - float(centre_D @ slope_D), slope_D


def _boost(weights_ND: Floats, loss_N: Floats, settings: Any) -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise CurationError("RegMix's regressor needs LightGBM: pip install 'seatrials[curation]', or use ridge") from error
    options = {
        "objective": "regression",
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.min_child,
        "seed": settings.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,  # a few hundred rows: more threads only wait for each other
        "verbosity": -1,
    }
    if not settings.stop_early:
        return lightgbm.train(options, lightgbm.Dataset(weights_ND, loss_N), settings.iterations)
    order_N = np.random.Generator(np.random.PCG64(settings.seed)).permutation(len(loss_N))
    watched, fitted = order_N[: len(order_N) // 10], order_N[len(order_N) // 10 :]
    data = lightgbm.Dataset(weights_ND[fitted], loss_N[fitted])
    aside = lightgbm.Dataset(weights_ND[watched], loss_N[watched], reference=data)
    stop = lightgbm.early_stopping(3, verbose=False)
    return lightgbm.train(options, data, settings.iterations, valid_sets=[aside], callbacks=[stop])


# ------------------------------------------------------------------------------------------------------------- judgement


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rank:
    """Spearman's rank correlation of predicted and true losses over `n` unseen runs, with its 95 % bootstrap interval."""

    rho: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """.957 [.921, .981]"""
        return f"{self.rho:.3f} [{self.low:.3f}, {self.high:.3f}]"


def spearman(true_N: Floats, predicted_N: Floats, seed: int = 42) -> Rank:
    """Spearman with average ranks, and the percentile interval over RESAMPLES resamples of the runs.

    Raises CurationError for fewer than 3 runs, or where one side is constant (no rank correlation is defined).
    """
    if len(true_N) < 3:
        raise CurationError(f"{len(true_N)} unseen runs do not make a rank correlation; keep 3 or more (20 for an interval worth having)")
    for what, values in (("true", true_N), ("predicted", predicted_N)):
        if np.ptp(values) == 0:
            raise CurationError(
                f"the {what} losses of all {len(values)} unseen runs are equal, so they have no ranks; more runs to fit are needed"
            )
    draws_RN = np.random.Generator(np.random.PCG64(seed)).integers(len(true_N), size=(RESAMPLES, len(true_N)))
    many_R = _correlations(true_N[draws_RN], predicted_N[draws_RN])
    low, high = np.nanpercentile(many_R, [2.5, 97.5])
    return Rank(rho=float(_correlations(true_N[None], predicted_N[None])[0]), low=float(low), high=float(high), n=len(true_N))


def _correlations(first_RN: Floats, second_RN: Floats) -> Floats:
    """Pearson of the ranks, row by row; NaN where a row is constant."""
    from scipy.stats import rankdata

    first, second = (rankdata(side, axis=1) for side in (first_RN, second_RN))
    first, second = (side - side.mean(1, keepdims=True) for side in (first, second))
    norm_R = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(norm_R > 0, (first * second).sum(1) / norm_R, np.nan)
    return found


def judge(regressors: Regressors, mixtures: Mixtures, losses: Losses, seed: int = 42) -> dict[str, Rank]:
    """Target -> its Rank on runs whose mixtures were not fitted. Raises CurationError where one was."""
    if (mixtures.domains, losses.targets) != (regressors.domains, regressors.targets) or mixtures.runs != losses.runs:
        raise CurationError("the unseen runs have other domains, targets or runs than those that were fitted")
    fitted = {row.tobytes() for row in regressors.seen_ND}
    if seen := [run for run, row in zip(mixtures.runs, mixtures.weights_ND, strict=True) if row.tobytes() in fitted]:
        raise CurationError(f"the mixture of run {seen[0]!r} was fitted, so it cannot judge; keep the unseen runs out of the fit")
    predicted_NT = regressors.predict(mixtures.weights_ND)
    return {target: spearman(losses.values_NT[:, place], predicted_NT[:, place], seed) for place, target in enumerate(regressors.targets)}


def split(runs: Sequence[str], unseen: int, seed: int) -> tuple[list[str], list[str]]:
    """(runs to fit, `unseen` runs to judge by), drawn by `seed`, each in the order given."""
    if not 0 <= unseen < len(runs):
        raise CurationError(f"{unseen} unseen runs of {len(runs)} leave none to fit; keep fewer")
    kept = set(np.random.Generator(np.random.PCG64(seed)).permutation(len(runs))[:unseen].tolist())
    return [run for place, run in enumerate(runs) if place not in kept], [run for place, run in enumerate(runs) if place in kept]
