"""Documents from a recipe's sources: the embedded world, a local mirror of Hub data sets, a user's own JSONL, a curated corpus.

Nothing is repaired in silence. A row whose text holds a lone surrogate or a NUL, is not text, or is too long to be a document is an
error that names file, row and field. Blank lines and texts of white space only are left out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from training import parquet
from training.pretraining.select import RULES, SelectError, row_key
from training.recipe import CrawlFiles, CurateCorpus, CuratedText, HubText, Source, TextFiles, WorldText, digest, encode

LONGEST_LINE = 64 * 2**20  # bytes; a longer line is a JSON array or a broken file, not a document
BATCH = 1024  # rows of Parquet that are decoded at once
UNWRITABLE = re.compile("[\x00\ud800-\udfff]")


class SourceError(Exception):
    """Text that is missing or unfit; the message names file, row and field, and says what to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Document:
    """A text and where it comes from. `cluster` is shared by the tellings of a parallel text in other languages."""

    id: str
    text: str
    language: str
    source: str
    licence: str
    cluster: str = ""


def name(source: Source) -> str:
    """The source in a few words, for tables and messages."""
    match source:
        case WorldText():
            return f"world/{source.language}/{source.split}/{source.seed}"
        case HubText():
            return f"{source.dataset}/{source.config}/{source.split}:{source.field}" + (f" [{source.select}]" if source.select else "")
        case TextFiles():
            return source.path
        case CuratedText():
            return f"{source.stage}/{source.language}" + (f" [{', '.join(source.sources)}]" if source.sources else "")
    raise SourceError(f"{type(source).__name__} is not a text source")


def read(source: Source, hub: Path | None, profile_dir: Path, corpora: Mapping[str, Path] | None = None) -> Iterator[Document]:
    """The documents of a source, in order; `corpora`: stage -> directory of the corpus that it made.

    Raises SourceError before the first one where file or manifest is amiss, or none is left.
    """
    match source:
        case WorldText():
            found = _read_world(source)
        case HubText():
            found = _read_hub(source, hub)
        case TextFiles():
            found = _read_file(source, profile_dir)
        case CuratedText():
            found = _read_curated(source, corpora or {})
        case _:
            raise SourceError(f"{type(source).__name__} is not a text source")
    empty = True
    for document in found:
        empty = False
        yield document
    if empty:
        raise SourceError(f"{name(source)} holds no document; name another file, split or `select` rule, or drop the source")


def _read_world(source: WorldText) -> Iterator[Document]:
    from training.world import text

    for made in text.documents(source):
        yield Document(id=made.id, text=made.text, language=made.language, source=name(source), licence="Apache-2.0", cluster=made.cluster)


def _read_hub(source: HubText, hub: Path | None) -> Iterator[Document]:
    if source.select not in RULES:
        raise SourceError(f"{name(source)}: no select rule {source.select!r}; there are {', '.join(rule for rule in RULES if rule)}")
    path = hub_path(source, hub)
    assert hub is not None
    stem = f"{source.dataset}/{source.config}/{source.split}"
    for key, text in _whole_rows(source, path, hub) if not source.select else _groups_of_rows(source, path, hub):
        if text:
            yield Document(
                id=f"{stem}:{source.field}#{key}",
                text=text,
                language=source.language,
                source=name(source),
                licence=source.licence,
                cluster=f"{source.dataset}/{source.split}#{key}",
            )


def _whole_rows(source: HubText, path: Path, hub: Path) -> Iterator[tuple[str, str]]:
    """(key, text) of rows that are documents by themselves, however many: a first reading counts them, a second hands them over."""
    counted = count_of_mirror(path, hub)
    index = -1
    for index, row in enumerate(rows_of(path, source.field)):
        yield row_key(index), _text(row, source.field, path, index)
    if index + 1 != counted:
        raise SourceError(f"{path} held {counted} rows and now holds {index + 1}: it was changed while it was read; fetch the file again")


def _groups_of_rows(source: HubText, path: Path, hub: Path) -> Iterator[tuple[str, str]]:
    """(key, text) of the documents that a rule makes of rows, all of which it sees."""
    rows = rows_of_mirror(path, hub)
    try:
        groups = RULES[source.select](rows, source.field)
    except SelectError as error:
        raise SourceError(f"{path}: {error}") from error
    for key, members in groups:
        texts = [_text(rows[index], source.field, path, index) for index in members]
        yield key, "\n".join(text for text in texts if text)


