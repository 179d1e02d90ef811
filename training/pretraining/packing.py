"""Packed rows: documents of several portions, cut into rows of a fixed length with the lengths of what stands in them.

Every document is closed by the end-of-document token, which belongs to it. A document that meets the end of a row goes on in a later
row as a segment of its own, so that each segment attends to itself only and no token is lost or padded. The portion that lags
furthest behind its share gives the next segment: the mixture of any few rows is close to the recipe's.

The reader draws the order of each epoch from (seed, portion, epoch), so its whole state is four numbers a portion.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]


class PackingError(Exception):
    """Text that cannot fill the rows asked for; the message names the portion."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """The tokens of one portion, document after document, each with its end-of-document token.

    `ids_N`: all tokens. `starts_D1`: where each of the D documents starts, then N. `budget`: tokens to draw of it in the whole run.
    """

    name: str
    language: str
    ids_N: Ids
    starts_D1: Offsets
    budget: int

    @classmethod
    def of(cls, name: str, language: str, documents: Iterable[Sequence[int] | Ids], end: int, budget: int) -> Corpus:
        """Join tokenised documents, closing each with the token `end`."""
        parts: list[Ids] = []
        starts = [0]
        for ids in documents:
            part = np.empty(len(ids) + 1, dtype=np.uint32)
            part[:-1] = ids
            part[-1] = end
            parts.append(part)
            starts.append(starts[-1] + len(part))
        ids_N = np.concatenate(parts) if parts else np.empty(0, dtype=np.uint32)
        return cls(name=name, language=language, ids_N=ids_N, starts_D1=np.array(starts, dtype=np.int64), budget=budget)

    @property
    def documents(self) -> int:
        """D."""
        return len(self.starts_D1) - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One packed row: `ids_T` int64, and the lengths of its segments in order, which sum to T."""

    ids_T: npt.NDArray[np.int64]
    lengths: tuple[int, ...]


@dataclasses.dataclass
class Place:
    """Where the reader stands in a portion: tokens taken, epoch, document of that epoch, token of that document."""

    taken: int = 0
    epoch: int = 0
    position: int = 0
    offset: int = 0


class Reader:
    """An endless stream of rows of `sequence` tokens. Portions with no budget are not read.

    Raises PackingError where a portion has a budget and no documents, or none has a budget.
    """

    def __init__(self, portions: Sequence[Corpus], sequence: int, seed: int) -> None:
        if sequence < 2:
            raise PackingError(f"rows of {sequence} tokens leave nothing to predict; set the recipe's `sequence` to 2 or more")
        self.portions = [portion for portion in portions if portion.budget > 0]
        if not self.portions:
            raise PackingError("no portion has a token to give; set `tokens` of at least one portion")
        if empty := [portion.name for portion in self.portions if not portion.documents]:
            raise PackingError(f"portion {empty[0]} has a budget of tokens and no document; give it sources, or 0 tokens")
        names = [portion.name for portion in self.portions]
        if twice := [name for name in names if names.count(name) > 1]:
            raise PackingError(f"two portions are named {twice[0]}; the reader's state needs a name of its own for each")
        self.sequence, self.seed = sequence, seed
        self._places = [Place() for _ in self.portions]
        self._orders: list[tuple[int, npt.NDArray[np.int64]] | None] = [None] * len(self.portions)

    def row(self) -> Row:
        """The next row."""
        ids_T = np.empty(self.sequence, dtype=np.int64)
        lengths: list[int] = []
        filled = 0
        while filled < self.sequence:
            piece = self._next(self.sequence - filled)
            ids_T[filled : filled + len(piece)] = piece
            lengths.append(len(piece))
            filled += len(piece)
        return Row(ids_T=ids_T, lengths=tuple(lengths))

    def rows(self, count: int) -> list[Row]:
        """The next `count` rows."""
        return [self.row() for _ in range(count)]

    def _next(self, space: int) -> Ids:
        """The next segment, of at most `space` tokens, from the portion that lags furthest behind its share."""
        chosen = min(range(len(self.portions)), key=lambda index: (self._places[index].taken / self.portions[index].budget, index))
        portion, place = self.portions[chosen], self._places[chosen]
        document = self._order(chosen, place.epoch)[place.position]
        start, end = int(portion.starts_D1[document]) + place.offset, int(portion.starts_D1[document + 1])
        piece = portion.ids_N[start : min(end, start + space)]
        place.taken += len(piece)
        place.offset += len(piece)
        if start + len(piece) == end:
            place.offset = 0
            place.position += 1
            if place.position == portion.documents:
                place.position = 0
                place.epoch += 1
        return piece

    def _order(self, chosen: int, epoch: int) -> npt.NDArray[np.int64]:
        held = self._orders[chosen]
        if held is None or held[0] != epoch:
            generator = np.random.Generator(np.random.PCG64([self.seed, chosen, epoch]))
            held = (epoch, generator.permutation(self.portions[chosen].documents))
            self._orders[chosen] = held
        return held[1]

    # ------------------------------------------------------------------------------------------------------------- state

    def state(self) -> dict[str, list[int]]:
        """The reader's whole state as plain JSON: portion -> [taken, epoch, position, offset]."""
        return {
            portion.name: [place.taken, place.epoch, place.position, place.offset]
            for portion, place in zip(self.portions, self._places, strict=True)
        }

    def restore(self, state: dict[str, list[int]]) -> None:
        """Take up a state of a reader of the same portions, sequence and seed. Raises PackingError for another's."""
        if list(state) != [portion.name for portion in self.portions]:
            raise PackingError(f"the state is of portions {', '.join(state)}, not {', '.join(portion.name for portion in self.portions)}")
        self._places = [Place(*state[portion.name]) for portion in self.portions]

    def facts(self) -> dict[str, dict[str, Any]]:
        """What was drawn so far, a portion: tokens, tokens in its documents, epochs over them."""
        return {
            portion.name: {
                "language": portion.language,
                "tokens": place.taken,
                "documents": portion.documents,
                "corpus_tokens": len(portion.ids_N),
                "epochs": round(place.taken / len(portion.ids_N), 4),
            }
            for portion, place in zip(self.portions, self._places, strict=True)
        }


def cu_seqlens(rows: Sequence[Row]) -> npt.NDArray[np.int32]:
    """Boundaries of all segments of a batch, flattened row by row: 0, ..., B*T; every row boundary is among them."""
    lengths = [length for row in rows for length in row.lengths]
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
