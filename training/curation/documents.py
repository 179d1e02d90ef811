"""What flows through curation: documents, the shards they lie in, and what could not be read.

A shard is a JSONL (.jsonl, .jsonl.gz, .jsonl.zst) or Parquet file of rows with `text` and, where known, `id`, `url`, `language`, `source` and
`licence`; every other column is carried through. A row that cannot be read is quarantined with file, row, offset and reason: counted, never
fatal, never silent. Shards are written whole or not at all, and hold at most SHARD_DOCUMENTS documents or SHARD_BYTES of text. A document
read knows its place in its file; a shard does not hold it.
"""

from __future__ import annotations

import dataclasses
import glob
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from training.pretraining.sources import LONGEST_LINE, UNWRITABLE
from training.whole import whole

COLUMNS = ("id", "text", "url", "language", "source", "licence")
SHARD_DOCUMENTS, SHARD_BYTES = 20_000, 64 * 2**20
ROW_GROUP = 1_000  # rows; narrow passes over small row groups keep memory flat (measured, README)
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
FORMS = tuple(suffix[1:] for suffix in SUFFIXES)  # in which a corpus is written


class CurationError(Exception):
    """Input, settings or an output directory that curation cannot work with; the message names file, line, field or option and the mend."""


class Place(NamedTuple):
    """Where something stands in its file: its row (from 1; in a crawl the record) and the byte that it starts at. -1: unknown."""

    row: int = -1
    offset: int = -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Document:
    """One text and where it comes from. `language` is ISO 639-3, "" where unknown; `extra` holds every other column.

    `place` is where it was read (of a window of rows, its first): no part of what the document is, and never written with it.
    """

    id: str
    text: str
    url: str = ""
    language: str = ""
    source: str = ""
    licence: str = ""
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    place: Place = dataclasses.field(default=Place(), compare=False, repr=False)

    def row(self) -> dict[str, Any]:
        """The document as one flat row."""
        return {**{name: getattr(self, name) for name in COLUMNS}, **self.extra}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quarantined:
    """A line of the quarantine: the file, its row (from 1; 0: the file as a whole), the byte where the row starts (-1: unknown), and why.

    Where `kept` is false something is lost: what the line names could not be read. Where it is true nothing is: the document goes on as it
    is, and the line is a remark on it. `detail` is of this one alone (the URL that is none), so that reasons can be counted.
    """

    file: str
    row: int
    offset: int
    reason: str
    detail: str = ""
    kept: bool = False


Quarantine = Callable[[Quarantined], None]


def suffix_of(path: Path) -> str:
    """The known suffix of a shard's name, "" for none."""
    return next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if path.name.endswith(suffix)), "")


