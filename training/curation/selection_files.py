"""What selection reads: scored candidates, their embeddings, quotas. Anything amiss is an error that names file, row, field and mend.

Candidates are rows of Parquet or JSONL with `id` (each once), `language`, `category`, `reward`, `perplexity` and, unless a .npy file holds a row for
each, a list of numbers `embedding`. Embeddings of a table are laid on disk as float32, so memory does not grow with them.
"""

from __future__ import annotations

import csv
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training import parquet
from training.curation import documents as shards_of
from training.curation.documents import CurationError, Quarantined
from training.curation.selection import Candidates, Cell

NAMES, NUMBERS, VECTOR = ("id", "language", "category"), ("reward", "perplexity"), "embedding"
QUOTA = ("quota", "sft_stage2")  # the second is what goldens/paper/table_22.csv calls it
BLOCK = 1_000  # rows


def read_candidates(path: Path, embeddings: Path | None, work: Path) -> Candidates:
    """The candidates of a table, their vectors in `work` or in the .npy file. Raises CurationError."""
    named: dict[str, int] = {}
    cells: list[Cell] = []
    numbers: dict[str, list[float]] = {name: [] for name in NUMBERS}
    width = 0
    with (work / "vectors.f32").open("wb") as file:
        for first, columns in blocks(path, (*NAMES, *NUMBERS, *([] if embeddings else [VECTOR]))):
            ids, languages, categories = (
                [_name(path, row, name, value) for row, value in enumerate(columns[name], first)] for name in NAMES
            )
            for row, one in enumerate(ids, first):
                if named.setdefault(one, row) != row:
                    raise CurationError(f"{path}, rows {named[one]} and {row}: both have the id {one!r}; ids break ties, give each its own")
            cells += zip(languages, categories, strict=True)
            for name in NUMBERS:
                numbers[name] += [_number(path, row, name, value) for row, value in enumerate(columns[name], first)]
            if not embeddings:
                made = _vectors(path, first, columns[VECTOR], width)
                width = made.shape[1]
                _whole(f"{path}, row", first, made)
                file.write(made.tobytes())
    if not named:
        raise CurationError(f"{path} has no rows")
    if embeddings:
        vectors = read_embeddings(embeddings, len(named), path)
    else:
        vectors = np.memmap(work / "vectors.f32", dtype=np.float32, mode="r", shape=(len(named), width))
    reward, perplexity = (np.array(numbers[name], dtype=np.float64) for name in NUMBERS)
    return Candidates(ids=list(named), cells=cells, reward=reward, perplexity=perplexity, vectors_ND=vectors)


