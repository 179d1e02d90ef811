"""From curated shards to tokenised corpora, one a language.

    python -m training.pretraining.tokens SHARD... --tokenizer CHECKPOINT --output DIR

SHARD is a file, a directory or a pattern of JSONL or Parquet shards; each language's documents go, in order, to DIR/LANGUAGE (mapped.py);
those whose language is not known, or is no code, to DIR/und. Shards are streamed: memory holds some hundred documents. After each the files are on
the disk and DIR/.unfinished/journal.json says so; a run that was killed goes on after the last whole shard and ends with the same files. The
journal becomes DIR/tokens.json. counts.py says what a mixture draws of it. For several machines: each its own shards and DIR, and a reader of all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import re
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.curation.documents import CurationError, Document, Quarantined, files_of, read
from training.models.load import ModelError, load_tokenizer
from training.pretraining.corpus import end_of_document, tokenise
from training.pretraining.counts import statistics, table
from training.pretraining.mapped import HEADER, Header, Tokens, TokensError, Writer, digest_of, dtype_of, merge, write_whole
from training.pretraining.packing import Ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNFINISHED, JOURNAL, MANIFEST = ".unfinished", "journal.json", "tokens.json"
UNDETERMINED = "und"  # ISO 639-2
_CODE = re.compile(r"[A-Za-z]{2,8}([_-][A-Za-z0-9]{1,8})*")


@dataclasses.dataclass
class _Language:
    """What stands in a language's files after the last whole shard."""

    documents: int = 0
    tokens: int = 0
    bytes: int = 0
    sources: dict[str, int] = dataclasses.field(default_factory=dict)
    licences: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class _Journal:
    """How far the work is. `shards`: {"name", "sha256", "documents", "quarantined"} of each that is done, in order."""

    tokenizer: str
    end: int
    dtype: str
    shards: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    languages: dict[str, _Language] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> _Journal:
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**found, "languages": {code: _Language(**counts) for code, counts in found["languages"].items()}})

    def text(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1) + "\n"


def build(
    shards: Sequence[Path], tokenizer: PreTrainedTokenizerBase, output: Path, tell: Callable[[str], None] = lambda text: None
) -> list[Header]:
    """Tokenise the shards into `output`, or go on with it; the headers of its corpora, by language.

    Raises TokensError where `output` holds other shards or another tokenizer's tokens, or another process writes there.
    """
    start = _Journal(tokenizer=digest_of(tokenizer), end=end_of_document(tokenizer), dtype=dtype_of(len(tokenizer)))
    aside = output / UNFINISHED
    if (output / MANIFEST).is_file():
        journal = _Journal.read(output / MANIFEST)
        if _check(journal, start, shards, output) < len(shards):
            raise TokensError(f"{output} is complete, with {len(journal.shards)} shards of the {len(shards)} given; give another --output")
        tell(f"{output} holds these shards already")
        return _headers(output, journal)
    aside.mkdir(parents=True, exist_ok=True)
    with _alone(aside / "lock"):
        journal = _Journal.read(aside / JOURNAL) if (aside / JOURNAL).is_file() else start
        done = _check(journal, start, shards, output)
        if done:
            tell(f"going on after {done} of {len(shards)} shards")
        _append(journal, shards[done:], tokenizer, aside, lambda: tell(f"{len(journal.shards)} of {len(shards)} shards"))
        for code, counts in sorted(journal.languages.items()):
            _finish(code, counts, journal, aside, output)
        (aside / JOURNAL).replace(output / MANIFEST)
    shutil.rmtree(aside)
    return _headers(output, journal)


def _check(journal: _Journal, start: _Journal, shards: Sequence[Path], output: Path) -> int:
    """How many of the shards are done. Raises TokensError where the journal is of other work."""
    if (journal.tokenizer, journal.end, journal.dtype) != (start.tokenizer, start.end, start.dtype):
        raise TokensError(f"{output} holds tokens of another tokenizer; give another --output, or remove it")
    for number, known in enumerate(journal.shards):
        if number == len(shards) or _sha256(shards[number]) != known["sha256"]:
            given = "nothing" if number == len(shards) else shards[number].name
            raise TokensError(f"{output}: shard {number + 1} was {known['name']} and is now {given}, or was changed; give another --output")
    return len(journal.shards)


