"""The text of proxies from curated shards: which documents a language's proxies train on, which are held out, and how much text there is in all.

Documents of a language stand in the order of the hash of their ids, whatever shards they lie in: the first `documents` are taken, and of these the
first are held out. None that has the id or the text of a held-out one is trained on. Memory holds what is taken: its text, then its token ids.
"""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training.curation.documents import CurationError, Quarantined, read
from training.curation.regmix.proxies import ProxyCorpora

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LEAST = 20  # documents to train on; a language of fewer is more likely a mistake of identification than one that a mixture is sought for
TOKENIZER_BYTES = 20 * 2**20  # most text of a language that a tokenizer is trained on


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """What is taken of each language: at most `documents`, of which `held_out` are held out: a share of them under 1, a number from 1 on."""

    languages: tuple[str, ...] = ()  # none named: all that the shards have
    documents: int = 1_000
    held_out: float = 24

    def __post_init__(self) -> None:
        """Refuse what leaves nothing to train on or to judge by."""
        if self.held_out <= 0 or (self.held_out >= 1 and self.held_out != int(self.held_out)):
            raise CurationError(f"--held-out {self.held_out:g}: a share of the documents taken, under 1, or a whole number of them")
        if self.documents - self.count(self.documents) < LEAST:
            raise CurationError(
                f"--documents {self.documents} with --held-out {self.held_out:g} leaves {self.documents - self.count(self.documents)} to train on, "
                f"{LEAST} are needed: take more, or hold out fewer"
            )
        if twice := [one for one in self.languages if self.languages.count(one) > 1]:
            raise CurationError(f"--languages names {twice[0]!r} twice")

    def count(self, documents: int) -> int:
        """How many of so many documents are held out."""
        return int(self.held_out) if self.held_out >= 1 else max(1, round(self.held_out * documents))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    """A language's texts of both sides. `documents` and `bytes` (of UTF-8) are of all its text in the shards."""

    language: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    documents: int
    bytes: int


@dataclasses.dataclass
class _Language:
    """What is known of a language while shards are read; the heap has the largest key on top."""

    documents: int = 0
    bytes: int = 0
    heap: list[tuple[int, int, str, str]] = dataclasses.field(default_factory=list)


def choose(shards: Sequence[Path], choice: Choice, tell: Callable[[str], None] = lambda line: None) -> list[Chosen]:
    """Read the shards once; the chosen texts by language, in the order of their codes.

    Raises CurationError for languages that are not there, and for those with too few documents.
    """
    found: dict[str, _Language] = {}
    unreadable: list[Quarantined] = []
    for number, shard in enumerate(shards, 1):
        for document in read(shard, unreadable.append):
            if choice.languages and document.language not in choice.languages:
                continue
            own = found.setdefault(document.language, _Language())
            own.documents += 1
            own.bytes += len(document.text.encode())
            if document.language:
                item = (-_hash(document.id), -_hash(document.text), document.id, document.text)
                if len(own.heap) < choice.documents:
                    heapq.heappush(own.heap, item)
                elif own.heap[0] < item:
                    heapq.heappushpop(own.heap, item)
        tell(f"read {number} of {len(shards)} shards")
    if lost := sum(not one.kept for one in unreadable):
        tell(f"{lost} rows could not be read; the first: {next(one for one in unreadable if not one.kept)}")
    if unknown := found.pop("", None):
        tell(f"{unknown.documents} documents without a language are left out")
    if missing := [language for language in choice.languages if language not in found]:
        raise CurationError(
            f"--languages {missing[0]}: the shards have no document of it; they are read by their column `language` (ISO 639-3)"
        )
    made = [_sides(language, found[language], choice) for language in sorted(found)]
    if poor := [one for one in made if len(one.train) < LEAST or not one.held_out]:
        raise CurationError(
            f"{', '.join(f'{one.language} ({one.documents} documents)' for one in poor)}: too few, {LEAST} to train on are needed beside those "
            f"held out ({choice.count(poor[0].documents)}); hold out fewer, or name the languages that you mean by --languages"
        )
    return made


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def _sides(language: str, found: _Language, choice: Choice) -> Chosen:
    ordered = sorted(found.heap, reverse=True)  # keys are negated
    count = choice.count(len(ordered))
    held = ordered[:count]
    ids, texts = {name for _, _, name, _ in held}, {text for _, _, _, text in held}
    train = tuple(text for _, _, name, text in ordered[count:] if name not in ids and text not in texts)
    return Chosen(language=language, train=train, held_out=tuple(text for *_, text in held), documents=found.documents, bytes=found.bytes)


def tokenizer_texts(chosen: Sequence[Chosen]) -> Iterator[str]:
    """What a tokenizer is trained on: as many bytes of each language as the poorest has to train on, and none that is held out."""
    most = min(TOKENIZER_BYTES, *(sum(len(text.encode()) for text in one.train) for one in chosen))
    for one in chosen:
        left = most
        for text in one.train:
            if left <= 0:
                break
            yield text
            left -= len(text.encode())


def tokenised(chosen: Sequence[Chosen], tokenizer: PreTrainedTokenizerBase) -> ProxyCorpora:
    """The chosen texts as token ids. Raises CurationError for a tokenizer whose tokens do not spell the bytes of the text."""
    corpora = ProxyCorpora.of(tokenizer, {one.language: (one.train, one.held_out) for one in chosen})
    normaliser = tokenizer.backend_tokenizer.normalizer
    for one, text in zip(chosen, corpora.texts, strict=True):
        plain = [normaliser.normalize_str(told) for told in one.held_out] if normaliser else one.held_out
        there = sum(len(told.encode()) for told in plain)
        spelled = sum(int(corpora.token_bytes_V[part].sum()) for part in text.held_out.parts)
        if there != spelled:
            raise CurationError(
                f"the tokens of --tokenizer spell {spelled} bytes where the held-out text of {one.language} has {there}, so bits a byte cannot be "
                "told: give a byte-level BPE without a prefix space (Qwen2.5's is one), or none, and one is trained"
            )
    return corpora


def raw_tokens(chosen: Sequence[Chosen], corpora: ProxyCorpora) -> dict[str, float]:
    """Language -> tokens of all its text in the shards, ends of documents too: as its documents taken have them a byte, exact where all are taken."""
    found = {}
    for one, text in zip(chosen, corpora.texts, strict=True):
        taken = sum(len(told.encode()) for told in (*one.train, *one.held_out))
        found[one.language] = float(round((len(text.train.ids_N) + len(text.held_out.ids_N)) * one.bytes / taken))
    return found
