"""From a recipe's portions to tokens: read, tokenise, close each document, and keep them in files (mapped.py) that a stream maps.

A killed build finds the sources that are whole when it starts again; text and tokens need not fit memory.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.pretraining.mapped import Tokens, TokensError, digest_of, dtype_of, join, write
from training.pretraining.packing import Corpus, Ids
from training.pretraining.ranks import ALONE, Ranks
from training.pretraining.sources import Document, SourceError, data_digest, name, read
from training.recipe import Portion, Source, digest, encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from training.run import Job

END_OF_DOCUMENT = "<|endoftext|>"
AT_ONCE = 512  # documents tokenised together
HASHED_AT_ONCE = 2**22  # tokens
TOKENS = "tokens"  # the directory, beside the snapshots
NOTE, DIGESTS = "ready.json", "digests.json"


def end_of_document(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that closes a document: `<|endoftext|>` where the vocabulary has it, else the end- or beginning-of-sequence token.

    It is the prefix that evaluation scores a document after. Raises SourceError where the tokenizer has none of them.
    """
    vocabulary = tokenizer.get_vocab()
    if END_OF_DOCUMENT in vocabulary:
        return int(vocabulary[END_OF_DOCUMENT])
    for candidate in (tokenizer.eos_token_id, tokenizer.bos_token_id):
        if candidate is not None:
            return int(candidate)
    raise SourceError(f"the tokenizer has none of {END_OF_DOCUMENT}, eos_token and bos_token: documents cannot be closed; add one to it")


def tokenise(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> Iterator[Ids]:
    """The token ids of each text, with no special token in them: a text that spells one out holds its characters, not the token."""
    backend = tokenizer.backend_tokenizer
    before, backend.encode_special_tokens = backend.encode_special_tokens, True
    truncation, padding = backend.truncation, backend.padding
    backend.no_truncation()
    backend.no_padding()
    try:
        for batch in _batched(texts, AT_ONCE):
            for encoding in backend.encode_batch_fast(batch, add_special_tokens=False):
                yield np.array(encoding.ids, dtype=np.uint32)
    finally:
        backend.encode_special_tokens = before
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)


def _batched(items: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def of_job(portions: Sequence[Portion], tokenizer: PreTrainedTokenizerBase, job: Job) -> tuple[list[Corpus], str]:
    """`build` where a job works: its text, its parents' corpora, its processes; the tokens lie beside its snapshots."""
    ranks = Ranks.join(job.device, job.sharding)
    place = job.resume / TOKENS
    return build(portions, tokenizer, job.hub, job.profile_dir, job.progress, place, ranks, job.device, curated=job.corpora)


def build(
    portions: Sequence[Portion],
    tokenizer: PreTrainedTokenizerBase,
    hub: Path | None,
    profile_dir: Path,
    progress: Callable[..., None],
    directory: Path,
    ranks: Ranks = ALONE,
    device: str = "cpu",
    curated: Mapping[str, Path] | None = None,
) -> tuple[list[Corpus], str]:
    """Tokenise every portion that has a budget into files under `directory`; returns corpora over their maps and a digest of the tokens.

    `curated`: stage -> directory of the corpus that it made; a directory of tokens is of one corpus (its stage's fingerprint names it).
    A source that several portions share (replay) is read and tokenised once. One whose file stands whole under `directory`, of the same text and
    tokenizer, is not tokenised again. Of several processes rank 0 writes. Raises SourceError, with the portion's name, and TokensError.
    """
    drawn = [portion for portion in portions if portion.tokens > 0]

    def work() -> tuple[list[list[str]], str]:
        shelf = _Shelf(directory, tokenizer, hub, profile_dir, curated)
        running = hashlib.sha256()
        names = []
        for number, portion in enumerate(drawn):
            progress("data", step=number, steps=len(drawn))
            try:
                found = [shelf.tokens(source) for source in portion.sources]
            except SourceError as error:
                raise SourceError(f"portion {portion.name}: {error}") from error
            for tokens in found:
                _update(running, tokens.ids_N)
            names.append([tokens.directory.name for tokens in found])
        shelf.tidy()
        return names, running.hexdigest()

    names, rows = ranks.by_first(work, directory / NOTE, device)
    opened = {name: Tokens.open(directory / name) for of_portion in names for name in of_portion}
    corpora = [
        join([opened[name] for name in of_portion], portion.name, portion.language, portion.tokens)
        for portion, of_portion in zip(drawn, names, strict=True)
    ]
    return corpora, rows


class _Shelf:
    """The tokenised sources under a directory, each in one of its own, named by what decides its ids."""

    def __init__(
        self,
        directory: Path,
        tokenizer: PreTrainedTokenizerBase,
        hub: Path | None,
        profile_dir: Path,
        curated: Mapping[str, Path] | None,
    ) -> None:
        self.directory, self.tokenizer, self.hub, self.profile_dir, self.curated = directory, tokenizer, hub, profile_dir, curated
        self.digest, self.end = digest_of(tokenizer), end_of_document(tokenizer)
        self.dtype = dtype_of(1 + max(tokenizer.get_vocab().values()))
        self.known: dict[Source, Tokens] = {}
        directory.mkdir(parents=True, exist_ok=True)
        for aside in directory.glob(".*"):  # half of a source, of a run that was killed: gone before its room is needed again
            if aside.is_dir():
                shutil.rmtree(aside, ignore_errors=True)

    def tokens(self, source: Source) -> Tokens:
        """The source's tokens, tokenised now where they do not stand whole yet."""
        if source not in self.known:
            text = data_digest(source, self.hub, self.profile_dir, self.directory / DIGESTS)
            place = self.directory / digest([encode(source), text, self.digest, self.end])[:24]
            self.known[source] = _whole(place) or self._write(source, place)
        return self.known[source]

    def _write(self, source: Source, place: Path) -> Tokens:
        counted: dict[str, Any] = {"bytes": 0, "sources": {}, "licences": {}}

        def texts() -> Iterator[str]:
            for document in read(source, self.hub, self.profile_dir, self.curated):
                counted["bytes"] += len(document.text.encode())
                for tally, of in ((counted["sources"], document.source), (counted["licences"], document.licence)):
                    tally[of] = tally.get(of, 0) + 1
                yield document.text

        ids = tokenise(self.tokenizer, texts())
        facts = {"name": name(source), "language": source.language, "tokenizer": self.digest}
        return write(place, ids, dtype=self.dtype, end=self.end, counted=counted, **facts)

    def tidy(self) -> None:
        """Remove what no source stands in: half-written files of a killed run, tokens of another text or tokenizer."""
        used = {tokens.directory for tokens in self.known.values()}
        for entry in self.directory.iterdir():
            if entry.is_dir() and entry not in used:
                shutil.rmtree(entry, ignore_errors=True)


def _whole(place: Path) -> Tokens | None:
    """The tokens that stand there, byte for byte as written; None, with nothing left there, where they are not."""
    if not place.exists():
        return None
    try:
        found = Tokens.open(place)
        found.verify()
    except TokensError as error:
        print(f"data: {error}: this is done now", file=sys.stderr)
        shutil.rmtree(place)
        return None
    return found


def _update(running: Any, ids_N: Ids) -> None:
    """Hash ids as uint32, whatever they are kept as."""
    for start in range(0, len(ids_N), HASHED_AT_ONCE):
        running.update(ids_N[start : start + HASHED_AT_ONCE].astype(np.uint32, copy=False))


def texts(documents: Iterable[Document]) -> Iterator[str]:
    """Their texts."""
    return (document.text for document in documents)
