"""Tokenised corpora on disk: flat files that any number of processes map, read-only.

    NAME/ids.bin        uint16 (vocabularies of at most 65,536 tokens) or uint32, little-endian: document after document, each with its
                        end-of-document token
    NAME/starts.bin     int64: where each document starts, then the number of tokens
    NAME/header.json    language, tokenizer, counts, documents a source and a licence, SHA-256 of both files

A directory is written aside and renamed, its header last: it is a whole corpus or none. `join` hands it to a reader.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from training.pretraining.packing import Corpus, Ids, Joined, Offsets
from training.whole import whole

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMAT = 1
IDS, STARTS, HEADER = "ids.bin", "starts.bin", "header.json"


class TokensError(Exception):
    """A tokenised corpus that cannot be read or written; the message names the file and the mend."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
    """What a corpus is. `tokenizer`: digest_of it; `bytes`: UTF-8 bytes of the texts; `sources`, `licences`: documents of each."""

    name: str
    language: str
    tokenizer: str
    end: int
    dtype: str
    documents: int
    tokens: int
    bytes: int
    sources: Mapping[str, int] = dataclasses.field(default_factory=dict)
    licences: Mapping[str, int] = dataclasses.field(default_factory=dict)
    sha256: Mapping[str, str] = dataclasses.field(default_factory=dict)
    format: int = FORMAT


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokens:
    """An open corpus: `ids_N` and `starts_D1` are maps of the files, read a page at a time as they are looked at."""

    header: Header
    directory: Path
    ids_N: Ids
    starts_D1: Offsets

    @classmethod
    def open(cls, directory: Path) -> Tokens:
        """Map a corpus. Raises TokensError for a directory that is none, a newer format, files that are not of the header's sizes."""
        try:
            header = Header(**json.loads((directory / HEADER).read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise TokensError(f"{directory} has no {HEADER}: it is no tokenised corpus, or one whose writing was cut off") from error
        except (ValueError, TypeError) as error:
            raise TokensError(f"{directory / HEADER} is damaged or of another format ({error}); tokenise the shards again") from error
        if header.format != FORMAT or header.dtype not in ("uint16", "uint32"):
            raise TokensError(f"{directory} is of format {header.format} ({header.dtype}); this version reads format {FORMAT}")
        ids = _mapped(directory / IDS, header.dtype, header.tokens)
        starts = _mapped(directory / STARTS, "int64", header.documents + 1)
        return cls(header=header, directory=directory, ids_N=cast(Ids, ids), starts_D1=cast(Offsets, starts))

    def verify(self) -> None:
        """Raise TokensError unless both files are, byte for byte, what was written."""
        for name, digest in self.header.sha256.items():
            if _sha256(self.directory / name) != digest:
                raise TokensError(f"{self.directory / name} is not what its header names: damaged; tokenise the shards again")


def _mapped(path: Path, dtype: str, length: int) -> npt.NDArray[Any]:
    kind = np.dtype(dtype).newbyteorder("<")
    found = path.stat().st_size if path.is_file() else -1
    if found != length * kind.itemsize:
        raise TokensError(f"{path} has {found} bytes, not the {length * kind.itemsize} of its header: cut off; tokenise the shards again")
    # a plain array over the map: slices of a memmap cost several times as much
    return np.memmap(path, kind, "r").view(np.ndarray) if length else np.empty(0, kind)


def dtype_of(vocabulary: int) -> str:
    """The narrower type that holds every id of a vocabulary of that many tokens."""
    return "uint16" if vocabulary <= 2**16 else "uint32"


def digest_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of what decides the ids: the tokenizer's whole state, whatever files it came from."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


class Writer:
    """Appends documents to the two files of a directory that is not a corpus yet.

    Opened on what an earlier writer left, it goes on after `documents` and `tokens`, and cuts off what stands beyond them. `close` writes
    the header. Raises TokensError where less stands there, and for ids that the type does not hold.
    """

    def __init__(self, directory: Path, dtype: str, end: int, documents: int = 0, tokens: int = 0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.end, self.documents, self.tokens = directory, end, documents, tokens
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._largest = np.iinfo(self._dtype).max
        with contextlib.ExitStack() as opened:  # closes what is open where one cannot be gone on with
            self._ids, self._starts = (
                opened.enter_context(_open_at(directory / name, size))
                for name, size in ((IDS, tokens * self._dtype.itemsize), (STARTS, documents * 8))
            )
            opened.pop_all()

    def add(self, ids: Sequence[int] | Ids) -> None:
        """One document, without its end-of-document token."""
        part = np.empty(len(ids) + 1, dtype=np.int64)
        part[:-1], part[-1] = ids, self.end
        if part.max() > self._largest or part.min() < 0:
            raise TokensError(f"{self.directory}: token {part.max()} does not fit {self._dtype.name}; is it of another tokenizer?")
        self._starts.write(np.array(self.tokens, dtype="<i8").tobytes())
        self._ids.write(part.astype(self._dtype).tobytes())
        self.documents += 1
        self.tokens += len(part)

    def sync(self) -> None:
        """Everything that was added is on the disk after this."""
        for file in (self._ids, self._starts):
            file.flush()
            os.fsync(file.fileno())

    def abandon(self) -> None:
        """Close the files; what was added since `sync` may or may not stand in them."""
        self._ids.close()
        self._starts.close()

    def close(self, **facts: Any) -> Header:
        """Make a corpus of it: `facts` are the header's fields that only the caller knows."""
        self._starts.write(np.array(self.tokens, dtype="<i8").tobytes())
        self.sync()
        self.abandon()
        sha256 = {name: _sha256(self.directory / name) for name in (IDS, STARTS)}
        header = Header(end=self.end, dtype=self._dtype.name, documents=self.documents, tokens=self.tokens, sha256=sha256, **facts)
        write_whole(self.directory / HEADER, json.dumps(dataclasses.asdict(header), ensure_ascii=False, indent=1) + "\n")
        return header


def write(
    directory: Path,
    documents: Iterable[Sequence[int] | Ids],
    *,
    dtype: str,
    end: int,
    counted: Mapping[str, Any] = MappingProxyType({}),
    **facts: Any,
) -> Tokens:
    """Write a corpus of tokenised documents, whole or not at all, and open it. `facts`: name, language, tokenizer, bytes and more of Header.

    `counted`: such facts as are known when the last document has been had, looked at then. Raises TokensError for a full disk.
    """
    aside = directory.with_name(f".{directory.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    writer = Writer(aside, dtype, end)
    try:
        for ids in documents:
            writer.add(ids)
        writer.close(**facts, **counted)
        aside.rename(directory)
    except BaseException as error:
        with contextlib.suppress(OSError):  # what waits in a buffer does not fit a full disk either
            writer.abandon()
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise TokensError(
                f"the disk is full: {directory} is not written; free some space and start again, what is whole is kept"
            ) from error
        raise
    return Tokens.open(directory)


def join(parts: Sequence[Tokens], name: str, language: str, budget: int) -> Corpus:
    """Several open corpora, in that order, as one portion."""
    ids_N = parts[0].ids_N if len(parts) == 1 else Joined([part.ids_N for part in parts])
    firsts = np.cumsum([0, *(part.header.tokens for part in parts)])
    starts = [part.starts_D1[:-1] + first for part, first in zip(parts, firsts, strict=False)]
    starts_D1 = parts[0].starts_D1 if len(parts) == 1 else np.concatenate([*starts, firsts[-1:]])
    licences = merge(part.header.licences for part in parts)
    return Corpus(name=name, language=language, ids_N=ids_N, starts_D1=starts_D1, budget=budget, licences=licences)


def merge(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts added up, sorted by name."""
    total: Counter[str] = Counter()
    for part in counts:
        total.update(part)
    return dict(sorted(total.items()))


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that it is there whole, on the disk, or not at all."""
    with whole(path) as aside:
        aside.write_text(text, encoding="utf-8")


def _open_at(path: Path, size: int) -> Any:
    file = path.open("r+b" if path.exists() else "w+b", buffering=2**20)
    if (found := os.fstat(file.fileno()).st_size) < size:
        file.close()
        raise TokensError(f"{path} has {found} bytes where {size} were written: it cannot be gone on with; remove its directory")
    file.truncate(size)
    file.seek(size)
    return file


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
