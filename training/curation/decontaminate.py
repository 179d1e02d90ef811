"""Takes evaluation text out of training text: a document goes, or its paragraphs, where most of an evaluation text stands in it.

    python -m training.curation ngrams --input eval.jsonl --output windows.npz      # once, of every text that a suite shows a model or lets it score
    python -m training.curation decontaminate --set decontaminate.ngrams=windows.npz ...

Compared are windows of bytes of normalised text (`training/windows.py`), as between training and evaluation. The file holds hashes,
no text. Hits are counted by evaluation text: a phrase that many share drops nothing until more than `share` of the windows of one text stand in
one document. An evaluation text shorter than a window is found where all of it stands; one shorter than half a window is a phrase and no text.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.curation.documents import CurationError, Document
from training.curation.engine import Engine
from training.curation.layer import Decision, Judge, Layer, shown
from training.whole import whole
from training.windows import SEPARATOR, WINDOW, normalised, shortest, window_hashes

if TYPE_CHECKING:
    from training.windows import Hashes

BLOCK = 1 << 22  # bytes hashed at once
AT_ONCE = 1 << 21  # texts of windows that are counted at once; a phrase may stand in very many
FORM = 1  # of the file
MADE = "make it with `python -m training.curation ngrams`"
SORTED = ("unique", "bounds", "text", "maybe")  # arrays of a length of windows

Ints = np.ndarray[Any, np.dtype[np.int64]]


def write_ngrams(texts: Iterable[tuple[str, str]], path: Path, n: int = WINDOW, *, least: int = 0) -> int:
    """Write the hashes of the windows of `n` bytes of evaluation texts (name, text), whole or not at all; returns how many texts are in it.

    Texts of fewer than `least` bytes (normalised; 0: half a window) are left out; texts that are equal so are one, under the first name. Equal input gives equal bytes.
    """
    least = least or shortest(n)
    if n < 1 or least < 1:
        raise CurationError(f"windows of {n} bytes and texts of at least {least}: both are 1 or more")
    names: dict[bytes, str] = {}
    for name, text in texts:
        if len(data := normalised(text)) >= least:
            names.setdefault(data, name)
    lengths = np.array([min(n, len(data)) for data in names], dtype=np.int64)
    own = [window_hashes(data, length) for data, length in zip(names, lengths.tolist(), strict=True)]
    arrays = {
        "form": np.array([FORM, n]),
        "names": np.array(list(names.values()), dtype=np.str_),
        "lengths": lengths,
        "windows": np.array([len(hashes) for hashes in own], dtype=np.int64),
        "hashes": np.concatenate([*own, np.zeros(0, dtype=np.uint64)]),
    }
    with whole(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return len(names)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Windows:
    """The windows of one length: `unique` hashes, sorted; `text[bounds[i]:bounds[i + 1]]` has those of the texts that have the i-th, sorted.

    Most windows of a document are in no evaluation text: one look into the small table `maybe` says so, without a search.
    """

    length: int
    unique: Any
    bounds: Any
    text: Any
    maybe: Any

    @classmethod
    def of(cls, length: int, hashes: Hashes, text: Ints) -> _Windows:
        """Sort the windows of texts (their numbers)."""
        order = np.lexsort((text, hashes))
        hashes, text = hashes[order], text[order]
        unique, starts = np.unique(hashes, return_index=True)
        size = 1 << min(28, max(10, int(16 * len(unique)).bit_length()))
        maybe = np.zeros(size, dtype=bool)
        maybe[unique & np.uint64(size - 1)] = True
        return cls(length=length, unique=unique, bounds=np.append(starts, len(hashes)), text=text, maybe=maybe)

    def met(self, block: bytes) -> tuple[Ints, Ints]:
        """Of a block's windows those that are known: their first bytes, and their places in `unique`."""
        found = window_hashes(block, self.length)
        at = np.flatnonzero(self.maybe[found & np.uint64(len(self.maybe) - 1)])
        place = np.minimum(np.searchsorted(self.unique, found[at]), len(self.unique) - 1)
        true = self.unique[place] == found[at]
        return at[true], place[true]

    def texts(self, places: Ints) -> tuple[Ints, Ints]:
        """The texts of windows, given as places in `unique`: (which of `places`, text), a row for each time that a text has the window."""
        counts = self.bounds[places + 1] - self.bounds[places]
        of = np.repeat(np.arange(len(places)), counts)
        within = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
        return of, self.text[self.bounds[places][of] + within]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Ngrams:
    """Evaluation texts, ready to be looked for: their names, how many windows each has, and the windows by length."""

    names: Any
    windows: Any
    tables: tuple[_Windows, ...]

    @classmethod
    def read(cls, path: Path) -> Ngrams:
        """Sort what is in a file that `write_ngrams` wrote. Raises CurationError for a file that is none."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                form, names, lengths, windows, hashes = (stored[name] for name in ("form", "names", "lengths", "windows", "hashes"))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CurationError(f"{path} holds no evaluation n-grams ({error}): {MADE}") from error
        if int(form[0]) != FORM or int(windows.sum()) != len(hashes):
            raise CurationError(f"{path} is of form {int(form[0])}, this version reads {FORM}: {MADE}")
        text, length = np.repeat(np.arange(len(names)), windows), np.repeat(lengths, windows)
        tables = tuple(_Windows.of(int(one), hashes[length == one], text[length == one]) for one in np.unique(length))
        return cls(names=names, windows=windows, tables=tables)

    def save(self, directory: Path) -> None:
        """Leave the sorted arrays, a file each."""
        np.save(directory / "names.npy", self.names)
        np.save(directory / "windows.npy", self.windows)
        for table in self.tables:
            for name in SORTED:
                np.save(directory / f"{table.length}-{name}.npy", getattr(table, name))

    @classmethod
    def mapped(cls, directory: Path) -> Ngrams:
        """What `save` left, mapped and not read: shards and processes share the pages."""

        def array(name: str) -> Any:
            return np.load(directory / f"{name}.npy", mmap_mode="r")

        lengths = sorted(int(path.name.partition("-")[0]) for path in directory.glob(f"*-{SORTED[0]}.npy"))
        tables = (_Windows(length=one, **{name: array(f"{one}-{name}") for name in SORTED}) for one in lengths)
        return cls(names=np.load(directory / "names.npy"), windows=array("windows"), tables=tuple(tables))

    def look(self, texts: Sequence[bytes], share: float) -> list[dict[int, float]]:
        """Of each normalised text the evaluation texts (by number) of whose windows it holds more than `share`, and how many of 1 it holds."""
        found: list[dict[int, float]] = []
        for part in _blocks(texts):
            starts = np.cumsum([0] + [len(data) + 1 for data in part])
            reached: list[dict[int, float]] = [{} for _ in part]
            for table in self.tables:
                at, place = table.met(SEPARATOR.join(part))
                # a window that a document holds twice is one of the evaluation text's all the same
                pairs = np.unique((np.searchsorted(starts, at, side="right") - 1) * len(table.unique) + place)
                for own in _few(pairs, table):
                    of, text = table.texts(own % len(table.unique))
                    counted, times = np.unique(own[of] // len(table.unique) * len(self.names) + text, return_counts=True)
                    document, number = np.divmod(counted, len(self.names))
                    shares = times / self.windows[number]
                    over = np.flatnonzero(shares > share)
                    for one, text_number, part_of in zip(
                        document[over].tolist(), number[over].tolist(), shares[over].tolist(), strict=True
                    ):
                        reached[one][text_number] = part_of
            found += reached
        return found

    def spans(self, data: bytes, texts: Collection[int]) -> tuple[Ints, Ints]:
        """(first bytes, bytes after) of the windows in a normalised text that evaluation texts (by number) have."""
        firsts, ends = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for table in self.tables:
            at, place = table.met(data)
            of, text = table.texts(place)
            own = at[np.unique(of[np.isin(text, list(texts))])]
            firsts.append(own)
            ends.append(own + table.length)
        return np.concatenate(firsts), np.concatenate(ends)


def _few(pairs: Ints, table: _Windows) -> Iterator[Ints]:
    """Pairs of a document and a window, in order, in parts whose windows have some AT_ONCE texts together; no document is in two parts."""
    place, document = pairs % max(len(table.unique), 1), pairs // max(len(table.unique), 1)
    rows = np.cumsum(table.bounds[place + 1] - table.bounds[place])
    start = 0
    while start < len(pairs):
        before = int(rows[start - 1]) if start else 0
        end = int(np.searchsorted(rows, before + AT_ONCE))
        end = int(np.searchsorted(document, document[min(end, len(pairs) - 1)], side="right"))
        yield pairs[start:end]
        start = end


def _blocks(texts: Sequence[bytes]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for data in texts:
        part.append(data)
        size += len(data)
        if size >= BLOCK:
            yield part
            part, size = [], 0
    if part:
        yield part


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decontaminate(Layer):
    """Drops a document that holds more than `share` of an evaluation text's windows, or with `cut` the paragraphs (lines) of it that do.

    `ngrams` is the file that `write_ngrams` wrote. With `cut`, a document of which no paragraph is left is dropped.
    """

    name = "decontaminate"
    cuts = True
    ngrams: str = ""
    share: float = 0.5
    cut: bool = False

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        if not 0 <= self.share < 1:
            raise CurationError(f"decontaminate.share is {self.share}: a share of an evaluation text, from 0 to below 1")

    def prepare(self, shards: Sequence[Path], work: Path, engine: Engine) -> None:
        """Sort the windows once. Raises CurationError where there is no file of them."""
        if not self.ngrams:
            raise CurationError(
                "decontaminate.ngrams names no file: give the one that `python -m training.curation ngrams` wrote, or leave the layer out"
            )
        Ngrams.read(Path(self.ngrams)).save(work)

    def judge(self, work: Path) -> Judge:
        """Judges by the windows that `prepare` left."""
        known = Ngrams.mapped(work)

        def judged(documents: Sequence[Document], shard: int, first: int) -> list[Decision]:
            found = known.look([normalised(document.text) for document in documents], self.share)
            return [self._decide(document, over, known) for document, over in zip(documents, found, strict=True)]

        return judged

    def _decide(self, document: Document, over: Mapping[int, float], known: Ngrams) -> Decision:
        if not over:
            return Decision(document=document)
        worst = min(over, key=lambda text: (-over[text], text))
        detail = f"{over[worst]:.0%} of {known.names[worst]}" + (f" and {len(over) - 1} more" if len(over) > 1 else "")
        counts = {"evaluation texts found": len(over)}
        if not self.cut:
            return Decision(reason="evaluation text", detail=detail, counts=counts)
        left, removed = self._without(document.text, known)
        counts["paragraphs cut"] = len(removed)
        if not left.strip():
            return Decision(reason="evaluation text", detail=detail, counts=counts)
        return Decision(document=dataclasses.replace(document, text=left), counts=counts, cut=shown(removed))

    def _without(self, text: str, known: Ngrams) -> tuple[str, list[str]]:
        """The text without the paragraphs that come from the texts found, and those paragraphs.

        Those go of which more than half is covered by windows of such a text; where there is none, the one that has most of them.
        What is left is looked at again, until no text is found.
        """
        paragraphs = text.split("\n")
        removed: list[str] = []
        while True:
            parts = [normalised(paragraph) for paragraph in paragraphs]
            data = b"".join(parts)
            (over,) = known.look([data], self.share)
            if not over:
                return "\n".join(paragraphs), removed
            sizes = np.array([len(part) for part in parts])
            ends = np.cumsum(sizes)
            edges = np.zeros(int(ends[-1]) + 1, dtype=np.int64)
            firsts, afters = known.spans(data, over)
            np.add.at(edges, firsts, 1)
            np.add.at(edges, afters, -1)
            covered = np.append(0, np.cumsum(np.cumsum(edges)[:-1] > 0))
            of_each = covered[ends] - covered[ends - sizes]
            mostly = 2 * of_each > sizes
            if not mostly.any():
                mostly[np.argmax(of_each)] = True
            removed += [paragraph for paragraph, goes in zip(paragraphs, mostly.tolist(), strict=True) if goes]
            paragraphs = [paragraph for paragraph, goes in zip(paragraphs, mostly.tolist(), strict=True) if not goes]