def _read_file(source: TextFiles, profile_dir: Path) -> Iterator[Document]:
    path = file_path(source, profile_dir)
    for index, row in enumerate(rows_of(path)):
        if text := _text(row, source.field, path, index):
            yield Document(id=f"{path.name}#{index}", text=text, language=source.language, source=source.path, licence=source.licence)


def _read_curated(source: CuratedText, corpora: Mapping[str, Path]) -> Iterator[Document]:
    if source.stage not in corpora:
        raise SourceError(f"{name(source)} is read from the corpus of {source.stage}, which is no parent here; {_corpora(corpora)}")
    for path in sorted((corpora[source.stage] / "shards").glob("*.parquet")):
        for index, row in _rows_of_language(path, source.language, ("id", "text", "source", "licence")):
            if source.sources and row.get("source") not in source.sources:
                continue
            if text := _text(row, "text", path, index):
                told = {key: str(row.get(key) or "") for key in ("id", "source", "licence")}
                yield Document(text=text, language=source.language, **told)


def _corpora(corpora: Mapping[str, Path]) -> str:
    return f"there is that of {', '.join(corpora)}" if corpora else "there is none"


# ------------------------------------------------------------------------------------------------------------------- files


def hub_path(source: HubText, hub: Path | None) -> Path:
    """The mirror's file of a source, JSONL before Parquet. Raises SourceError naming what is missing."""
    if hub is None:
        raise SourceError(f"{name(source)} is read from a local mirror of the Hub: give --gate-hub DIR or set SEATRIALS_HUB")
    stem = hub / source.dataset / source.config / source.split
    for suffix in (".jsonl", ".parquet"):
        path = stem.with_name(stem.name + suffix)
        if path.is_file():
            return path
    nearest = next((parent for parent in (stem.parent, stem.parent.parent) if parent.is_dir()), hub)
    there = ", ".join(sorted(entry.name for entry in nearest.iterdir())[:12]) if nearest.is_dir() else "nothing"
    raise SourceError(f"the mirror has no {stem}.jsonl or .parquet ({nearest} holds {there}); fetch the data set or correct the recipe")


def file_path(source: TextFiles, profile_dir: Path) -> Path:
    """The user's file; relative paths start at the profile file's directory. Raises SourceError."""
    path = Path(source.path).expanduser()
    path = path if path.is_absolute() else profile_dir / path
    if not path.is_file():
        raise SourceError(f"no text file {path} (TextFiles.path is absolute, or relative to the profile's directory)")
    return path


def rows_of(path: Path, field: str = "") -> Iterator[dict[str, Any]]:
    """The rows of a .jsonl or .parquet file, one after the other; of Parquet that has it only the column `field`, where one is named.

    Raises SourceError naming file and line.
    """
    return _parquet_rows(path, field) if path.suffix == ".parquet" else _jsonl_rows(path)


def _jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise SourceError(
                    f"{path}, line {number} is longer than {LONGEST_LINE // 2**20} MiB: JSONL has one object a line; split it"
                )
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise SourceError(f"{path}, line {number}, byte {error.start + 1} is not UTF-8; convert the file to UTF-8") from error
            except (ValueError, RecursionError) as error:
                raise SourceError(f"{path}, line {number} is not JSON ({error}); write one object a line") from error
            if not isinstance(row, dict):
                raise SourceError(f"{path}, line {number} is a {type(row).__name__}, not an object; write one object a line")
            yield row