def files_of(patterns: Sequence[str], suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """The files that paths, directories (their files of these suffixes) and glob patterns name, each once, sorted within a pattern.

    Raises CurationError.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern).expanduser()
        if path.is_dir():
            named = sorted(
                entry
                for entry in path.iterdir()
                if entry.is_file() and entry.name.lower().endswith(tuple(suffixes)) and not entry.name.startswith((".", "_"))
            )
        else:
            named = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if Path(name).is_file()]
        if not named:
            raise CurationError(f"--input {pattern}: no such file, no file that matches, or a directory without {', '.join(suffixes)}")
        found.update(dict.fromkeys(entry.absolute() for entry in named))
    return list(found)


# ---------------------------------------------------------------------------------------------------------------- reading


def read(path: Path, quarantine: Quarantine) -> Iterator[Document]:
    """The documents of a shard, in order; what is amiss goes to `quarantine`. Raises CurationError where no row of the file can be had."""
    match suffix_of(path):
        case ".parquet":
            yield from _parquet(path, quarantine)
        case "":
            raise CurationError(f"{path} is no shard: its name ends in none of {', '.join(SUFFIXES)}")
        case _:
            yield from _jsonl(path, quarantine)


def document(row: Mapping[str, Any], path: Path, number: int, offset: int = -1) -> Document:
    """A row as a document; lone surrogates beside the text are escaped. Raises ValueError saying what is amiss."""
    text = row.get("text")
    if not isinstance(text, str):
        raise ValueError("it has no `text`" if text is None else f"its `text` is a {type(text).__name__}, not a string")
    if not text.strip():
        raise ValueError("its `text` is blank")
    if bad := UNWRITABLE.search(text):
        raise ValueError(f"its `text` holds U+{ord(bad.group()):04X} at character {bad.start()}")
    known = {name: row.get(name) for name in COLUMNS if name != "text"}
    if odd := [name for name, value in known.items() if value is not None and not isinstance(value, (str, int))]:
        raise ValueError(f"its `{odd[0]}` is a {type(known[odd[0]]).__name__}, not a string")
    fields = {name: "" if value is None else str(value) for name, value in known.items()}
    fields["id"] = fields["id"] or f"{path.name}#{number}"
    if not "".join(fields.values()).isascii():
        fields = {name: writable(value) for name, value in fields.items()}
    extra = {key: value for key, value in row.items() if key not in COLUMNS}
    return Document(text=text, extra=extra, place=Place(number, offset), **fields)


def writable(value: str) -> str:
    """The string with lone surrogates escaped, as no file of ours can hold them."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _jsonl(path: Path, quarantine: Quarantine) -> Iterator[Document]:
    for number, offset, line in lines(path, quarantine):
        try:
            made = document(row_of(line), path, number, offset)
        except UnicodeDecodeError as error:
            quarantine(Quarantined(file=str(path), row=number, offset=offset + error.start, reason="not UTF-8"))
        except (ValueError, RecursionError) as error:
            quarantine(Quarantined(file=str(path), row=number, offset=offset, reason=str(error)))
        else:
            yield made


def row_of(line: bytes) -> dict[str, Any]:
    """The object on a line. Raises ValueError (UnicodeDecodeError is one) and RecursionError."""
    row = json.loads(line.decode("utf-8"))
    if not isinstance(row, dict):
        raise ValueError(f"a {type(row).__name__}, not an object")
    return row


def lines(path: Path, quarantine: Quarantine) -> Iterator[tuple[int, int, bytes]]:
    """(row, byte where it starts, line) of a JSONL file but for blank lines; overlong lines and what a torn stream lost go to `quarantine`."""
    number = offset = 0
    try:
        with _opened(path) as file:
            while line := file.readline(LONGEST_LINE + 1):
                number, start = number + 1, offset
                offset += len(line)
                if len(line) > LONGEST_LINE:
                    while line and not line.endswith(b"\n"):
                        line = file.readline(2**20)
                        offset += len(line)
                    quarantine(Quarantined(file=str(path), row=number, offset=start, reason=f"a line longer than {LONGEST_LINE} bytes"))
                    continue
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    yield number, start, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        quarantine(Quarantined(file=str(path), row=number + 1, offset=offset, reason=f"the compressed stream is torn: {error}"))
    except OSError as error:  # zstandard tells a torn stream so; so does the disk
        if suffix_of(path) != ".jsonl.zst":
            raise CurationError(f"{path} cannot be read: {error}") from error
        quarantine(Quarantined(file=str(path), row=number + 1, offset=offset, reason=f"the compressed stream is torn: {error}"))


def _opened(path: Path) -> BinaryIO:
    """The bytes of a JSONL shard, decompressed as they are read."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise CurationError(f"{path} cannot be read: {error}") from error
    match suffix_of(path):
        case ".jsonl.gz":
            return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
        case ".jsonl.zst":
            import pyarrow

            return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.PythonFile(file), "zstd"))
        case _:
            return file


def _parquet(path: Path, quarantine: Quarantine) -> Iterator[Document]:
    for first, batch in batches(path, "text", quarantine):
        for number, found in enumerate(rows_of(batch), first):
            try:
                made = document(found(), path, number)
            except ValueError as error:  # UnicodeDecodeError is one
                quarantine(Quarantined(file=str(path), row=number, offset=-1, reason=str(error)))
            else:
                yield made


def batches(path: Path, needed: str, quarantine: Quarantine) -> Iterator[tuple[int, Any]]:
    """(first row, batch) of a Parquet file; damaged row groups go to `quarantine`. Raises CurationError: no Parquet, or no column `needed`."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise CurationError(f"{path} is no Parquet file, or a torn one: {error}") from error
    if needed not in file.schema_arrow.names:
        raise CurationError(
            f"{path} has no column `{needed}` (it has {', '.join(file.schema_arrow.names)}); rename the one that holds the {needed}"
        )
    number = 0
    for index in range(file.num_row_groups):
        group = file.metadata.row_group(index)
        end = number + group.num_rows
        found = file.iter_batches(batch_size=ROW_GROUP, row_groups=[index])
        while True:
            try:  # the reading alone: what goes wrong where rows are taken up is no damage of the file
                batch = next(found, None)
            except (OSError, pyarrow.ArrowException) as error:
                reason = f"row group {index} is damaged, rows {number + 1} to {end} are lost: {str(error).partition(chr(10))[0]}"
                quarantine(Quarantined(file=str(path), row=number + 1, offset=group.column(0).data_page_offset, reason=reason))
                number = end
                break
            if batch is None:
                break
            yield number + 1, batch
            number += batch.num_rows


def rows_of(batch: Any) -> Iterator[Callable[[], dict[str, Any]]]:
    """What gives each row of a batch; where one holds bytes that are no text, that one raises and the others do not."""
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError:
        for at in range(batch.num_rows):
            yield lambda at=at: batch.slice(at, 1).to_pylist()[0]  # type: ignore[misc]
    else:
        for row in rows:
            yield lambda row=row: row  # type: ignore[misc]


# ---------------------------------------------------------------------------------------------------------------- writing


def write(path: Path, documents: Iterable[Document]) -> int:
    """Write one shard, whole or not at all; returns how many documents are in it. Its name says the format; a row group of texts is held."""
    suffix = suffix_of(path)
    if not suffix:
        raise CurationError(f"{path}: a shard's name ends in {', '.join(SUFFIXES)}")
    with whole(path) as aside:
        return _write_parquet(aside, documents) if suffix == ".parquet" else _write_lines(aside, documents, suffix)


def _write_lines(path: Path, documents: Iterable[Document], suffix: str) -> int:
    count, stream = 0, iter(documents)
    with ExitStack() as opened:
        file: Any = opened.enter_context(path.open("wb"))
        if suffix == ".jsonl.gz":
            file = opened.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0))
        elif suffix == ".jsonl.zst":
            import pyarrow

            file = opened.enter_context(pyarrow.CompressedOutputStream(pyarrow.PythonFile(file), "zstd"))
        while batch := list(itertools.islice(stream, ROW_GROUP)):
            file.write(b"".join(_line(made) for made in batch))
            count += len(batch)
    return count


