"""The CSV files of RegMix: mixtures, losses, priors, and the mixture that comes of them, which `stage1` takes (`with_mixture`).

Mixtures and losses have a row a run, with a column `run` or `index` that names it, and a column a domain or target; rows are joined by that
name and columns by theirs, never by position. RegMix's released files read as they are.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from training.curation.documents import CurationError
from training.curation.regmix.mixtures import Floats, Mixtures
from training.recipe import ContinuePretraining
from training.whole import whole

RUN = ("run", "index")
DOMAIN = ("language", "domain")
SUM_TOLERANCE = 0.005  # rounded to three places, RegMix's own rows sum to .996-1.003; what is within is normalised


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Losses:
    """Held-out losses of N runs on T targets (languages), in the order of the targets' names."""

    runs: tuple[str, ...]
    targets: tuple[str, ...]
    values_NT: Floats

    def __post_init__(self) -> None:
        """Put the targets in order."""
        order = sorted(range(len(self.targets)), key=self.targets.__getitem__)
        object.__setattr__(self, "targets", tuple(self.targets[place] for place in order))
        object.__setattr__(self, "values_NT", np.ascontiguousarray(np.asarray(self.values_NT, dtype=np.float64)[:, order]))

    def of(self, runs: Sequence[str]) -> Losses:
        """The losses of these runs, in this order."""
        place = {run: index for index, run in enumerate(self.runs)}
        return Losses(runs=tuple(runs), targets=self.targets, values_NT=self.values_NT[[place[run] for run in runs]])


# ---------------------------------------------------------------------------------------------------------------- reading


def read_mixtures(path: Path) -> Mixtures:
    """A file of mixtures. Raises CurationError naming file, line and column; rows that sum to 1 within SUM_TOLERANCE are normalised."""
    runs, domains, values = _table(path)
    for run, row in zip(runs, values, strict=True):
        for domain, value in zip(domains, row, strict=True):
            if value < 0:
                raise CurationError(f"{path}, run {run}, column {domain}: a weight of {value} is under 0; correct the row or drop it")
        if abs(sum(row) - 1) > SUM_TOLERANCE + 1e-9:
            raise CurationError(
                f"{path}, run {run}: its weights sum to {sum(row):.4f}, not to 1 within {SUM_TOLERANCE}; "
                "are all domains in the file, and no column that is none?"
            )
    weights = np.array(values)
    return Mixtures(runs=runs, domains=domains, weights_ND=weights / weights.sum(1, keepdims=True))


def read_losses(path: Path, targets: Sequence[str] = ()) -> Losses:
    """A file of losses, all columns or `targets` alone. Raises CurationError naming file, line and column."""
    runs, columns, values = _table(path)
    if unknown := [target for target in targets if target not in columns]:
        raise CurationError(f"{path} has no column {unknown[0]!r}; it has {', '.join(columns)}")
    kept = list(targets) or list(columns)
    for run, row in zip(runs, values, strict=True):
        for column, value in zip(columns, row, strict=True):
            if column in kept and value <= 0:
                raise CurationError(f"{path}, run {run}, column {column}: a loss of {value} is not above 0; correct the row or drop it")
    return Losses(runs=runs, targets=tuple(kept), values_NT=np.array([[row[columns.index(name)] for name in kept] for row in values]))


def joined(mixtures: Mixtures, losses: Losses, where: str = "the two files") -> tuple[Mixtures, Losses]:
    """Both with the same runs in the order of their names (numbers by value). Raises CurationError where a run is in one alone."""
    for have, lack, has, lacks in ((mixtures.runs, losses.runs, "mixture", "losses"), (losses.runs, mixtures.runs, "loss", "mixture")):
        if alone := sorted(set(have) - set(lack), key=_natural):
            raise CurationError(
                f"{where}: {len(alone)} runs have a {has} and no {lacks} ({', '.join(alone[:3])}{', ...' if len(alone) > 3 else ''}); "
                "rows are joined by their run: give both of each, or drop it from both"
            )
    runs = sorted(mixtures.runs, key=_natural)
    return mixtures.of(runs), losses.of(runs)


def read_prior(path: Path) -> dict[str, float]:
    """Domain -> raw tokens (or share), from a CSV with the columns `language` (or `domain`) and `tokens` (or `weight`)."""
    header, rows = _rows(path)
    name = _column(path, header, DOMAIN)
    value = _column(path, header, ("tokens", "weight"))
    prior: dict[str, float] = {}
    for line, row in rows:
        if row[name] in prior:
            raise CurationError(f"{path}, line {line}: {row[name]!r} stands there twice; add the rows up")
        prior[row[name]] = _number(path, line, header[value], row[value])
    return prior


def read_mixture(path: Path) -> dict[str, float]:
    """Language -> weight, from the file that `write_mixture` wrote. Raises CurationError where the weights do not sum to 1."""
    header, rows = _rows(path)
    name, value = _column(path, header, DOMAIN), _column(path, header, ("weight",))
    mixture = {row[name]: _number(path, line, "weight", row[value]) for line, row in rows}
    if len(mixture) < len(rows) or min(mixture.values()) < 0 or abs(sum(mixture.values()) - 1) > SUM_TOLERANCE:
        raise CurationError(
            f"{path} is no mixture: one row a language, weights of 0 or more that sum to 1 (here {sum(mixture.values()):.4f})"
        )
    return mixture


