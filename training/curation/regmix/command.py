"""`python -m training.curation mixture`: from runs to a mixture.

    python -m training.curation mixture --mixtures runs.csv --losses losses.csv --prior prior.csv --output mixture.csv

Writes mixture.csv (language, weight, epochs over the raw text) and mixture.json beside it: every setting, what is predicted, and how well the
regressors rank runs that they have not seen.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from training.curation.documents import CurationError
from training.curation.regmix import files
from training.curation.regmix.files import Losses
from training.curation.regmix.mixtures import Bounds, Mixtures, Sampling
from training.curation.regmix.regression import LEAST_RUNS, LightGBM, Rank, Ridge, Settings, fit, judge, split
from training.curation.regmix.search import OBJECTIVES, Found, Search, search
from training.run import write_atomically

Options = argparse.ArgumentParser | argparse._ArgumentGroup  # what options are added to


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = argparse.ArgumentParser(
        prog="python -m training.curation mixture", description="The mixture that proxy runs speak for (RegMix)."
    )
    made.add_argument("--mixtures", type=Path, required=True, help="CSV: run, a column a language; rows sum to 1")
    made.add_argument("--losses", type=Path, required=True, help="CSV: run, a column a target: its held-out loss (bits a byte)")
    made.add_argument("--output", type=Path, required=True, help="the mixture as CSV; a .json of the same name says how it was made")
    made.add_argument("--prior", type=Path, help="CSV: language, tokens of the raw text (default: the mean of the runs stands in)")
    made.add_argument("--objective", choices=tuple(OBJECTIVES), default="log-sum", help="what is minimised (default log-sum)")
    made.add_argument("--target", action="append", default=[], help="a column of the losses that counts; may be repeated (default: all)")
    made.add_argument(
        "--regressor", choices=("lightgbm", "ridge"), default="lightgbm", help="whose predictions are taken (both are judged)"
    )
    made.add_argument("--stop-early", action="store_true", help="stop boosting by a tenth of the fitted runs")
    made.add_argument("--unseen", type=int, help="runs kept to judge by (default: a third, where that leaves 64 to fit)")
    made.add_argument("--unseen-mixtures", type=Path, help="CSV of other runs to judge by, instead of --unseen")
    made.add_argument("--unseen-losses", type=Path, help="their losses")
    made.add_argument("--budget", type=float, default=0.0, help="tokens to be drawn in all (default: as many as the raw text has)")
    made.add_argument("--simulated", type=int, default=Search().simulated, help="mixtures to look through (default 100000)")
    made.add_argument("--top", type=int, default=Search().top, help="how many of the best are averaged (default 100)")
    add_sampling(made)
    return made


def add_sampling(to: Options) -> None:
    """The options of how mixtures are drawn: those that runs are made of, and those that are looked through."""
    to.add_argument("--temperature", type=float, default=Sampling().temperature, help="power on the raw shares (default 0.5)")
    to.add_argument("--weakest", type=float, default=Sampling().weakest, help="lowest strength of a draw (default 0.1)")
    to.add_argument("--strongest", type=float, default=Sampling().strongest, help="highest strength (default 5)")
    to.add_argument("--epochs", type=float, default=Bounds().epochs, help="most epochs over the raw text of a language (default 15)")
    to.add_argument("--seed", type=int, default=Sampling().seed, help="of the draws (default 42)")


def sampling_of(options: argparse.Namespace, budget: float = 0.0) -> Sampling:
    """What those options say; `budget` as in `Bounds`."""
    drawn = {name: getattr(options, name) for name in ("temperature", "weakest", "strongest", "seed")}
    return Sampling(**drawn, bounds=Bounds(epochs=options.epochs, budget=budget))


def arguments(directory: Path, sampling: Sampling) -> list[str]:
    """The options for the runs that stand in `directory`, to search as their mixtures were drawn."""
    inputs = [f"--{name}={directory / name}.csv" for name in ("mixtures", "losses", "prior")]
    drawn = [f"--{name}={getattr(sampling, name)}" for name in ("temperature", "weakest", "strongest", "seed")]
    return [*inputs, *drawn, f"--epochs={sampling.bounds.epochs}", f"--output={directory / 'mixture.csv'}"]


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status (2 for input that it cannot work with)."""
    options = parser().parse_args(list(argv))
    try:
        return _run(options)
    except CurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    if (options.unseen_mixtures is None) != (options.unseen_losses is None):
        raise CurationError("--unseen-mixtures and --unseen-losses go together")
    if options.unseen_mixtures is not None and options.unseen is not None:
        raise CurationError("--unseen takes runs of --mixtures, --unseen-mixtures brings others: give one of the two")
    if options.budget and options.prior is None:
        raise CurationError("--budget counts tokens over those of --prior; give the raw tokens of each language there")
    mixtures, losses = files.joined(
        files.read_mixtures(options.mixtures), files.read_losses(options.losses, options.target), f"{options.mixtures}, {options.losses}"
    )
    prior = files.read_prior(options.prior) if options.prior else _mean(mixtures)
    fitted, unseen = _sides(options, mixtures, losses)
    settings: Settings = LightGBM(stop_early=options.stop_early, seed=options.seed) if options.regressor == "lightgbm" else Ridge()
    search_settings = Search(
        objective=options.objective,
        simulated=options.simulated,
        top=options.top,
        sampling=sampling_of(options, options.budget),
    )
    regressors = fit(*fitted, settings)
    ranks = judged(fitted, unseen, (settings, Ridge() if isinstance(settings, LightGBM) else LightGBM(seed=options.seed)))
    found = search(regressors, prior, search_settings)
    files.write_mixture(options.output, found.weights, found.epochs if options.prior else None)
    named = {name: value for name, value in vars(options).items() if isinstance(value, Path)}
    write_atomically(
        options.output.with_suffix(".json"),
        {
            "inputs": {name: {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for name, path in named.items() if path != options.output},
            "prior": {"stands for": "raw text" if options.prior else "the mean of the runs", "values": prior},
            "regressor": {"kind": options.regressor, **dataclasses.asdict(settings)},
            "search": dataclasses.asdict(search_settings),
            "runs": {"fitted": len(fitted[0].runs), "unseen": len(unseen[0].runs) if unseen else 0, "names": list(fitted[0].runs)},
            "spearman": {kind: {target: dataclasses.asdict(rank) for target, rank in each.items()} for kind, each in ranks.items()},
            "found": found.facts(),
        },
    )  # fmt: skip
    report(found, ranks, prior if options.prior else None)
    if options.prior is None:
        print("no --prior: the mean of the runs stands in for the raw shares, and epochs over the raw text are not known")
    print(f"wrote {options.output} and {options.output.with_suffix('.json')}")
    return 0


def _mean(mixtures: Mixtures) -> dict[str, float]:
    return dict(zip(mixtures.domains, mixtures.weights_ND.mean(0).tolist(), strict=True))


Runs = tuple[Mixtures, Losses]


def _sides(options: argparse.Namespace, mixtures: Mixtures, losses: Losses) -> tuple[Runs, Runs | None]:
    """(fitted, unseen or None)."""
    if options.unseen_mixtures is not None:
        other = files.joined(
            files.read_mixtures(options.unseen_mixtures),
            files.read_losses(options.unseen_losses, options.target),
            str(options.unseen_mixtures),
        )
        return (mixtures, losses), other
    count = options.unseen
    if count is None:
        count = max(0, min(len(mixtures.runs) // 3, len(mixtures.runs) - LEAST_RUNS))
    fit_runs, unseen_runs = split(mixtures.runs, count, options.seed)
    unseen = (mixtures.of(unseen_runs), losses.of(unseen_runs)) if len(unseen_runs) >= 3 else None
    return (mixtures.of(fit_runs), losses.of(fit_runs)), unseen


def judged(fitted: Runs, unseen: Runs | None, kinds: Sequence[Settings]) -> dict[str, dict[str, Rank]]:
    """Kind of regressor -> target -> Spearman on the unseen runs; {} where there are none."""
    if unseen is None:
        return {}
    return {type(settings).__name__.lower(): judge(fit(*fitted, settings), *unseen) for settings in kinds}


def report(found: Found, ranks: dict[str, dict[str, Rank]], prior: dict[str, float] | None) -> None:
    """What a person reads."""
    total = sum(prior.values()) if prior else 0.0
    print(f"{'language':<24}{'raw':>9}{'mixture':>9}{'epochs':>8}" if prior else f"{'language':<24}{'mixture':>9}")
    for name, weight in found.weights.items():
        raw = f"{prior[name] / total:>9.4f}" if prior else ""
        print(f"{name:<24}{raw}{weight:>9.4f}" + (f"{found.epochs[name]:>8.2f}" if prior else ""))
    for kind, each in ranks.items():
        n = next(iter(each.values())).n
        print(f"\nSpearman on {n} unseen runs, {kind}" + ("; under 20 runs say little" if n < 20 else ""))
        for target, rank in each.items():
            print(f"  {target:<24}{rank}")
    if not ranks:
        print("\nno run was kept to judge by: how well the regressors rank mixtures is not known")
    print(f"\npredicted objective: {found.value:.5f}, of the prior {found.prior_value:.5f} (lower is better)")
    print(
        f"averaged mixtures: {found.distinct} distinct values; {found.tied} simulated ones tie with the last taken, {found.tied_taken} of them taken"
    )
    if not found.better:
        print("WARNING: the mixture is predicted to be no better than the prior; more runs, or another regressor, are needed")
