"""One stream of packed rows for any number of workers, over corpora that need not fit memory, with caps on how often each is read.

The portion that lags furthest behind its share gives the next segment: the mixture of any few rows is close to the recipe's. The order of
each epoch is drawn from (seed, portion, epoch), so the whole state is four numbers a portion.

- Worker w of W gets rows w, w + W, ... of the stream. Rows that are another's are planned, not read. All workers have the same state
  after the same number of rows, and a state goes on at the same row with any other W.
- A portion stops at `most_epochs` readings of its corpus; its weight goes to the portions that are left, in proportion to theirs.
  Exhausted is raised where what is left fills no further row for every worker.
- The order of a corpus of more than IN_MEMORY documents is a permutation that is computed, not held.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from training.pretraining.packing import Corpus, PackingError, Place, Row

IN_MEMORY = 2**22  # documents whose order is drawn and held: 32 MiB a portion
BLOCK = 4096  # documents looked up at once
ROUNDS = 8

Places = npt.NDArray[np.int64]


class Exhausted(PackingError):
    """Every portion has been read as often as it may be; the message says so of each."""


class Permutation:
    """The numbers 0 .. size - 1 in an order that is computed where it is asked for: a Feistel network over a rectangle of a x b numbers.

    The rectangle is larger than `size` by less than a, and what falls outside is sent through again.
    """

    def __init__(self, size: int, seed: int, portion: int, epoch: int) -> None:
        self.size = size
        self.a = math.isqrt(max(size - 1, 0)) + 1
        self.b = -(-size // self.a)
        digest = hashlib.blake2b(f"{seed}/{portion}/{epoch}".encode(), digest_size=8 * ROUNDS).digest()
        self.keys = np.frombuffer(digest, dtype="<u8").reshape(ROUNDS, 1)

    def __getitem__(self, places: slice) -> Places:
        """The numbers at a slice of places, as int64."""
        found = self._once(np.arange(places.start, min(places.stop, self.size), dtype=np.uint64))
        while len(outside := np.flatnonzero(found >= self.size)):
            found[outside] = self._once(found[outside])
        return found.astype(np.int64)

    def _once(self, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = numbers // np.uint64(self.b), numbers % np.uint64(self.b)
        width, other = np.uint64(self.a), np.uint64(self.b)
        for key in self.keys:
            left, right = right, (left + _mixed(right + key) % width) % width  # modulo twice: the sum must not wrap
            width, other = other, width
        return left * np.uint64(self.b) + right


def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014): every bit of the input bears on every bit of the output."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class _Portion:
    """A corpus, its place, and the documents that come next in its order."""

    def __init__(self, corpus: Corpus, number: int, seed: int, most_epochs: float | None) -> None:
        self.corpus, self.number, self.seed = corpus, number, seed
        self.limit = None if most_epochs is None else math.floor(most_epochs * len(corpus.ids_N))
        self.place = Place()
        self._order: tuple[int, Places | Permutation] | None = None
        self._block: tuple[int, int] | None = None
        self._starts: list[int] = []
        self._ends: list[int] = []

    def document(self) -> tuple[int, int]:
        """Start and end of the document at the place."""
        epoch, position = self.place.epoch, self.place.position
        block = position // BLOCK
        if self._block != (epoch, block):
            documents = self._documents(epoch, slice(block * BLOCK, (block + 1) * BLOCK))
            self._starts = self.corpus.starts_D1[documents].tolist()
            self._ends = self.corpus.starts_D1[documents + 1].tolist()
            self._block = (epoch, block)
        return self._starts[position % BLOCK], self._ends[position % BLOCK]

    def _documents(self, epoch: int, places: slice) -> Places:
        if self._order is None or self._order[0] != epoch:
            order: Places | Permutation
            if self.corpus.documents <= IN_MEMORY:
                order = np.random.Generator(np.random.PCG64([self.seed, self.number, epoch])).permutation(self.corpus.documents)
            else:
                order = Permutation(self.corpus.documents, self.seed, self.number, epoch)
            self._order = (epoch, order)
        return self._order[1][places]

    def take(self, space: int) -> tuple[int, int]:
        """The next segment, of at most `space` tokens: start and end among the corpus' tokens."""
        place = self.place
        first, end = self.document()
        start = first + place.offset
        stop = min(end, start + space)
        if self.limit is not None:
            stop = min(stop, start + self.limit - place.taken)
        place.taken += stop - start
        place.offset += stop - start
        if stop == end:
            place.offset = 0
            place.position += 1
            if place.position == self.corpus.documents:
                place.position = 0
                place.epoch += 1
        return start, stop