def _rows_of_language(path: Path, language: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(place in the file, row of those of `columns` that are there) of each row in a language. Row groups without one are not decoded."""
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        known = [name for name in columns if name in file.schema_arrow.names]
        first = 0
        for group in range(file.num_row_groups):
            found = pyarrow.compute.equal(file.read_row_group(group, columns=["language"]).column(0), language)
            places = pyarrow.compute.indices_nonzero(found).to_pylist()
            if places:
                yield from zip(
                    (first + place for place in places), file.read_row_group(group, columns=known).take(places).to_pylist(), strict=True
                )
            first += file.metadata.row_group(group).num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise SourceError(f"{path} is not a readable Parquet file ({error}); make the corpus again") from error


def _parquet_rows(path: Path, field: str = "") -> Iterator[dict[str, Any]]:
    for batch in _parquet_batches(path, field):
        yield from batch.to_pylist()


def _parquet_batches(path: Path, field: str = "") -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = [field] if field in file.schema_arrow.names else None
            yield from parquet.batches(file, BATCH, columns)
    except (pyarrow.ArrowException, OSError) as error:
        raise SourceError(f"{path} is not a readable Parquet file ({error}); fetch it again") from error


def _text(row: dict[str, Any], field: str, path: Path, index: int) -> str:
    """The text of a row, or "" where it is white space only."""
    where = f"{path}, row {index + 1}"
    if field not in row:
        raise SourceError(f"{where} has no field {field!r}; its fields are {', '.join(row)}: name one of them in the source's `field`")
    text = row[field]
    if not isinstance(text, str):
        raise SourceError(f"{where}, field {field!r} is {_kind(text)}, not text; name a text field or leave the row out")
    if found := UNWRITABLE.search(text):
        what = "a NUL" if found.group() == "\x00" else f"a lone surrogate (U+{ord(found.group()):04X})"
        raise SourceError(f"{where}, field {field!r} holds {what} at character {found.start()}; clean the text or leave the row out")
    return text if text.strip() else ""


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


# --------------------------------------------------------------------------------------------------------------- identity


def manifest(hub: Path) -> dict[str, dict[str, Any]]:
    """The mirror's MANIFEST.json, file -> {rows, bytes, sha256}; {} where there is none. Raises SourceError for a broken one."""
    path = hub / "MANIFEST.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise SourceError(f"{path} cannot be read ({error}); restore it from the mirror's origin, or remove it") from error
    if not isinstance(found, dict):
        raise SourceError(f"{path} is not an object of files; restore it from the mirror's origin, or remove it")
    return found


def rows_of_mirror(path: Path, hub: Path) -> list[Any]:
    """The rows of a file of the mirror, as many and with the digest that its manifest says.

    Raises SourceError also where the manifest does not list the file: rows that nobody counted may be a part.
    """
    found = list(rows_of(path))
    _counted(path, hub, len(found))
    return found


def count_of_mirror(path: Path, hub: Path) -> int:
    """How many rows a file of the mirror holds, every one of them read and none kept; the checks and errors are those of `rows_of_mirror`."""
    parquet = path.suffix == ".parquet"
    found = sum(batch.num_rows for batch in _parquet_batches(path)) if parquet else sum(1 for _ in _jsonl_rows(path))
    _counted(path, hub, found)
    return found


def _counted(path: Path, hub: Path, rows: int) -> None:
    """Raise SourceError where a file of the mirror is not what its manifest says."""
    relative = path.relative_to(hub).as_posix()
    entry = manifest(hub).get(relative)
    if entry is None:
        raise SourceError(
            f"{hub / 'MANIFEST.json'} does not list {relative}, so its {rows} rows cannot be checked; add "
            f'"{relative}": {{"rows": {rows}}} once you know that they are all'
        )
    if entry.get("rows") != rows:
        raise SourceError(f"{path} holds {rows} rows, MANIFEST.json says {entry.get('rows')}; fetch the file again")
    if "sha256" in entry and file_digest(path) != entry["sha256"]:
        raise SourceError(f"{path} is not the file of MANIFEST.json (its SHA-256 differs); fetch the file again")


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sources_of(value: Any) -> tuple[Source, ...]:
    """Every text source anywhere in a recipe, in the order of its fields."""
    if isinstance(value, WorldText | HubText | TextFiles | CuratedText):
        return (value,)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return tuple(source for field in dataclasses.fields(value) for source in sources_of(getattr(value, field.name)))
    if isinstance(value, tuple | list):
        return tuple(source for item in value for source in sources_of(item))
    return ()


def data_digest(recipe: Any, hub: Path | None, profile_dir: Path, cache: Path | None = None) -> str:
    """Digest of the text that a recipe consumes, for the fingerprint: needs no torch and reads each file once.

    `cache` is a small JSON file of the digests of files whose size, inode and times have not moved. Where the text is missing the
    error is that of `read`.
    """
    known = _FileDigests(cache)
    parts = [known.of_source(source, hub, profile_dir) for source in dict.fromkeys(sources_of(recipe))]
    parts += [{"crawl": path.name, "sha256": known.of_file(path)} for path in crawl_files(getattr(recipe, "crawl", None), profile_dir)]
    named = (chain_files(chain, profile_dir) for chain in chains_of(recipe))
    parts += [{"setting": setting, "sha256": known.of_file(path)} for found in named for setting, path in found]
    known.save()
    return digest(parts)


def crawl_files(crawl: Any, profile_dir: Path) -> list[Path]:
    """The files of a user's crawl; none for anything else. Raises SourceError."""
    if not isinstance(crawl, CrawlFiles):
        return []
    from training.curation.documents import CurationError, files_of
    from training.curation.sources import SUFFIXES

    try:
        return files_of([str(profile_dir / Path(path).expanduser()) for path in crawl.paths], SUFFIXES)
    except CurationError as error:
        raise SourceError(str(error).removeprefix("--input ")) from error


def chains_of(recipe: Any) -> list[Any]:
    """The chain of layers of a corpus' recipe, and those of the crawls that its classifier learns from."""
    if not isinstance(recipe, CurateCorpus):
        return []
    return [recipe.chain, *(chain for examples in (recipe.positives, recipe.negatives) for chain in chains_of(examples))]


def chain_files(chain: Any, profile_dir: Path) -> list[tuple[str, Path]]:
    """(setting, file) of what a chain's layers name: rules' tables, models. Relative paths start at the profile file's directory; of a directory all files."""
    found = []
    for layer in chain.layers:
        for setting in layer.files:
            value = getattr(layer, setting)
            for text in value if isinstance(value, tuple) else (value,):
                if not text:
                    continue
                path = profile_dir / Path(text).expanduser()
                inside = sorted(path.rglob("*")) if path.is_dir() else [path]
                found += [(f"{layer.name}.{setting}/{one.relative_to(path)}", one) for one in inside if one.is_file()]
    return found


class _FileDigests:
    """Digests of files, remembered by path, size, inode and times."""

    def __init__(self, cache: Path | None) -> None:
        self.cache, self.changed = cache, False
        self.known: dict[str, list[Any]] = {}
        if cache is not None:
            try:
                found = json.loads(cache.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                found = {}
            self.known = found if isinstance(found, dict) else {}

    def of_source(self, source: Source, hub: Path | None, profile_dir: Path) -> Any:
        match source:
            case WorldText():
                from training.world import text

                return {"world": encode(source), "digest": text.source_digest(source)}
            case HubText():
                return {"hub": encode(source), "sha256": self.of_file(hub_path(source, hub))}
            case TextFiles():
                return {"file": encode(source), "sha256": self.of_file(file_path(source, profile_dir))}
            case CuratedText():
                return {"curated": encode(source)}  # what it holds, the parent's content says
        raise SourceError(f"{type(source).__name__} is not a text source")

    def of_file(self, path: Path) -> str:
        state = path.stat()
        mark = [state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns]
        remembered = self.known.get(str(path.resolve()))
        if isinstance(remembered, list) and remembered[:4] == mark:
            return str(remembered[4])
        found = file_digest(path)
        # A file written a moment ago may be written again within the same tick of the clock: not remembered yet.
        if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > 2_000_000_000:
            self.known[str(path.resolve())] = [*mark, found]
            self.changed = True
        return found

    def save(self) -> None:
        if self.cache is None or not self.changed:
            return
        aside = self.cache.with_name(f"{self.cache.name}.{os.getpid()}")
        try:
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(self.known, sort_keys=True), encoding="utf-8")
            aside.replace(self.cache)
        except OSError:
            aside.unlink(missing_ok=True)  # a cache that cannot be written costs time only


def rows_digest(documents: Sequence[Document]) -> str:
    """Digest of the texts themselves, in order: what a record states of the rows that were consumed."""
    running = hashlib.sha256()
    for document in documents:
        running.update(hashlib.sha256(document.text.encode("utf-8")).digest())
    return running.hexdigest()
