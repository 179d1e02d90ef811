"""`python -m training.curation ngrams`: the windows of evaluation texts, for the layer `decontaminate` to look for.

    python -m training.curation ngrams --input eval/*.jsonl --output windows.npz --column question choices
    python -m training.curation decontaminate --input pool/ --output out/ --set decontaminate.ngrams=windows.npz

Each value of each column named is an evaluation text of its own, and of a list each string in it. A row that cannot be read or lacks a column
ends the command: a text that is not in the file is one that is not looked for. The file holds hashes, no text; one that stands there is replaced.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.curation import documents
from training.curation.decontaminate import write_ngrams
from training.curation.documents import CurationError, Quarantined
from training.whole import whole
from training.windows import WINDOW, shortest


def run(inputs: Sequence[str], output: Path, columns: Sequence[str] = ("text",)) -> tuple[int, int]:
    """Write the windows; returns how many texts are in the file and how many were read. Raises CurationError, and leaves no file then."""
    files = documents.files_of(inputs)
    read = 0

    def texts() -> Iterator[tuple[str, str]]:
        nonlocal read
        for path in files:
            for number, row in _rows(path, columns[0]):
                for column in columns:
                    for text in _texts(row, column, f"{path}, row {number}"):
                        read += 1
                        yield _name(row, path, number) + (f" {column}" if len(columns) > 1 else ""), text

    if not output.parent.is_dir():
        raise CurationError(f"--output {output}: there is no directory {output.parent}; make it")
    with whole(output) as aside:
        held = write_ngrams(texts(), aside)
        if not held:
            least = f"none of them is of {shortest(WINDOW)} bytes or more (normalised), which a text has to be to be looked for"
            raise CurationError(f"--input {' '.join(inputs)}: {f'{read} texts, and {least}' if read else 'no text in it'}")
    return held, read


def _rows(path: Path, needed: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(number, row) of a file. Raises CurationError for one that cannot be read."""
    if documents.suffix_of(path) == ".parquet":
        for first, batch in documents.batches(path, needed, _refuse):
            for number, found in enumerate(documents.rows_of(batch), first):
                try:
                    yield number, found()
                except UnicodeDecodeError as error:
                    raise CurationError(f"{path}, row {number} holds bytes that are no text: mend it or take it out") from error
        return
    for number, _, line in documents.lines(path, _refuse):
        try:
            row = documents.row_of(line)
        except (ValueError, RecursionError) as error:
            raise CurationError(f"{path}, row {number} is no JSON object ({error}): mend it or take it out") from error
        yield number, row


def _texts(row: Mapping[str, Any], column: str, where: str) -> list[str]:
    """The texts in a column of a row, blank ones left out. Raises CurationError."""
    if column not in row:
        raise CurationError(f"{where} has no `{column}` (it has {', '.join(row)}): name the columns of the texts with --column")
    value = row[column]
    values = value if isinstance(value, list) else [value]
    if odd := [one for one in values if not (one is None or isinstance(one, str))]:
        raise CurationError(f"{where}: its `{column}` holds a {type(odd[0]).__name__}; a text is a string or a list of strings")
    return [one for one in values if one and one.strip()]


def _name(row: Mapping[str, Any], path: Path, number: int) -> str:
    """What a dropped document is said to hold: the row's id, or its file and number."""
    named = row.get("id")
    return documents.writable(str(named)) if isinstance(named, (str, int)) and named != "" else f"{path.name}#{number}"


def _refuse(amiss: Quarantined) -> None:
    raise CurationError(f"{amiss.file}, row {amiss.row}: {amiss.reason}; mend it or take it out")


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status (2 for input that it cannot work with)."""
    parser = argparse.ArgumentParser(
        prog="python -m training.curation ngrams", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", nargs="+", required=True, help="files, directories or patterns: JSONL (.gz, .zst) or Parquet")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.npz", help="where the windows go")
    parser.add_argument("--column", nargs="+", default=["text"], help="columns that hold texts (default: text)")
    given = parser.parse_args(list(argv))
    try:
        held, read = run(given.input, given.output, given.column)
    except (CurationError, OSError) as error:  # a full disk
        print(f"curation: {error}", file=sys.stderr)
        return 2
    left = f"the windows of {held:,} of {read:,} texts (one of fewer than {shortest(WINDOW)} bytes is not looked for, equal ones are one)"
    print(f"{left}\n--set decontaminate.ngrams={given.output}")
    return 0
