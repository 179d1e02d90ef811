"""Exact substrings: passages of at least `least_bytes` that recur anywhere in the corpus are cut (section 3.3; SailCraft's third stage).

What counts as a passage, and how the same passages are found in every script, stands in `exact_windows.py`. Here: the texts of all shards in
one memory-mapped file in `work`, the passes over it, the cuts, and the judge that makes them. The rules:
- A window that recurs is cut everywhere but at its first place in the order of shards and rows (`keep` "first"), or everywhere ("none", as
  SailCraft does). A run that repeats itself, a line of dashes, is thereby cut to its first period. Matches never cross documents.
- What is cut is exactly what recurs, drawn in to whole characters; nothing is cut for the sake of a word or a line.
- Where text is left on both sides of a cut a newline joins it, unless one stands there already.
- A join makes text that was not there before and may recur itself, so rounds follow one another until nothing recurs: run on its own
  output the layer cuts nothing.
- A document is dropped where it was cut and less than `least_left` bytes are left of it.

`memory_mb` bounds the tables of all workers together and changes no result: less of it means more passes over the file, which has to lie
where every worker reaches `work`. Beside the tables stand a bit a byte of text, in files, and 8 bytes a document.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from training import parquet
from training.curation.documents import ROW_GROUP, CurationError, Document
from training.curation.layer import Decision, Judge, Layer, shown

if TYPE_CHECKING:
    from training.curation.engine import Engine

LEAST_WINDOW = 16  # bytes: below, a cut may be no longer than the characters at its ends and the newline in its place
FULL = 0.6  # of a table's slots are meant to be taken
ALONE_BYTES = 32 * 2**20  # less text is swept in one process: starting others takes longer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exact(Layer):
    """Cut what recurs. `scaled`: `least_bytes` is meant for scripts of one byte a character, and others are measured to match."""

    name: ClassVar[str] = "exact"
    version: ClassVar[int] = 1
    cuts: ClassVar[bool] = True

    least_bytes: int = 100
    scaled: bool = True
    keep: Literal["first", "none"] = "first"
    least_left: int = 20
    memory_mb: int = 1024

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.least_bytes < LEAST_WINDOW:
            raise CurationError(f"exact.least_bytes = {self.least_bytes}: windows have at least {LEAST_WINDOW} bytes")
        if self.keep not in ("first", "none"):
            raise CurationError(f'exact.keep = {self.keep!r}: "first" keeps the first of equals, "none" cuts them all')
        if not 0 <= self.least_left <= self.least_bytes:
            raise CurationError(
                f"exact.least_left = {self.least_left}: from 0 to exact.least_bytes, or kept first copies are dropped with it"
            )
        if self.memory_mb < 1:
            raise CurationError(f"exact.memory_mb = {self.memory_mb}: at least 1")

    def prepare(self, shards: Sequence[Path], work: Path, engine: Engine) -> None:
        """Leave the cuts of each round in `work`: `cuts-ROUND.npy` (document, start, end), beside where shards and documents start."""
        import numpy as np

        from training.curation import exact_windows

        firsts, offsets = _gather(shards, work / "texts-0.bin")
        np.save(work / "firsts.npy", firsts)
        np.save(work / "lengths.npy", np.diff(offsets))
        rule = exact_windows.ruler(self.least_bytes, self.scaled)
        number = 0
        while offsets[-1]:
            np.save(work / "offsets.npy", offsets)
            texts = work / f"texts-{number}.bin"
            text = np.asarray(np.memmap(texts, np.uint8, "r"))
            anchors = self._swept(work, texts, engine, "anchors", int(offsets[-1] * 2.4 / (rule.least - rule.gram + 1)))
            repeated = int(sum(np.bitwise_count(anchors[at : at + 2**24]).sum(dtype=np.int64) for at in range(0, len(anchors), 2**24)))
            if not repeated:
                break
            marks = self._swept(work, texts, engine, "windows", repeated * (rule.least - rule.gram + 2) // 2)
            cuts = exact_windows.covered(text, offsets, rule, marks)
            if not len(cuts):
                break
            np.save(work / f"cuts-{number}.npy", cuts)
            number += 1
            offsets = _rewritten(text, offsets, cuts, work / f"texts-{number}.bin")
            texts.unlink()
        for name in ("anchors", "windows", "offsets.npy", f"texts-{number}.bin"):
            (work / name).unlink(missing_ok=True)

    def _swept(self, work: Path, texts: Path, engine: Engine, kind: Literal["anchors", "windows"], expected: int) -> Any:
        """One sweep, in as many passes as memory and workers ask for; the marks, a bit a byte, in the file `kind`."""
        import numpy as np

        from training.curation.exact_windows import SLOT_BYTES

        workers = engine.workers if texts.stat().st_size > ALONE_BYTES else 1
        most = _power(self.memory_mb * 2**20 // SLOT_BYTES // workers)
        parts = max(workers, -(-expected // int(most * FULL)))
        slots = min(most, 2 * _power(int(expected / parts / FULL) + 1024))
        orders = [_Pass(layer=self, work=work, texts=texts, kind=kind, part=part, parts=parts, slots=slots) for part in range(parts)]
        made: Iterable[Path] = engine.map(_pass, orders) if workers > 1 else map(_pass, orders)
        path = work / kind
        total = np.memmap(path, np.uint8, "w+", shape=(texts.stat().st_size // 8 + 1,))
        for part_path in made:
            part = np.memmap(part_path, np.uint8, "r")
            for at in range(0, len(total), 2**24):
                total[at : at + 2**24] |= part[at : at + 2**24]
            del part
            part_path.unlink()
        return np.asarray(total)

    def judge(self, work: Path) -> Judge:
        """Cut each document as planned."""
        import numpy as np

        firsts, lengths = np.load(work / "firsts.npy"), np.load(work / "lengths.npy", mmap_mode="r")
        rounds = [np.load(work / f"cuts-{number}.npy", mmap_mode="r") for number in range(len(list(work.glob("cuts-*.npy"))))]
        owners = [np.ascontiguousarray(cuts[:, 0]) for cuts in rounds]

        def decide(documents: Sequence[Document], shard: int, first: int) -> list[Decision]:
            start = int(firsts[shard]) + first
            bounds = [np.searchsorted(owner, np.arange(start, start + len(documents) + 1)) for owner in owners]
            decisions = []
            for index, document in enumerate(documents):
                data = document.text.encode()
                if len(data) != lengths[start + index]:
                    raise CurationError(
                        f"document {document.id} (shard {shard}, row {first + index}) has {len(data)} bytes, and had {lengths[start + index]} "
                        "when the cuts were planned: the shards have changed; prepare the layer again"
                    )
                spans = [cuts[bound[index] : bound[index + 1], 1:].tolist() for cuts, bound in zip(rounds, bounds, strict=True)]
                decisions.append(self._decide(document, data, spans))
            return decisions

        return decide

    def _decide(self, document: Document, data: bytes, rounds: Sequence[Sequence[Sequence[int]]]) -> Decision:
        """One document, given the spans that each round cuts from it."""
        spans = [span for found in rounds for span in found]
        if not spans:
            return Decision(document=document)
        left, pieces = data, []
        for found in rounds:
            pieces += [left[start:end] for start, end in found]
            left = cut(left, found)
        counts = {"documents cut": 1, "spans cut": len(spans), "bytes cut": sum(end - start for start, end in spans)}
        remaining = len(left.strip())
        if remaining < max(1, self.least_left):
            return Decision(reason="repeated", detail=f"{remaining} of {len(data)} bytes are found nowhere before", counts=counts)
        gone = shown(piece.decode() for piece in pieces)
        return Decision(document=dataclasses.replace(document, text=left.decode()), counts=counts, cut=gone)


def cut(data: bytes, spans: Iterable[Sequence[int]]) -> bytes:
    """`data` without the `spans` (start, end; in order), a newline where two pieces meet and neither brings one."""
    left, at = bytearray(), 0
    for start, end in [*spans, (len(data), len(data))]:
        piece = data[at:start]
        if left and piece and not left.endswith(b"\n") and not piece.startswith(b"\n"):
            left += b"\n"
        left += piece
        at = end
    return bytes(left)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Pass:
    """One hash partition of one sweep, for any process that reaches `work`."""

    layer: Exact
    work: Path
    texts: Path
    kind: Literal["anchors", "windows"]
    part: int
    parts: int
    slots: int


def _pass(order: _Pass) -> Path:
    """Do a pass; returns the file of its marks."""
    import numpy as np

    from training.curation import exact_windows

    text = np.asarray(np.memmap(order.texts, np.uint8, "r"))
    wanted = None if order.kind == "anchors" else np.asarray(np.memmap(order.work / "anchors", np.uint8, "r"))
    path = order.work / f"{order.kind}-{order.part}"
    marks = np.memmap(path, np.uint8, "w+", shape=(len(text) // 8 + 1,))
    try:
        exact_windows.sweep(
            text,
            np.load(order.work / "offsets.npy"),
            exact_windows.ruler(order.layer.least_bytes, order.layer.scaled),
            wanted=wanted,
            keep_first=order.layer.keep == "first",
            part=order.part,
            parts=order.parts,
            slots=order.slots,
            marks=np.asarray(marks),
        )
    except MemoryError as error:
        raise CurationError(str(error)) from error
    marks.flush()
    return path


def _power(number: int) -> int:
    """The largest power of two that is no more than `number` (from 1)."""
    return 1 << (number.bit_length() - 1)


def _gather(shards: Sequence[Path], target: Path) -> tuple[Any, Any]:
    """Write the texts one after the other; returns the number of each shard's first document, and where in the file documents start."""
    import numpy as np
    import pyarrow
    import pyarrow.parquet

    firsts, lengths, count = [], [np.zeros(1, np.int64)], 0
    with target.open("wb") as file:
        for shard in shards:
            firsts.append(count)
            for batch in parquet.batches(pyarrow.parquet.ParquetFile(shard), ROW_GROUP, ["text"]):
                texts = batch.column(0).cast(pyarrow.large_string())
                if texts.null_count:
                    raise CurationError(
                        f"{shard}: a document without text among rows {count - firsts[-1]} to {count - firsts[-1] + len(texts)}"
                    )
                _, places, data = texts.buffers()
                bounds = (
                    np.frombuffer(places, np.int64)[texts.offset : texts.offset + len(texts) + 1] if len(texts) else np.zeros(1, np.int64)
                )
                if data is not None:
                    file.write(memoryview(data)[bounds[0] : bounds[-1]])
                lengths.append(np.diff(bounds))
                count += len(texts)
    return np.array(firsts, np.int64), np.cumsum(np.concatenate(lengths))


def _rewritten(text: Any, offsets: Any, cuts: Any, target: Path) -> Any:
    """Write the texts as a round leaves them; returns where documents start now."""
    import numpy as np

    lengths, done = np.diff(offsets), 0
    touched, firsts = np.unique(cuts[:, 0], return_index=True)
    bounds = [*firsts.tolist(), len(cuts)]
    with target.open("wb") as file:
        for index, document in enumerate(touched.tolist()):
            file.write(memoryview(text[offsets[done] : offsets[document]]))
            left = cut(text[offsets[document] : offsets[document + 1]].tobytes(), cuts[bounds[index] : bounds[index + 1], 1:].tolist())
            file.write(left)
            lengths[document] = len(left)
            done = document + 1
        file.write(memoryview(text[offsets[done] :]))
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