def _table(path: Path) -> tuple[tuple[str, ...], tuple[str, ...], list[list[float]]]:
    """(runs, names of the other columns, their values)."""
    header, rows = _rows(path)
    run = _column(path, header, RUN)
    others = [place for place in range(len(header)) if place != run]
    if not others:
        raise CurationError(f"{path} has no column beside {header[run]!r}; give one a domain or target")
    runs = [row[run] for _, row in rows]
    if len(set(runs)) < len(runs):
        twice = next(name for name in runs if runs.count(name) > 1)
        raise CurationError(f"{path}: two rows are of run {twice!r}; keep one")
    values = [[_number(path, line, header[place], row[place]) for place in others] for line, row in rows]
    return tuple(runs), tuple(header[place] for place in others), values


def _rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CurationError(f"{path} cannot be read as CSV: {error}") from error
    if not header or not rows:
        raise CurationError(f"{path} holds no row; a header and one row or more are needed")
    if "" in header or len(set(header)) < len(header):
        raise CurationError(f"{path}: its header has a column without a name, or two of one name: {', '.join(map(repr, header))}")
    if uneven := [line for line, row in rows if len(row) != len(header)]:
        raise CurationError(f"{path}, line {uneven[0]}: the row has another number of cells than the header's {len(header)}")
    return header, rows


def _column(path: Path, header: Sequence[str], names: Sequence[str]) -> int:
    for name in names:
        if name in header:
            return list(header).index(name)
    raise CurationError(f"{path} has no column {' or '.join(map(repr, names))}; it has {', '.join(header)}: name the column so")


def _number(path: Path, line: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CurationError(
            f"{path}, line {line}, column {column}: {cell!r} is not a finite number; run it again, or drop the run from both files"
        )
    return value


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Names in the order a person expects: proxy-9 before proxy-10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|\D+", name))


# ---------------------------------------------------------------------------------------------------------------- writing


def write_table(path: Path, runs: Sequence[str], columns: Sequence[str], values: Floats) -> None:
    """Mixtures or losses as `read_mixtures` and `read_losses` take them; every number reads back as it is."""
    rows = [(run, *(repr(float(value)) for value in row)) for run, row in zip(runs, values, strict=True)]
    _write(path, ("run", *columns), rows)


def write_prior(path: Path, tokens: Mapping[str, str | int | float]) -> None:
    """`language,tokens` as `read_prior` takes it; what is a string is written as it stands (51e9)."""
    _write(path, ("language", "tokens"), [(name, value if isinstance(value, str) else repr(value)) for name, value in tokens.items()])


def write_mixture(path: Path, weights: Mapping[str, float], epochs: Mapping[str, float] | None) -> None:
    """`language,weight,epochs`: the mixture, and how often it goes over the raw text of each language (blank where that is not known)."""
    rows = [(name, repr(weight), "" if epochs is None else f"{epochs[name]:.4f}") for name, weight in weights.items()]
    _write(path, ("language", "weight", "epochs"), rows)


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with whole(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


# --------------------------------------------------------------------------------------------------------------- stage 1


def in_tokens(mixture: Mapping[str, float], tokens: int) -> dict[str, int]:
    """Language -> whole tokens that the mixture draws of it, exactly `tokens` in all; languages of weight 0 are left out. Raises CurationError."""
    drawn = _drawn(mixture)
    return dict(zip(drawn, _rounded([weight * tokens for weight in drawn.values()], tokens), strict=True))


def with_mixture(recipe: ContinuePretraining, mixture: Mapping[str, float]) -> ContinuePretraining:
    """The recipe with its portions weighed anew: each language gets its weight of all tokens, the portions of a language keep their proportions.

        with_mixture(nano.stage1(), read_mixture(Path("mixture.csv")))

    Tokens in all stay the same to the last one; a portion that is left without any goes. Raises CurationError for what is no mixture, and where a
    language is in the mixture alone (there is no text to draw) or in the recipe alone (leave it out by a weight of 0).
    """
    drawn = _drawn(mixture)
    before: Counter[str] = Counter()
    for portion in recipe.portions:
        before[portion.language] += portion.tokens
    if missing := [language for language in drawn if not before[language]]:
        raise CurationError(f"the mixture has {missing[0]!r}, of which the recipe has no portion; give it one, or leave it out of the runs")
    if stray := [language for language in before if language not in mixture]:
        raise CurationError(
            f"the recipe has portions in {stray[0]!r}, of which the mixture says nothing; give it a weight, 0 to leave it out"
        )
    exact = [drawn.get(one.language, 0.0) * recipe.tokens * (one.tokens / max(before[one.language], 1)) for one in recipe.portions]
    given = zip(recipe.portions, _rounded(exact, recipe.tokens), strict=True)
    return dataclasses.replace(recipe, portions=tuple(dataclasses.replace(portion, tokens=count) for portion, count in given if count))


def _drawn(mixture: Mapping[str, float]) -> dict[str, float]:
    """The weights above 0, normalised. Raises CurationError for what is no mixture."""
    if not mixture or not min(mixture.values()) >= 0 or not abs(sum(mixture.values()) - 1) <= SUM_TOLERANCE:
        raise CurationError(f"no mixture: weights of 0 or more that sum to 1 are needed, these sum to {sum(mixture.values()):.4f}")
    return {language: weight / sum(mixture.values()) for language, weight in mixture.items() if weight > 0}


def _rounded(exact: Sequence[float], tokens: int) -> list[int]:
    """Whole numbers near `exact` that sum to `tokens`: by largest remainders, of equal ones the first."""
    given = [math.floor(wanted) for wanted in exact]
    for place in sorted(range(len(exact)), key=lambda at: given[at] - exact[at])[: tokens - sum(given)]:
        given[place] += 1
    return given
