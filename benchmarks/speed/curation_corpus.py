"""A generated crawl in five scripts with planted duplicates, and the truth about them: the same for everyone who asks for the same size.

    python -m benchmarks.speed.curation_corpus --documents 200000 --directory .seatrials/speed

Words are drawn by Zipf's law from a vocabulary for each language: function words and lexicon of the small world (training/world), then words that
a letter Markov chain of order 2 makes of those. So the texts read like no language, but have its letters, its frequencies and its word lengths.
Of the documents 65 % are texts of their own, 10 % copies, 10 % copies with edited words (as many as leave a similarity from 1 down to about .45),
15 % the same URL crawled again (half cut short, 30 % longer, 20 % another text). Pages of a site share lines, pages of a language others, and one
in twenty carries a passage that others carry too. A copy may stand before what it copies.

Every document is made from the seed and its number alone, so shards are written in any number of processes, and in little memory.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from training.curation.documents import Document, write
from training.curation.engine import Engine

FORM = 1  # moves when the same size and seed would give other documents
LANGUAGES = ("ind", "tha", "lao", "khm", "mya")  # one a script
KINDS = ("text", "exact", "near", "recrawl")
SHARES = (0.65, 0.10, 0.10, 0.15)
VOCABULARY = 12_000
SHARD = 10_000  # documents; small corpora are cut in four
MEAN_BYTES, SPREAD = 2_700, 0.8  # of a log-normal length
PASSAGES, LANGUAGE_LINES, PAGES_A_SITE = 200, 6, 100
SENTENCE, LINE, PHRASE = 1 / 14, 1 / 45, 1 / 9  # a word in so many ends one
STOPS = {"ind": ". ", "tha": " ", "lao": " ", "khm": "។ ", "mya": "။ "}
MOST_EDITED = 0.38  # share of the shingles that edits touch at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus on disk. `bytes` is of text, in UTF-8."""

    directory: Path
    documents: int
    bytes: int

    @property
    def shards(self) -> list[Path]:
        """Parquet shards, in the order of the documents' numbers."""
        return sorted((self.directory / "shards").glob("*.parquet"))

    def truth(self) -> dict[str, npt.NDArray[Any]]:
        """For each document: `kind` (an index into KINDS), `of` (the number of its original, its own for a text), `language`, `edits`."""
        return dict(np.load(self.directory / "truth.npz"))

    def texts(self, numbers: Sequence[int]) -> dict[int, str]:
        """The texts of some documents by their numbers."""
        import pyarrow.parquet

        found: dict[int, str] = {}
        wanted = np.unique(np.asarray(numbers, dtype=np.int64))
        size = shard_size(self.documents)
        for number, path in enumerate(self.shards):
            here = wanted[slice(*np.searchsorted(wanted, [number * size, (number + 1) * size]))]
            if len(here):
                column = pyarrow.parquet.read_table(path, columns=["text"]).column("text").take(here - number * size)
                found |= dict(zip(here.tolist(), column.to_pylist(), strict=True))
        return found


