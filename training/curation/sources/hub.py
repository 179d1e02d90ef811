"""Data sets of the Hub, from a local mirror, as documents: the reader of training's own sources, in curation's terms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.curation.documents import CurationError, Document
from training.recipe import HubText


def of_hub(source: HubText, hub: Path | None) -> Iterator[Document]:
    """The documents of a data set, its licence and language those of `source`; `cluster` names the tellings of one text. Raises CurationError."""
    from training.pretraining import sources

    try:
        for made in sources.read(source, hub, Path()):
            yield Document(
                id=made.id,
                text=made.text,
                language=made.language,
                source=made.source,
                licence=made.licence,
                extra={"cluster": made.cluster},
            )
    except sources.SourceError as error:
        raise CurationError(str(error)) from error
