"""A curated corpus as it lies in its artifact, and what became in it of each record of the crawl.

shards/*.parquet           what was kept; the column `record`, where there is one, is the WARC record id
dropped/NN-LAYER/*.jsonl   what each layer dropped
cut/NN-LAYER/sizes.jsonl   bytes before and after a layer that cuts, of a few documents
truth.jsonl                of the embedded crawl: what was planted (training/world/crawl_truth.py)
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.suites import SuiteError
from training import parquet
from training.world import crawl_truth
from training.world.crawl_truth import Truth
from training.world.language import WorldError

KEPT, EXTRACT = "kept", "extract"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """A document of the corpus."""

    id: str
    text: str
    language: str
    record: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a record: `end` is KEPT or the layer that dropped it, EXTRACT where it never was a document."""

    end: str
    reason: str = ""
    document: Kept | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """The kept documents by language, the layers in the order in which they ran, and each planted record with what became of it."""

    kept: Mapping[str, Sequence[Kept]]
    layers: tuple[str, ...]
    planted: Sequence[tuple[Truth, Outcome]]


def read(artifact: Path, suite: str) -> Corpus:
    """The corpus of an embedded crawl's artifact. Raises SuiteError naming what is missing or misshapen."""
    try:
        truths = crawl_truth.read(artifact / crawl_truth.FILE)
    except WorldError as error:
        raise SuiteError(f"suite {suite}: {error}; a crawl of your own has no truth: judge it with truth = False") from error
    languages: dict[str, list[Kept]] = defaultdict(list)
    outcomes: dict[str, Outcome] = {}
    for document in kept(artifact, suite):
        languages[document.language].append(document)
        if document.record:
            outcomes[document.record] = Outcome(end=KEPT, document=document)
    for step in steps(artifact, suite):
        for row in dropped(step, suite):
            if record := row.get("record"):
                outcomes[record] = Outcome(end=layer_of(step), reason=row.get("reason", ""))
    nowhere = Outcome(end=EXTRACT, reason="no document was made of it")
    planted = [(truth, outcomes.get(truth.record, nowhere)) for truth in truths]
    if not any(truth.record in outcomes for truth in truths):
        raise SuiteError(f"suite {suite}: not one of the {len(truths)} records of truth.jsonl is in {artifact}; it is of another crawl")
    return Corpus(kept=languages, layers=tuple(dict.fromkeys(map(layer_of, steps(artifact, suite)))), planted=planted)


def steps(artifact: Path, suite: str) -> list[Path]:
    """The directory of what each layer dropped, in the order in which they ran. Raises SuiteError where there is none."""
    found = sorted(path for path in (artifact / "dropped").glob("*") if path.is_dir())
    if not found:
        raise SuiteError(f"suite {suite}: {artifact} has no dropped/NN-LAYER; it is not what python -m training.curation run leaves")
    return found


def layer_of(step: Path) -> str:
    """The layer's name."""
    return step.name.partition("-")[2]


def kept(artifact: Path, suite: str) -> Iterator[Kept]:
    """The documents of the corpus, in order, a batch in memory at a time. Raises SuiteError."""
    import pyarrow
    import pyarrow.parquet

    for path in sorted((artifact / "shards").glob("*.parquet")):
        try:
            file = pyarrow.parquet.ParquetFile(path)
            columns = [name for name in ("id", "text", "language", "record") if name in file.schema_arrow.names]
            for batch in parquet.batches(file, 1024, columns):
                for row in batch.to_pylist():
                    yield Kept(id=row["id"], text=row["text"], language=row["language"] or "", record=str(row.get("record") or ""))
        except (OSError, KeyError, pyarrow.ArrowException) as error:
            raise SuiteError(f"suite {suite}: {path} cannot be read: {error}") from error


def dropped(step: Path, suite: str) -> Iterator[dict[str, Any]]:
    """What a layer dropped, in order: id, reason, excerpt, language, record. Raises SuiteError naming file and line."""
    for path in sorted(step.glob("*.jsonl")):
        yield from _lines(path, suite)


def _lines(path: Path, suite: str) -> Iterator[dict[str, Any]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield dict(json.loads(line))
            except (ValueError, TypeError) as error:
                raise SuiteError(f"suite {suite}: {path}, line {number}: {error}") from error


def sizes(artifact: Path, suite: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(layer, row) of the documents whose sizes are told: id, record, language, bytes, left. Raises SuiteError naming file and line."""
    for path in sorted((artifact / "cut").glob("*/sizes.jsonl")):
        for row in _lines(path, suite):
            yield layer_of(path.parent), row


def matched(planted: Sequence[tuple[Truth, Outcome]]) -> list[tuple[str, Truth, Outcome]]:
    """(place, truth, outcome) in the order of the truth, where one of a duplicate and its original may go, whichever it is.

    Which of two equal texts stays is the layer's own rule. Where the original went and its copy stayed, each is judged in the other's place.
    """
    at = {truth.record: number for number, (truth, _) in enumerate(planted)}
    found = [(truth.record, truth, outcome) for truth, outcome in planted]
    for number, (truth, outcome) in enumerate(planted):
        if truth.kind not in ("exact", "near") or outcome.end != KEPT or truth.favour not in at:
            continue
        place, original, its = found[at[truth.favour]]
        if its.end in truth.layers:
            found[at[truth.favour]] = (place, dataclasses.replace(original, text=truth.text), outcome)
            found[number] = (truth.record, dataclasses.replace(truth, text=original.text), its)
    return found
