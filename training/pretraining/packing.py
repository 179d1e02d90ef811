"""What rows are packed from and what they are: tokenised portions, rows of a fixed length with the lengths of what stands in them.

Every document is closed by the end-of-document token, which belongs to it. A document that meets the end of a row goes on in a later
row as a segment of its own, so that each segment attends to itself only and no token is lost or padded. `stream` packs.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]


class PackingError(Exception):
    """Text that cannot fill the rows asked for; the message names the portion."""


class Joined:
    """The ids of several arrays end to end, none of them copied. A slice lies in one of the arrays, as every document does."""

    def __init__(self, parts: Sequence[Ids]) -> None:
        self.parts = tuple(parts)
        self._firsts = [0]
        for part in self.parts:
            self._firsts.append(self._firsts[-1] + len(part))

    def __len__(self) -> int:
        return self._firsts[-1]

    def __getitem__(self, where: slice) -> Ids:
        index = bisect_right(self._firsts, where.start) - 1
        first = self._firsts[index]
        return self.parts[index][where.start - first : where.stop - first]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """The tokens of one portion, document after document, each with its end-of-document token.

    `ids_N`: all tokens. `starts_D1`: where each of the D documents starts, then N. `budget`: tokens to draw of it in the whole run. `licences`:
    documents under each, where that is known.
    """

    name: str
    language: str
    ids_N: Ids | Joined
    starts_D1: Offsets
    budget: int
    licences: Mapping[str, int] = dataclasses.field(default_factory=dict)

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

    @property
    def parts(self) -> tuple[Ids, ...]:
        """The arrays that the ids stand in: portions that share a source share its array."""
        return self.ids_N.parts if isinstance(self.ids_N, Joined) else (self.ids_N,)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One packed row: `ids_T` int64, and the lengths of its segments in order, which sum to T."""

    ids_T: npt.NDArray[np.int64]
    lengths: tuple[int, ...]


@dataclasses.dataclass
class Place:
    """Where a stream stands in a portion: tokens taken, epoch, document of that epoch, token of that document."""

    taken: int = 0
    epoch: int = 0
    position: int = 0
    offset: int = 0


def cu_seqlens(rows: Sequence[Row]) -> npt.NDArray[np.int32]:
    """Boundaries of all segments of a batch, flattened row by row: 0, ..., B*T; every row boundary is among them."""
    lengths = [length for row in rows for length in row.lengths]
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
