"""A curated corpus as it lies in its artifact, and what became in it of each record of the crawl.

shards/*.parquet           what was kept; the column `record` is the WARC record id
dropped/NN-LAYER/*.jsonl   what each layer dropped
truth.jsonl                what was planted (training/world/crawl_truth.py)
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.suites import SuiteError
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
    """The corpus of an artifact. Raises SuiteError naming what is missing or misshapen."""
    try:
        truths = crawl_truth.read(artifact / crawl_truth.FILE)
    except WorldError as error:
        raise SuiteError(f"suite {suite}: {error}") from error
    kept, outcomes = _kept(artifact, suite)
    steps = sorted(path for path in (artifact / "dropped").glob("*") if path.is_dir())
    if not steps:
        raise SuiteError(f"suite {suite}: {artifact} has no dropped/NN-LAYER; it is not what python -m training.curation run leaves")
    for step in steps:
        for row in _rows(step, suite):
            if record := row.get("record"):
                outcomes[record] = Outcome(end=step.name.partition("-")[2], reason=row.get("reason", ""))
    nowhere = Outcome(end=EXTRACT, reason="no document was made of it")
    planted = [(truth, outcomes.get(truth.record, nowhere)) for truth in truths]
    if not any(truth.record in outcomes for truth in truths):
        raise SuiteError(f"suite {suite}: not one of the {len(truths)} records of truth.jsonl is in {artifact}; it is of another crawl")
    return Corpus(kept=kept, layers=tuple(dict.fromkeys(step.name.partition("-")[2] for step in steps)), planted=planted)


def _kept(artifact: Path, suite: str) -> tuple[dict[str, list[Kept]], dict[str, Outcome]]:
    import pyarrow
    import pyarrow.parquet

    kept: dict[str, list[Kept]] = defaultdict(list)
    outcomes: dict[str, Outcome] = {}
    for path in sorted((artifact / "shards").glob("*.parquet")):
        try:
            rows = pyarrow.parquet.read_table(path).to_pylist()
        except (OSError, pyarrow.ArrowException) as error:
            raise SuiteError(f"suite {suite}: {path} cannot be read: {error}") from error
        for row in rows:
            document = Kept(id=row["id"], text=row["text"], language=row["language"] or "")
            kept[document.language].append(document)
            if record := row.get("record"):
                outcomes[record] = Outcome(end=KEPT, document=document)
    return kept, outcomes


def _rows(step: Path, suite: str) -> list[dict[str, str]]:
    found = []
    for path in sorted(step.glob("*.jsonl")):
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                found.append(dict(json.loads(line)))
            except (ValueError, TypeError) as error:
                raise SuiteError(f"suite {suite}: {path}, line {number}: {error}") from error
    return found


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