def _line(made: Document) -> bytes:
    """A document as a line; a column without a value is left out, and a number that is none has no value in JSON."""
    row = {name: value for name, value in made.row().items() if name in COLUMNS or not (value is None or value != value)}
    return json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n"


def _write_parquet(path: Path, documents: Iterable[Document]) -> int:
    """Known columns as strings; others as what they are, or as JSON where their values are of several types."""
    import pyarrow
    import pyarrow.parquet

    # what type another column has is known when the last document is, so the texts wait on disk, a row group a chunk
    spool = path.with_name(f"{path.name}.arrow")
    schema = pyarrow.schema([(name, pyarrow.string()) for name in COLUMNS])
    extras: list[Mapping[str, Any]] = []
    try:
        with pyarrow.OSFile(str(spool), "wb") as sink, pyarrow.ipc.new_file(sink, schema) as file:
            stream = iter(documents)
            while batch := list(itertools.islice(stream, ROW_GROUP)):
                file.write_batch(
                    pyarrow.record_batch(
                        [pyarrow.array([getattr(made, name) for made in batch], pyarrow.string()) for name in COLUMNS], schema
                    )
                )
                extras += [made.extra for made in batch]
        with pyarrow.memory_map(str(spool)) as source:
            table = pyarrow.ipc.open_file(source).read_all()
            for name in sorted({name for extra in extras for name in extra} - set(COLUMNS)):
                values = [extra.get(name) for extra in extras]
                table = table.append_column(name, _column(values))
            pyarrow.parquet.write_table(table, path, row_group_size=ROW_GROUP, compression="zstd")
            del table
    finally:
        spool.unlink(missing_ok=True)
    return len(extras)


def _column(values: Sequence[Any]) -> Any:
    """Another column as what its values are, or as JSON where Arrow has no type for all of them: of several, too large, or no valid Unicode."""
    import pyarrow

    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OverflowError):
        return pyarrow.array([None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in values])
    except UnicodeEncodeError:  # a lone surrogate: escaped
        return pyarrow.array([None if value is None else json.dumps(value, default=str) for value in values])


def in_shards(documents: Iterable[Document]) -> Iterator[Iterator[Document]]:
    """Cut a stream into what fits a shard; each part is to be taken to its end before the next."""
    stream = iter(documents)

    def part(made: Document) -> Iterator[Document]:
        count, size = 1, len(made.text)
        yield made
        while count < SHARD_DOCUMENTS and size < SHARD_BYTES and (following := next(stream, None)) is not None:
            count, size = count + 1, size + len(following.text)
            yield following

    for first in stream:
        yield part(first)
