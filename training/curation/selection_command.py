"""`python -m training.curation select`: from scored samples to those of the second stage of instruction tuning (5.1; selection.py).

    python -m training.curation select --input scored.parquet --quotas quotas.csv --output out/
    python -m training.curation select --input scored.jsonl --embeddings jina.npy --quotas goldens/paper/table_22.csv --shares shares.toml --output out/

The input has `id`, `language`, `category`, `reward`, `perplexity` and, without --embeddings, a list `embedding`. Quotas are CSV: language, category,
quota; or language and quota (or Table 22's sft_stage2) with each category's share in --shares, TOML (category = share) or CSV (category, share).

    OUTPUT/selected.parquet or .jsonl   the rows taken, in the input's order, all columns carried through, and selection_score, reward_percentile,
                                        perplexity_percentile (which take the place of columns so named)
    OUTPUT/rejected.jsonl               the others: reason "alike" (with the one taken and their cosine), or "quota met"
    OUTPUT/report.json                  the settings, and a line for each cell; cells that stayed under their quota are named
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from training import parquet
from training.curation import documents as shards_of
from training.curation.documents import CurationError
from training.curation.output import whole_directory
from training.curation.selection import LIMIT, Candidates, Cell, Scope, Selection, select
from training.curation.selection_files import BLOCK, read_candidates, read_quotas, refuse
from training.pretraining.sources import file_digest

ADDED = ("selection_score", "reward_percentile", "perplexity_percentile")
ALIKE, MET = "alike", "quota met"
COUNTS = ("candidates", "quota", "selected", "alike", "beyond", "short")


def run(
    path: Path, embeddings: Path | None, quotas: Path, shares: Path | None, output: Path, *, limit: float = LIMIT, scope: Scope = "cell"
) -> dict[str, Any]:
    """Select; writes the files that the module names and returns the report. Raises CurationError."""
    if not -1 <= limit <= 1:
        raise CurationError(f"--limit {limit}: a cosine lies between -1 and 1")
    wanted = read_quotas(quotas, shares)
    with whole_directory(output) as aside:
        work = aside / "work"
        work.mkdir()
        candidates = read_candidates(path, embeddings, work)
        found = select(candidates, wanted, limit=limit, scope=scope)
        _write_selected(path, aside, found)
        _write_rejected(aside / "rejected.jsonl", candidates, found)
        shutil.rmtree(work)
        files = {"quotas": quotas, **({"shares": shares} if shares else {})}
        report = {
            "limit": limit,
            "scope": scope,
            "inputs": {name: {"file": file.name, "sha256": file_digest(file)} for name, file in files.items()},
            "cells": _cells(candidates, wanted, found),
        }
        (aside / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return report


def _cells(candidates: Candidates, quotas: dict[Cell, int], found: Selection) -> list[dict[str, Any]]:
    """A line for each cell of the quotas. `short`: how many it stayed under its quota, having taken all that are not alike."""
    number = {cell: at for at, cell in enumerate(sorted(quotas))}
    cell_N = np.array([number[cell] for cell in candidates.cells])
    told = []
    for (language, category), at in number.items():
        own = cell_N == at
        taken, alike = int((own & found.taken).sum()), int((own & (found.neighbour >= 0)).sum())
        quota = quotas[language, category]
        counts = (int(own.sum()), quota, taken, alike, int(own.sum()) - taken - alike, quota - taken)
        lowest = float(found.score[own & found.taken].min()) if taken else None
        told.append({"language": language, "category": category, **dict(zip(COUNTS, counts, strict=True)), "lowest score": lowest})
    return told


def _write_selected(path: Path, directory: Path, found: Selection) -> None:
    """The rows taken, read once more."""
    added = dict(zip(ADDED, (found.score, found.reward_percentile, found.perplexity_percentile), strict=True))
    if shards_of.suffix_of(path) != ".parquet":
        with (directory / "selected.jsonl").open("w", encoding="utf-8", errors="backslashreplace") as file:
            for row, (_, _, line) in enumerate(shards_of.lines(path, refuse)):
                if found.taken[row]:
                    made = shards_of.row_of(line) | {name: float(values[row]) for name, values in added.items()}
                    file.write(json.dumps(made, ensure_ascii=False) + "\n")
        return
    import pyarrow
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as source:
        schema = source.schema_arrow
        for name in ADDED:
            if name in schema.names:
                schema = schema.remove(schema.get_field_index(name))
        carried = schema.names
        for name in ADDED:
            schema = schema.append(pyarrow.field(name, pyarrow.float64()))
        with pyarrow.parquet.ParquetWriter(directory / "selected.parquet", schema, compression="zstd") as writer:
            first = 0
            for batch in parquet.batches(source, BLOCK):
                here = np.flatnonzero(found.taken[first : first + batch.num_rows])
                columns = [batch.column(name).take(pyarrow.array(here)) for name in carried]
                columns += [pyarrow.array(values[first + here]) for values in added.values()]
                writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))
                first += batch.num_rows


def _write_rejected(path: Path, candidates: Candidates, found: Selection) -> None:
    """Every candidate that was not taken, with its reason."""
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for row in np.flatnonzero(~found.taken).tolist():
            language, category = candidates.cells[row]
            told: dict[str, Any] = {"row": row + 1, "id": candidates.ids[row], "language": language, "category": category}
            if (neighbour := int(found.neighbour[row])) >= 0:
                told |= {"reason": ALIKE, "kept_id": candidates.ids[neighbour], "cosine": float(found.cosine[row])}
            else:
                told |= {"reason": MET}
            values = (found.score, found.reward_percentile, found.perplexity_percentile)
            told |= {name: float(value[row]) for name, value in zip(ADDED, values, strict=True)}
            file.write(json.dumps(told, ensure_ascii=False) + "\n")


def text(report: dict[str, Any]) -> str:
    """The report for people: a line for each cell, their sum, and which cells stayed short of their quota."""
    lines = [f"{'language':<12} {'category':<24}" + "".join(f"{what:>12}" for what in COUNTS)]
    total = {what: sum(cell[what] for cell in report["cells"]) for what in COUNTS}
    for cell in [*report["cells"], {"language": "all", "category": "", **total}]:
        lines.append(f"{cell['language']:<12} {cell['category']:<24}" + "".join(f"{cell[what]:>12,}" for what in COUNTS))
    short = [f"{cell['language']}/{cell['category']} by {cell['short']:,}" for cell in report["cells"] if cell["short"]]
    over = f"above cosine {report['limit']:g} with one taken before in {'its cell' if report['scope'] == 'cell' else 'any cell'}"
    lines += ["", f"alike: {over}", f"short of their quota, all taken that are not alike: {', '.join(short) or 'none'}"]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = argparse.ArgumentParser(
        prog="python -m training.curation select", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--input", type=Path, required=True, help="Parquet or JSONL (.gz, .zst): the scored samples")
    made.add_argument("--embeddings", type=Path, help=".npy, a row for each row of the input (default: its column `embedding`)")
    made.add_argument("--quotas", type=Path, required=True, help="CSV: language, category, quota; or language, quota")
    made.add_argument("--shares", type=Path, help="TOML or CSV: each category's share, where the quotas are of languages")
    made.add_argument("--output", type=Path, required=True, help="a directory that is not there yet")
    made.add_argument("--limit", type=float, default=LIMIT, help=f"highest cosine with one that is taken (default {LIMIT})")
    made.add_argument("--scope", choices=get_args(Scope), default="cell", help="whom a sample is compared with (default: its cell)")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status (2 for input that it cannot work with)."""
    given = parser().parse_args(list(argv))
    try:
        report = run(given.input, given.embeddings, given.quotas, given.shares, given.output, limit=given.limit, scope=given.scope)
    except (CurationError, OSError) as error:  # a full disk
        print(f"curation: {error}", file=sys.stderr)
        return 2
    print(f"{text(report)}\n\n{given.output}")
    return 0