class Stream:
    """Rows of `sequence` tokens of the portions that have a budget, for worker `worker` of `workers`.

    `most_epochs`: readings after which a portion stops, one number for all or by name, fractions allowed; a name that is not there has no
    cap. Raises PackingError where there is nothing to pack, or a cap names no portion.
    """

    def __init__(
        self,
        portions: Sequence[Corpus],
        sequence: int,
        seed: int,
        *,
        most_epochs: float | Mapping[str, float] | None = None,
        worker: int = 0,
        workers: int = 1,
    ) -> None:
        if sequence < 2:
            raise PackingError(f"rows of {sequence} tokens leave nothing to predict; set `sequence` to 2 or more")
        self.portions = [portion for portion in portions if portion.budget > 0]
        if not self.portions:
            raise PackingError("no portion has a token to give; give at least one a budget")
        if empty := [portion.name for portion in self.portions if not portion.documents]:
            raise PackingError(f"portion {empty[0]} has a budget of tokens and no document; give it text, or 0 tokens")
        names = [portion.name for portion in self.portions]
        if twice := [name for name in names if names.count(name) > 1]:
            raise PackingError(f"two portions are named {twice[0]}; the stream's state needs a name of its own for each")
        caps = most_epochs if isinstance(most_epochs, Mapping) else {} if most_epochs is None else dict.fromkeys(names, most_epochs)
        if unknown := sorted(caps.keys() - {portion.name for portion in portions}):
            raise PackingError(f"most_epochs caps {unknown[0]}, which is no portion; the portions are {', '.join(names)}")
        if bad := [name for name, cap in caps.items() if not cap > 0]:
            raise PackingError(f"most_epochs of {bad[0]} is {caps[bad[0]]}; to leave a portion out, give it a budget of 0")
        self.sequence, self.seed = sequence, seed
        self.deal(worker, workers)
        self._read = [_Portion(portion, number, seed, caps.get(portion.name)) for number, portion in enumerate(self.portions)]

    def deal(self, worker: int, workers: int) -> None:
        """Go on as one of so many workers; all of them do at the same row. Raises PackingError for a worker that there is not."""
        if not 0 <= worker < workers:
            raise PackingError(f"there is no worker {worker} of {workers}; workers are numbered from 0")
        self.worker, self.workers = worker, workers

    def row(self) -> Row:
        """The worker's next row. Raises Exhausted, of all workers at the same row."""
        if self.rows_left() == 0:
            told = (f"{part.corpus.name} {part.place.taken / len(part.corpus.ids_N):.2f} times" for part in self._read)
            raise Exhausted(f"the portions are read as often as they may be ({', '.join(told)}): raise most_epochs, or draw fewer tokens")
        planned = [self._plan() for _ in range(self.workers)][self.worker]
        ids_T = np.empty(self.sequence, dtype=np.int64)
        filled = 0
        for number, start, stop in planned:
            ids_T[filled : filled + stop - start] = self.portions[number].ids_N[start:stop]
            filled += stop - start
        return Row(ids_T=ids_T, lengths=tuple(stop - start for _, start, stop in planned))

    def rows(self, count: int) -> list[Row]:
        """The worker's next `count` rows."""
        return [self.row() for _ in range(count)]

    def rows_left(self) -> int | None:
        """How many more rows every worker can have; None where a portion has no cap."""
        left = 0
        for part in self._read:
            if part.limit is None:
                return None
            left += part.limit - part.place.taken
        return left // (self.sequence * self.workers)

    def _plan(self) -> list[tuple[int, int, int]]:
        """The next row of the stream: (portion, start, stop) of each segment, from the portion that lags furthest behind its share."""
        planned = []
        space = self.sequence
        while space:
            open_ = (part for part in self._read if part.limit is None or part.place.taken < part.limit)
            part = min(open_, key=lambda part: (part.place.taken / part.corpus.budget, part.number))
            start, stop = part.take(space)
            planned.append((part.number, start, stop))
            space -= stop - start
        return planned

    # ------------------------------------------------------------------------------------------------------------- state

    def state(self) -> dict[str, list[int]]:
        """The whole state as plain JSON: portion -> [taken, epoch, position, offset]; the same of every worker after as many rows."""
        return {part.corpus.name: list(dataclasses.astuple(part.place)) for part in self._read}

    def restore(self, state: Mapping[str, Sequence[int]]) -> None:
        """Take up a state of the same portions, sequence, seed and caps, whatever the workers. Raises PackingError for another's."""
        names = [portion.name for portion in self.portions]
        if list(state) != names:
            raise PackingError(f"the state is of portions {', '.join(state)}, not {', '.join(names)}")
        for part in self._read:
            place = Place(*state[part.corpus.name])
            held, part.place = part.place, place
            beyond = not 0 <= place.position < part.corpus.documents
            if not beyond:
                start, end = part.document()
                beyond = not 0 <= place.offset < end - start
            if beyond:
                part.place = held
                raise PackingError(f"the state of {part.corpus.name} points beyond its documents: it is of another corpus or seed")

    def facts(self) -> dict[str, dict[str, Any]]:
        """What was drawn so far by all workers, a portion: tokens, tokens in its documents, epochs over them, whether its cap is reached."""
        return {
            part.corpus.name: {
                "language": part.corpus.language,
                "tokens": part.place.taken,
                "documents": part.corpus.documents,
                "corpus_tokens": len(part.corpus.ids_N),
                "epochs": round(part.place.taken / len(part.corpus.ids_N), 4),
                "stopped": part.place.taken == part.limit,
            }
            for part in self._read
        }

    def languages(self) -> dict[str, dict[str, Any]]:
        """What was drawn so far, a language: tokens, tokens in its documents (those that portions share counted once), epochs over them."""
        found: dict[str, dict[str, Any]] = {}
        for language in dict.fromkeys(portion.language for portion in self.portions):
            of = [part for part in self._read if part.corpus.language == language]
            there = sum({id(ids): len(ids) for part in of for ids in part.corpus.parts}.values())
            drawn = sum(part.place.taken for part in of)
            found[language] = {"tokens": drawn, "corpus_tokens": there, "epochs": round(drawn / there, 4)}
        return found

    def licences(self) -> dict[str, dict[str, int]]:
        """Portion -> how many of its documents stand under each licence: what a checkpoint was trained on, for whoever passes it on."""
        return {portion.name: dict(portion.licences) for portion in self.portions}
