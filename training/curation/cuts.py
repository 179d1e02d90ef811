"""What layers cut from documents that stay, so that a person can judge it: a few samples, and the sizes of a few documents before and after.

    OUTPUT/cut/NN-NAME/samples.jsonl   id, language, what: at most SAMPLES different things a language (`Decision.cut`)
    OUTPUT/cut/NN-NAME/sizes.jsonl     id, record, language, bytes, left: at most SIZES documents a language that the layer kept (`Layer.cuts`)

Both are drawn by hash, things by their own and documents by their ids': the draw is the same whatever the shards, the workers and the order in which
shards are judged, and the parts of all shards are drawn together as if there were one.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from training.curation.documents import Document
from training.curation.layer import Decision

SAMPLES = 20
SIZES = 200
FILES = {"samples": SAMPLES, "sizes": SIZES}  # of a step, and how many rows a language each has

Row = dict[str, Any]


class _Drawn:
    """Of rows those of the `most` smallest keys; of one key the row that came first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: dict[int, Row] = {}
        self._keys: list[int] = []  # a heap, the largest key first

    def wants(self, key: int) -> bool:
        """Whether a row of this key would be among them."""
        return key not in self._rows and (len(self._keys) < self._most or key < -self._keys[0])

    def take(self, key: int, row: Row) -> None:
        """Take in a row that is wanted."""
        self._rows[key] = row
        if len(self._keys) < self._most:
            heapq.heappush(self._keys, -key)
        else:
            del self._rows[-heapq.heapreplace(self._keys, -key)]

    def rows(self) -> list[Row]:
        """They, by key."""
        return [row for _, row in sorted(self._rows.items())]


class Cuts:
    """What one layer cut, over some documents or some shards."""

    def __init__(self) -> None:
        self._drawn: dict[str, dict[str, _Drawn]] = {name: {} for name in FILES}

    def add(self, made: Document, decision: Decision, measured: bool) -> None:
        """A document and what became of it; `measured`, the layer is one whose sizes are told."""
        after = decision.document
        if after is None:
            return
        language = after.language or made.language
        for what in decision.cut:
            self._offer("samples", what, {"id": made.id, "language": language, "what": what})
        if measured and self._of("sizes", language).wants(_key(made.id)):
            record = str(made.extra.get("record", ""))
            sizes = {"bytes": len(made.text.encode()), "left": len(after.text.encode())}
            self._offer("sizes", made.id, {"id": made.id, "record": record, "language": language, **sizes})

    def facts(self) -> dict[str, list[Row]]:
        """The rows of both files, by language and key."""
        return {name: [row for _, drawn in sorted(found.items()) for row in drawn.rows()] for name, found in self._drawn.items()}

    @classmethod
    def joined(cls, parts: Iterable[Path]) -> Cuts:
        """What the facts of all shards, in order, come to."""
        cuts = cls()
        for path in parts:
            facts = json.loads(path.read_text(encoding="utf-8"))
            for name, of in (("samples", "what"), ("sizes", "id")):
                for row in facts[name]:
                    cuts._offer(name, row[of], row)
        return cuts

    def _of(self, name: str, language: str) -> _Drawn:
        return self._drawn[name].setdefault(language, _Drawn(FILES[name]))

    def _offer(self, name: str, of: str, row: Row) -> None:
        drawn, key = self._of(name, row["language"]), _key(of)
        if drawn.wants(key):
            drawn.take(key, row)


def _key(of: str) -> int:
    return int.from_bytes(hashlib.blake2b(of.encode(), digest_size=16).digest(), "big")
