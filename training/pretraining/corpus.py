"""From a recipe's portions to tokens: read, tokenise, close each document."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.pretraining.packing import Corpus, Ids
from training.pretraining.sources import Document, SourceError, read
from training.recipe import Portion

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

END_OF_DOCUMENT = "<|endoftext|>"
AT_ONCE = 512  # documents tokenised together


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


def build(
    portions: Sequence[Portion],
    tokenizer: PreTrainedTokenizerBase,
    hub: Path | None,
    profile_dir: Path,
    progress: Callable[..., None],
    curated: Mapping[str, Path] | None = None,
) -> tuple[list[Corpus], str]:
    """Tokenise every portion that has a budget; returns the corpora and a digest of the tokens in them.

    A source that several portions share (replay) is read and tokenised once. Raises SourceError, with the portion's name.
    """
    end = end_of_document(tokenizer)
    drawn = [portion for portion in portions if portion.tokens > 0]
    known: dict[Any, list[Ids]] = {}
    corpora: list[Corpus] = []
    running = hashlib.sha256()
    for number, portion in enumerate(drawn):
        progress("data", step=number, steps=len(drawn))
        try:
            for source in portion.sources:
                if source not in known:
                    known[source] = list(tokenise(tokenizer, texts(read(source, hub, profile_dir, curated))))
        except SourceError as error:
            raise SourceError(f"portion {portion.name}: {error}") from error
        documents = [ids for source in portion.sources for ids in known[source]]
        corpus = Corpus.of(portion.name, portion.language, documents, end, portion.tokens)
        running.update(corpus.ids_N.tobytes())
        corpora.append(corpus)
    return corpora, running.hexdigest()


def texts(documents: Iterable[Document]) -> Iterator[str]:
    """Their texts."""
    return (document.text for document in documents)