def shard_size(documents: int) -> int:
    """Documents in each shard but the last."""
    return min(SHARD, -(-documents // 4))


def identity(number: int) -> str:
    """The id of a document."""
    return f"page-{number:09d}"


def number_of(identity: str) -> int:
    """The number in a document's id."""
    return int(identity.rpartition("-")[2])


# ------------------------------------------------------------------------------------------------------------------ words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tongue:
    """A language's words, most frequent first, and how they are drawn."""

    iso: str
    words: npt.NDArray[np.object_]
    chances: npt.NDArray[np.float64]  # cumulative
    mean_bytes: float
    mean_letters: float

    def draw(self, rng: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
        """The numbers of `count` words."""
        return np.minimum(np.searchsorted(self.chances, rng.random(count)), len(self.words) - 1)

    @property
    def spaced(self) -> bool:
        """Whether spaces stand between words."""
        return self.iso == "ind"


@functools.cache
def tongue(iso: str) -> Tongue:
    """The vocabulary of a language; the same in every process."""
    from training.world.language import load

    world = load(iso)
    entries = [*world.function_words, *(word for group in world.lexicon.values() for word in group.values())]
    known = list(dict.fromkeys(word for entry in entries for word in entry.lower().split() if len(word) > 1))
    made = list(dict.fromkeys([*known, *_invented(known, iso)]))[:VOCABULARY]
    weights = 1 / (np.arange(len(made)) + 2.7)  # Mandelbrot's shift: the first word is one in thirty, not one in ten
    weights /= weights.sum()
    return Tongue(
        iso=iso,
        words=np.array(made, dtype=object),
        chances=np.cumsum(weights),
        mean_bytes=float(weights @ np.array([len(word.encode()) for word in made])),
        mean_letters=float(weights @ np.array([len(word) for word in made])),
    )


def _invented(known: Sequence[str], iso: str) -> Iterator[str]:
    """Words by the letters that follow each other in the known ones."""
    follows: dict[str, list[str]] = {}
    for word in known:
        for at, letter in enumerate(f"{word}\n"):
            follows.setdefault(word[max(0, at - 2) : at], []).append(letter)
    rng = np.random.default_rng([FORM, *iso.encode()])
    for _ in range(20 * VOCABULARY):
        word = ""
        for share in rng.random(16).tolist():
            after = follows[word[-2:]]
            letter = after[int(share * len(after))]
            if letter == "\n":
                break
            word += letter
        if len(word) > 2:
            yield word


# -------------------------------------------------------------------------------------------------------------- documents


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What each document is."""

    seed: int
    kind: npt.NDArray[np.uint8]
    of: npt.NDArray[np.int64]
    language: npt.NDArray[np.uint8]

    @property
    def sites(self) -> int:
        """How many sites the pages are from."""
        return max(3, len(self.kind) // PAGES_A_SITE)


@functools.lru_cache(maxsize=2)
def plan(documents: int, seed: int) -> Plan:
    """Kinds in their shares, in random order; originals are texts."""
    rng = np.random.default_rng([seed, FORM, 0])
    counts = [round(share * documents) for share in SHARES[1:]]
    kind = rng.permutation(np.repeat(np.arange(4), [documents - sum(counts), *counts]).astype(np.uint8))
    of = np.arange(documents)
    of[kind > 0] = rng.choice(np.flatnonzero(kind == 0), int((kind > 0).sum()))
    language = rng.integers(len(LANGUAGES), size=documents, dtype=np.uint8)
    return Plan(seed=seed, kind=kind, of=of, language=language[of])


def written(told: Tongue, rng: np.random.Generator, count: int, evenly: bool = False) -> tuple[list[str], list[str]]:
    """So many words and what stands after each; `evenly`: every word as often as any other."""
    words = told.words[rng.integers(len(told.words), size=count) if evenly else told.draw(rng, count)].tolist()
    gap = " " if told.spaced else ""
    stop = STOPS[told.iso]
    marks = np.array([f"{stop.rstrip()}\n", stop, ", " if told.spaced else " ", gap], dtype=object)
    marked = np.searchsorted(np.cumsum([LINE, SENTENCE, PHRASE]), rng.random(count))
    return words, marks[marked].tolist()


def joined(words: Sequence[str], marks: Sequence[str]) -> str:
    """The text of them."""
    parts = [""] * (2 * len(words))
    parts[::2], parts[1::2] = words, marks
    return "".join(parts).strip()


def _body(made: Plan, number: int, salt: int = 0) -> tuple[list[str], list[str]]:
    """The words of a text of its own."""
    rng = np.random.default_rng([made.seed, FORM, 1, number, salt])
    told = tongue(LANGUAGES[made.language[number]])
    size = min(40_000.0, float(rng.lognormal(np.log(MEAN_BYTES) - SPREAD**2 / 2, SPREAD)))
    return written(told, rng, max(25, int(size / (told.mean_bytes + 1))))


@functools.lru_cache(maxsize=50_000)
def passage(iso: str, seed: int, kind: int, number: int, least: int, most: int) -> str:
    """A line or passage that several pages carry."""
    rng = np.random.default_rng([seed, FORM, 2, kind, number, *iso.encode()])
    return joined(*written(tongue(iso), rng, int(rng.integers(least, most)))).replace("\n", " ")


def _framed(made: Plan, number: int, body: str) -> str:
    """A body between the lines of its site and its language, and now and then a passage that others carry."""
    rng = np.random.default_rng([made.seed, FORM, 3, number])
    iso = LANGUAGES[made.language[number]]
    site = int(rng.integers(made.sites))
    head = [passage(iso, made.seed, 10 + line, site, 4, 9) for line in range(2)]
    common = [passage(iso, made.seed, 20, line, 5, 12) for line in np.flatnonzero(rng.random(LANGUAGE_LINES) < 0.25).tolist()]
    shared = [passage(iso, made.seed, 30, int(rng.integers(PASSAGES)), 40, 90)] if rng.random() < 0.05 else []
    return "\n".join([*head, body, *shared, *common])


def _edited(words: list[str], marks: list[str], told: Tongue, rng: np.random.Generator) -> tuple[list[str], list[str], int]:
    """Words replaced, dropped and put in, each touching the shingles around it; and how many were."""
    touched, units = (5.0, len(words)) if told.spaced else (4 + told.mean_letters, len(words) * told.mean_letters)
    count = int(np.clip(round(rng.uniform(0, MOST_EDITED) * units / touched), 1, len(words) - 1))
    words, marks, new = list(words), list(marks), told.words[told.draw(rng, count)].tolist()
    for at, word, how in zip(rng.choice(len(words), count, replace=False).tolist(), new, rng.integers(3, size=count).tolist(), strict=True):
        words[at] = (word, "", f"{words[at]}{' ' if told.spaced else ''}{word}")[how]
        marks[at] = "" if how == 1 else marks[at]
    return words, marks, count


def text_of(made: Plan, number: int) -> tuple[str, int]:
    """(the text of a document, how many of its original's words were edited)."""
    of, kind = int(made.of[number]), KINDS[made.kind[number]]
    words, marks = _body(made, of)
    rng = np.random.default_rng([made.seed, FORM, 4, number])
    edits = 0
    if kind == "near":
        words, marks, edits = _edited(words, marks, tongue(LANGUAGES[made.language[number]]), rng)
    elif kind == "recrawl":
        how, size = rng.random(), len(words)
        more, between = _body(made, of, salt=1)
        if how < 0.5:
            keep = max(10, int(size * rng.uniform(0.3, 0.9)))
            words, marks = words[:keep], marks[:keep]
        elif how < 0.8:
            keep = max(5, int(size * rng.uniform(0.1, 0.6)))
            words, marks = words + more[:keep], marks + between[:keep]
        else:
            words, marks = more, between
    return _framed(made, of, joined(words, marks)), edits


def document(made: Plan, number: int) -> tuple[Document, int]:
    """A page, and how many words of its original were edited."""
    text, edits = text_of(made, number)
    again = KINDS[made.kind[number]] == "recrawl"
    at = int(made.of[number]) if again else number
    iso = LANGUAGES[made.language[number]]
    tail = ("", "?utm_source=feed", "#top")[number % 3] if again else ""
    url = f"https://site{at % made.sites}.example/{iso}/{at}{tail}"
    return Document(id=identity(number), text=text, url=url, language=iso, source=f"generated {iso}", licence="Apache-2.0"), edits


# ------------------------------------------------------------------------------------------------------------------ disk


def generate(root: Path, documents: int, seed: int = 0, workers: int = 0) -> Corpus:
    """The corpus of a size under `root`, made where it is not there yet; corpus.json is written last."""
    directory = root / f"corpus-{documents}"
    told = {"form": FORM, "documents": documents, "seed": seed}
    facts = directory / "corpus.json"
    if not facts.is_file() or {**json.loads(facts.read_text()), **told} != json.loads(facts.read_text()):
        (directory / "shards").mkdir(parents=True, exist_ok=True)
        facts.unlink(missing_ok=True)
        starts = range(0, documents, shard_size(documents))
        engine = Engine(workers=workers) if workers else Engine()
        parts = list(engine.map(functools.partial(_shard, directory=directory, documents=documents, seed=seed), starts))
        made = plan(documents, seed)
        edits = np.concatenate([edits for _, edits in parts])
        np.savez_compressed(directory / "truth.npz", kind=made.kind, of=made.of, language=made.language, edits=edits)
        facts.write_text(json.dumps({**told, "bytes": sum(size for size, _ in parts)}) + "\n")
    return Corpus(directory=directory, documents=documents, bytes=json.loads(facts.read_text())["bytes"])


def _shard(first: int, directory: Path, documents: int, seed: int) -> tuple[int, npt.NDArray[np.int32]]:
    """Write the shard that begins with document `first`: (bytes of text, edits of each document)."""
    made = plan(documents, seed)
    size = shard_size(documents)
    found = [document(made, number) for number in range(first, min(first + size, documents))]
    write(directory / "shards" / f"{first // size:05d}.parquet", [page for page, _ in found])
    return sum(len(page.text.encode()) for page, _ in found), np.array([edits for _, edits in found], dtype=np.int32)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.curation_corpus", description="Generate the corpus of a size.")
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    made = generate(given.directory, given.documents, given.seed)
    print(f"{made.documents:,} documents, {made.bytes / 1e6:.1f} MB of text, {len(made.shards)} shards in {made.directory}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