def _append(journal: _Journal, shards: Sequence[Path], tokenizer: PreTrainedTokenizerBase, aside: Path, told: Callable[[], None]) -> None:
    """Tokenise shard after shard; the journal is written when a shard is on the disk."""
    writers: dict[str, Writer] = {}
    try:
        for code, counts in journal.languages.items():
            if (aside / code).is_dir():
                writers[code] = Writer(aside / code, journal.dtype, journal.end, counts.documents, counts.tokens)
        for shard in shards:
            quarantined: list[Quarantined] = []
            here: dict[str, _Language] = {}
            for document, ids in _tokenised(tokenizer, read(shard, quarantined.append)):
                code = document.language if _CODE.fullmatch(document.language) else UNDETERMINED
                if code not in writers:
                    writers[code] = Writer(aside / code, journal.dtype, journal.end)
                writers[code].add(ids)
                counts = here.setdefault(code, _Language())
                counts.bytes += len(document.text.encode())
                for tally, name in ((counts.sources, document.source), (counts.licences, document.licence)):
                    tally[name] = tally.get(name, 0) + 1
            for code, counts in here.items():
                writers[code].sync()
                held = journal.languages.setdefault(code, _Language())
                held.documents, held.tokens = writers[code].documents, writers[code].tokens
                held.bytes += counts.bytes
                held.sources, held.licences = merge([held.sources, counts.sources]), merge([held.licences, counts.licences])
            documents = sum(sum(counts.sources.values()) for counts in here.values())
            journal.shards.append({"name": shard.name, "sha256": _sha256(shard), "documents": documents, "quarantined": len(quarantined)})
            write_whole(aside / JOURNAL, journal.text())
            told()
    finally:
        for writer in writers.values():
            writer.abandon()


def _tokenised(tokenizer: PreTrainedTokenizerBase, documents: Iterator[Document]) -> Iterator[tuple[Document, Ids]]:
    """Each document with its ids; as many wait as are tokenised together."""
    waiting: deque[Document] = deque()

    def texts() -> Iterator[str]:
        for document in documents:
            waiting.append(document)
            yield document.text

    for ids in tokenise(tokenizer, texts()):
        yield waiting.popleft(), ids


def _finish(code: str, counts: _Language, journal: _Journal, aside: Path, output: Path) -> None:
    """Make a corpus of a language's files and move it to its place; nothing to do where an earlier run was killed after that."""
    if not (aside / code).is_dir() and (output / code / HEADER).is_file():
        return
    writer = Writer(aside / code, journal.dtype, journal.end, counts.documents, counts.tokens)
    facts = {"bytes": counts.bytes, "sources": counts.sources, "licences": counts.licences}
    writer.close(name=code, language=code, tokenizer=journal.tokenizer, **facts)
    (aside / code).rename(output / code)


def _headers(output: Path, journal: _Journal) -> list[Header]:
    return [Tokens.open(output / code).header for code in sorted(journal.languages)]


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TokensError(f"another process is writing {path.parent.parent}; wait for it, or give another --output") from error
        yield


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.pretraining.tokens", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", nargs="+", metavar="SHARD", help="file, directory or pattern of JSONL or Parquet shards")
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="DIR", help="a checkpoint's directory, or one of tokenizer files")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where the corpora go; an unfinished one is gone on with")
    given = parser.parse_args(arguments)
    try:
        headers = build(files_of(given.shards), load_tokenizer(given.tokenizer), given.output, lambda text: print(text, file=sys.stderr))
    except (CurationError, ModelError, TokensError) as error:
        print(f"tokens: {error}", file=sys.stderr)
        return 1
    print(table(statistics(headers)))
    if lost := sum(shard["quarantined"] for shard in json.loads((given.output / MANIFEST).read_text())["shards"]):
        print(f"{lost} rows could not be read and are in no corpus; curation says which", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
