"""How token sequences become a trie, and the trie batches: what sequences begin with is read once, whoever they belong to.

Shots that all items of a task have, a passage of several questions, a context of several choices: each is a node, read once. Batches
are stretches of the trie in depth-first order, packed without padding; the keys and values of a node are kept for as long as later
batches go on from it. A node longer than a batch is read in pieces, so that neither width nor length of the input bears on memory.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

LEAST = 8  # tokens that a node must spare its children to stand by itself


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """A sequence of two tokens or more. All but its last are read, those from index `first` (at least 1) on are predicted."""

    tokens: tuple[int, ...]
    first: int


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """Tokens [begin, end) of the (sorted) lines [low, high), which all have them; `parent` is an index into the nodes before, or -1."""

    low: int
    high: int
    begin: int
    end: int
    parent: int


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """Columns [begin, end) of a batch, and [end, until): those that go on from them. `name` is known to later batches.

    They are the tokens from index `start` on of each of `lines`.
    """

    name: int
    begin: int
    end: int
    until: int
    start: int
    lines: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """N tokens to read and M predictions at P of them."""

    tokens: np.ndarray  # (N,) token ids
    positions: np.ndarray  # (N,) position of each in its own sequence
    spans: tuple[Span, ...]  # in order, side by side
    past: tuple[tuple[int, int], ...]  # (name, until): a span of an earlier batch from which columns [0, until) go on
    keep: frozenset[int]  # names of spans, of this batch or before, from which later batches go on
    picks: np.ndarray  # (P,) columns whose states predict, ascending
    rows: np.ndarray  # (M,) index into `picks`, ascending
    targets: np.ndarray  # (M,) the token predicted
    owners: np.ndarray  # (M,) index of the line
    finished: tuple[int, ...]  # lines whose last prediction this batch makes


def nodes(lines: Sequence[Line], least: int = LEAST) -> list[Node]:
    """The trie of sorted lines, depth first. A shared stretch shorter than `least` is left to each line to read."""
    import numpy as np

    arrays = [np.asarray(line.tokens[:-1]) for line in lines]
    shared = [0, *(_common(one, other) for one, other in itertools.pairwise(arrays))]
    found: list[Node] = []
    waiting = [(0, len(lines), 0, -1)]
    while waiting:
        low, high, begin, parent = waiting.pop()
        if high - low == 1:
            if len(arrays[low]) > begin:
                found.append(Node(low, high, begin, len(arrays[low]), parent))
            continue
        end = min(shared[low + 1 : high])
        same = len(arrays[high - 1]) == end > begin  # nothing but this stretch is read
        borders = [low, *(at for at in range(low + 1, high) if shared[at] == end), high]
        if same or end - begin >= least:
            found.append(Node(low, high, begin, end, parent))
            begin, parent = end, len(found) - 1
        waiting.extend((one, other, begin, parent) for one, other in reversed(list(itertools.pairwise(borders))))
    return found


def _common(one: np.ndarray, other: np.ndarray) -> int:
    most = min(len(one), len(other))
    apart = (one[:most] != other[:most]).nonzero()[0]
    return int(apart[0]) if len(apart) else most


def pieces(found: Sequence[Node], budget: int) -> list[Node]:
    """The same trie with nodes of at most `budget` tokens."""
    made: list[Node] = []
    last: list[int] = []  # of each node, its last piece
    for node in found:
        parent = last[node.parent] if node.parent >= 0 else -1
        for begin in range(node.begin, node.end, budget):
            made.append(Node(node.low, node.high, begin, min(node.end, begin + budget), parent))
            parent = len(made) - 1
        last.append(parent)
    return made


def plan(lines: Sequence[Line], budget: int, least: int = LEAST) -> Iterator[Batch]:
    """Batches of at most `budget` tokens that read every node once and make every prediction of every line."""
    order = sorted(range(len(lines)), key=lambda index: lines[index].tokens[:-1])
    ordered = [lines[index] for index in order]
    made = pieces(nodes(ordered, least), budget)
    last = [0] * len(lines)  # of each line, the last node on its path
    below = list(range(len(made)))  # of each node, the last that goes on from it
    for name, node in enumerate(made):
        last[node.low : node.high] = [name] * (node.high - node.low)
    for name in reversed(range(len(made))):
        if (parent := made[name].parent) >= 0:
            below[parent] = max(below[parent], below[name])
    start = 0
    while start < len(made):
        end, size = start, 0
        while end < len(made) and (end == start or size + made[end].end - made[end].begin <= budget):
            size += made[end].end - made[end].begin
            end += 1
        finished = [line for node in made[start:end] for line in range(node.low, node.high) if start <= last[line] < end]
        yield _batch(ordered, order, made, below, range(start, end), dict.fromkeys(finished))
        start = end


def _batch(
    lines: Sequence[Line], order: Sequence[int], made: Sequence[Node], below: Sequence[int], names: range, finished: Iterable[int]
) -> Batch:
    import numpy as np

    columns = {names.start: 0}
    for name in names:
        columns[name + 1] = columns[name] + made[name].end - made[name].begin
    picked: list[tuple[int, int, int]] = []  # column, target, line
    tokens: list[int] = []
    positions: list[np.ndarray] = []
    for name in names:
        node = made[name]
        tokens.extend(lines[node.low].tokens[node.begin : node.end])
        positions.append(np.arange(node.begin, node.end))
        shift = columns[name] - node.begin
        for line in range(node.low, node.high):
            whole = lines[line].tokens
            begin, end = max(node.begin, lines[line].first - 1), min(node.end, len(whole) - 1)
            picked.extend((at + shift, whole[at + 1], order[line]) for at in range(begin, end))
    past: list[tuple[int, int]] = []
    name = made[names.start].parent
    while name >= 0:
        past.append((name, columns[min(below[name] + 1, names.stop)]))
        name = made[name].parent
    picked.sort(key=lambda one: one[0])
    at, targets, owners = np.asarray(picked, dtype=np.int64).reshape(-1, 3).T
    picks, rows = np.unique(at, return_inverse=True)
    return Batch(
        tokens=np.asarray(tokens, dtype=np.int64),
        positions=np.concatenate(positions),
        spans=tuple(
            Span(
                name=name,
                begin=columns[name],
                end=columns[name + 1],
                until=columns[min(below[name] + 1, names.stop)],
                start=made[name].begin,
                lines=tuple(order[made[name].low : made[name].high]),
            )
            for name in names
        ),
        past=tuple(past),
        keep=frozenset(name for name in (*names, *(name for name, _ in past)) if below[name] >= names.stop),
        picks=picks,
        rows=rows,
        targets=targets,
        owners=owners,
        finished=tuple(order[line] for line in finished),
    )