def blocks(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(first row, column -> values) of a table, some rows at a time; lists, but for Parquet's `embedding`, an Arrow array. Raises CurationError."""
    match shards_of.suffix_of(path):
        case ".parquet":
            yield from _parquet(path, needed)
        case "":
            raise CurationError(f"--input {path}: candidates are read from {', '.join(shards_of.SUFFIXES)}")
        case _:
            found: list[dict[str, Any]] = []
            first = 1
            for number, _, line in shards_of.lines(path, refuse):
                try:
                    made = shards_of.row_of(line)
                except (ValueError, RecursionError) as error:
                    raise CurationError(f"{path}, line {number} is no JSON object ({error}): mend it or take it out") from error
                if absent := [name for name in needed if name not in made]:
                    raise CurationError(f"{path}, line {number} has no `{absent[0]}`{_mend(absent[0])}")
                found.append(made)
                if len(found) == BLOCK:
                    yield first, {name: [one[name] for one in found] for name in needed}
                    first, found = first + len(found), []
            if found:
                yield first, {name: [one[name] for one in found] for name in needed}


def _parquet(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            if absent := [name for name in needed if name not in file.schema_arrow.names]:
                has = ", ".join(file.schema_arrow.names)
                raise CurationError(f"{path} has no column `{absent[0]}` (it has {has}){_mend(absent[0])}")
            first = 1
            for batch in parquet.batches(file, BLOCK, needed):
                yield first, {name: batch.column(name) if name == VECTOR else batch.column(name).to_pylist() for name in needed}
                first += batch.num_rows
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        raise CurationError(f"{path} cannot be read as Parquet: {error}") from error


def refuse(amiss: Quarantined) -> None:
    """Raise what could not be read: a candidate less would rank all others otherwise."""
    raise CurationError(f"{amiss.file}, row {amiss.row}: {amiss.reason}")


def _mend(name: str) -> str:
    return "; rename the one that holds it" + (", or give --embeddings FILE.npy" if name == VECTOR else "")


def _name(path: Path, row: int, name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise CurationError(f"{path}, row {row}: `{name}` is {value!r}; it is a string or a whole number, and not blank: fill it in")
    return str(value)


def _number(path: Path, row: int, name: str, value: Any) -> float:
    try:
        if not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise CurationError(f"{path}, row {row}: `{name}` is {value!r}, which cannot be ranked: score the sample again, or take it out")


def _vectors(path: Path, first: int, column: Any, width: int) -> npt.NDArray[np.float32]:
    """The embeddings of a block, float32 (rows, D), D as before or any where `width` is 0."""
    lists: Sequence[Any] = column if isinstance(column, list) else []
    if not isinstance(column, list):
        import pyarrow
        import pyarrow.compute

        kinds = (pyarrow.types.is_list, pyarrow.types.is_large_list, pyarrow.types.is_fixed_size_list)
        if not any(kind(column.type) for kind in kinds) or not (
            pyarrow.types.is_floating(column.type.value_type) or pyarrow.types.is_integer(column.type.value_type)
        ):
            raise CurationError(f"{path}: `{VECTOR}` holds {column.type}; it is a list of numbers in each row")
        lengths = pyarrow.compute.fill_null(pyarrow.compute.list_value_length(column), -1).to_numpy(zero_copy_only=False).tolist()
    else:
        lengths = [len(one) if isinstance(one, list) else -1 for one in lists]
    wanted = width or lengths[0]
    for row, length in enumerate(lengths, first):
        if length < 1:
            raise CurationError(f"{path}, row {row}: `{VECTOR}` is {'no list' if length < 0 else 'empty'}: embed the sample again")
        if length != wanted:
            raise CurationError(f"{path}, row {row}: `{VECTOR}` has {length} numbers, those before have {wanted}: embed all with one model")
    with np.errstate(over="ignore"):  # what float32 cannot hold is told as not finite
        if not isinstance(column, list):
            return column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, wanted)  # type: ignore[no-any-return]
        try:
            made = np.array(lists, dtype=np.float64).astype(np.float32)
        except (TypeError, ValueError, OverflowError):
            made = np.empty(0, dtype=np.float32)
    if made.ndim != 2:
        row = next((row for row, one in enumerate(lists, first) if not all(isinstance(value, (int, float)) for value in one)), first)
        raise CurationError(f"{path}, row {row}: `{VECTOR}` holds what is no number: embed the sample again, or take it out")
    return made


def _whole(where: str, first: int, vectors: npt.NDArray[Any]) -> None:
    """Refuse vectors that have no direction."""
    wide = np.asarray(vectors, dtype=np.float32).astype(np.float64)
    square = (wide * wide).sum(axis=1)
    for bad, said in (
        (~np.isfinite(square), "holds NaN or what float32 cannot hold"),
        (square == 0, "is 0 in every place, and has no direction"),
    ):
        if bad.any():
            raise CurationError(f"{where} {first + int(np.argmax(bad))}: `{VECTOR}` {said}: embed the sample again, or take it out")


def read_embeddings(path: Path, rows: int, of: Path) -> npt.NDArray[Any]:
    """A .npy file of floats (rows, D), left on disk. Raises CurationError."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise CurationError(f"--embeddings {path} cannot be read as .npy: {error}") from error
    if not isinstance(found, np.ndarray) or found.ndim != 2 or not found.shape[1] or found.dtype.kind not in "fiu":
        shape = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else "an archive"
        raise CurationError(f"--embeddings {path} is {shape}; it is numbers of shape (rows, dimensions)")
    if len(found) != rows:
        raise CurationError(f"--embeddings {path} has {len(found):,} rows, {of} has {rows:,}: one for each, in the same order")
    with np.errstate(over="ignore"):
        for first in range(0, rows, BLOCK):
            _whole(f"--embeddings {path}, row", first + 1, found[first : first + BLOCK])
    return found


# ---------------------------------------------------------------------------------------------------------------- quotas


def read_quotas(path: Path, shares: Path | None = None) -> dict[Cell, int]:
    """Cell -> how many samples are wanted, from CSV: language, category, quota; or language, quota and each category's share of them.

    Shares that do not cut a quota into whole numbers are rounded by largest remainders. Raises CurationError.
    """
    rows = _csv(path)
    has = list(rows[0][1]) if rows else []
    quota = next((name for name in QUOTA if name in has), "")
    if "language" not in has or not quota:
        raise CurationError(
            f"{path} needs the columns language, category and quota, or language and quota (it has {', '.join(has) or 'no rows'})"
        )
    by_category = "category" in has
    if by_category and shares:
        raise CurationError(f"{path} has quotas by category, so --shares {shares} means nothing: give one of the two")
    if not by_category and not shares:
        raise CurationError(f"{path} has no column `category`: add it, or give each category's share with --shares")
    parts = read_shares(shares) if shares else {}
    found: dict[Cell, int] = {}
    for number, row in rows:
        text = row[quota].strip()
        if not text.isdecimal():
            raise CurationError(f"{path}, line {number}: `{quota}` is {text!r}; it is a whole number, 0 or more")
        made = apportioned(int(text), parts) if shares else {row["category"].strip(): int(text)}
        for category, count in made.items():
            cell = (row["language"].strip(), category)
            if not all(cell):
                raise CurationError(f"{path}, line {number}: language or category is blank: fill it in")
            if cell in found:
                raise CurationError(f"{path}, line {number}: {'/'.join(cell)} has a quota already: leave one")
            found[cell] = count
    return found


def read_shares(path: Path) -> dict[str, Fraction]:
    """Category -> share, of CSV (category, share) or TOML (category = share); they sum to 1 or to 100. Raises CurationError."""
    if path.suffix == ".toml":
        try:
            told: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Fraction)
        except (OSError, ValueError) as error:
            raise CurationError(f"--shares {path} cannot be read: {error}") from error
        told = told["shares"] if list(told) == ["shares"] and isinstance(told["shares"], dict) else told
        if odd := [name for name, value in told.items() if isinstance(value, bool) or not isinstance(value, (int, Fraction))]:
            raise CurationError(f"--shares {path}: {odd[0]!r} is no number; write CATEGORY = SHARE")
        found = {name: Fraction(value) for name, value in told.items()}
    else:
        found = {}
        for number, row in _csv(path):
            if not {"category", "share"} <= row.keys():
                raise CurationError(f"--shares {path} needs the columns category and share (it has {', '.join(row)})")
            try:
                share = Fraction(row["share"].strip())
            except (ValueError, ZeroDivisionError) as error:
                raise CurationError(f"--shares {path}, line {number}: `share` is {row['share']!r}; it is a number such as .35") from error
            if (name := row["category"].strip()) in found or not name:
                raise CurationError(f"--shares {path}, line {number}: the category {name!r} is blank or stands there twice")
            found[name] = share
    total = sum(found.values())
    if total not in (1, 100) or min(found.values()) < 0:
        raise CurationError(f"--shares {path}: they sum to {float(total):g}; shares are 0 or more and sum to 1, or to 100")
    return {name: share / total for name, share in found.items()}


def apportioned(quota: int, shares: Mapping[str, Fraction]) -> dict[str, int]:
    """The quota cut by shares into whole numbers that sum to it: rounded down, what is left to the largest remainders (then by name)."""
    exact = {name: quota * share for name, share in shares.items()}
    made = {name: math.floor(part) for name, part in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (made[name] - exact[name], name))
    for name in by_remainder[: quota - sum(made.values())]:
        made[name] += 1
    return made


def _csv(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, row) of a CSV file with a header; every row has every column."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CurationError(f"{path} cannot be read as CSV: {error}") from error
    for number, row in rows:
        if None in row or None in row.values():
            raise CurationError(f"{path}, line {number} has {'more' if None in row else 'fewer'} fields than the first line names")
    return rows
