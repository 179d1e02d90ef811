"""Data sets of the Hub, from a local mirror, as documents: the reader of training's own sources, in curation's terms.

    --input hub:DATASET/CONFIG/SPLIT --hub DIR          the rows of DIR/DATASET/CONFIG/SPLIT.jsonl or .parquet, as many as its manifest says

Nothing of a mirror is quarantined: it holds what its manifest says, or it is at fault and the run ends with what is wrong. A set is read twice, first
to check and count it, and never held: JSONL by lines, Parquet by row groups.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from training.curation.documents import CurationError, Document
from training.curation.sources.settings import Sources
from training.recipe import HubText

PREFIX = "hub:"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mirrored:
    """A data set among the inputs of a run: its rows, the mirror, and what its documents name as their source ("": the data set)."""

    text: HubText
    hub: Path
    source: str = ""


def mirrored(named: str, settings: Sources, hub: Path | None) -> tuple[Path, Mirrored]:
    """The file and the data set that `hub:DATASET/CONFIG/SPLIT` names, as its Origin tells it. Raises CurationError that says what to add."""
    from training.pretraining import sources

    parts = named.removeprefix(PREFIX).split("/")
    if len(parts) < 3 or not all(parts):
        raise CurationError(
            f"--input {named}: a data set of the mirror is hub:DATASET/CONFIG/SPLIT, e.g. hub:google/xquad/xquad.th/validation"
        )
    if hub is None:
        raise CurationError(f"--input {named} is read from a local mirror of the Hub: give --hub DIR or set SEATRIALS_HUB")
    dataset, config, split = "/".join(parts[:-2]), parts[-2], parts[-1]
    origin = settings.origin(Path(named))
    if origin.kind != "documents":
        raise CurationError(f"--input {named}: its origin {origin.pattern!r} is of {origin.kind}; a data set of the mirror is of documents")
    if not (origin.licence and origin.language):
        lines = ["[[sources.origins]]", f'pattern = "{PREFIX}{dataset}/*"', f'field = "{origin.field}"']
        lines += [f'licence = "{origin.licence or "..."}"', f'language = "{origin.language or "..."}"']
        raise CurationError(
            f"--input {named}: its rows do not state their licence and language; add to the recipe, before an origin that matches it too:\n"
            + "\n".join(lines)
            + f"\n(without a recipe: --set 'sources.origins=[{{{', '.join(lines[1:])}}}]')"
        )
    text = HubText(dataset=dataset, config=config, split=split, field=origin.field, language=origin.language, licence=origin.licence)
    try:
        return sources.hub_path(text, hub).absolute(), Mirrored(text=text, hub=hub.absolute(), source=origin.source)
    except sources.SourceError as error:
        raise CurationError(f"--input {named}: {error}") from error


def documents_of_set(found: Mirrored, skipped: Counter[str]) -> Iterator[Document]:
    """The documents of an input; rows that are blank, which training's reader leaves out, are counted. Raises CurationError."""
    from training.pretraining import sources

    count = 0
    for made in of_hub(found.text, found.hub, found.source):
        count += 1
        yield made
    rows = sources.manifest(found.hub)[sources.hub_path(found.text, found.hub).relative_to(found.hub).as_posix()]["rows"]
    if blank := rows - count:
        skipped["a row of the mirror without text"] += blank


def of_hub(source: HubText, hub: Path | None, named: str = "") -> Iterator[Document]:
    """The documents of a data set, licence and language those of `source`; `named` is their source, else the data set is. Raises CurationError.

    `cluster` names the tellings of one text.
    """
    from training.pretraining import sources

    try:
        for made in sources.read(source, hub, Path()):
            yield Document(
                id=made.id,
                text=made.text,
                language=made.language,
                source=named or made.source,
                licence=made.licence,
                extra={"cluster": made.cluster},
            )
    except sources.SourceError as error:
        raise CurationError(str(error)) from error
