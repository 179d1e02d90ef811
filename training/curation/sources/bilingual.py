"""Bilingual pairs into code-switched documents: the sentences of one telling, each in one of the two languages (section 3.1).

A document holds a window of pairs in their order, as subtitles do, and never crosses from one text or film into another. The share of
sentences in the second language is the recipe's `ratio`, met to the nearest sentence in every document; which ones is drawn by the seed and
the document's id, so it depends on nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from training.curation.documents import Document, Quarantine, Quarantined
from training.curation.sources.settings import Origin, Sources
from training.curation.sources.subtitles import films, windows


def of_rows(rows: Iterable[Document], path: Path, settings: Sources, origin: Origin, quarantine: Quarantine) -> Iterator[Document]:
    """The code-switched documents of a file of pairs; their language is "" (they have two) and `languages` says which."""

    def paired(found: Iterable[Document]) -> Iterator[Document]:
        for row in found:
            if isinstance(second := row.extra.get(origin.translation), str) and second.strip():
                yield row
            else:
                reason = f"row {row.id} has no translation: `{origin.translation}` is {second!r:.40}"
                quarantine(Quarantined(file=str(path), row=row.place.row, offset=row.place.offset, reason=reason))

    texts = films(rows, path, origin.group, quarantine) if origin.group else iter([(1, "", iter(rows))])
    for number, name, found in texts:
        for part, window in enumerate(windows(paired(found), settings.window, settings.stride), 1):
            key = f"{path.name}#{number}:{part}"
            pairs = [(" ".join(row.text.split()), " ".join(row.extra[origin.translation].split())) for row in window]
            yield Document(
                id=key,
                text="\n".join(switched(pairs, settings.ratio, f"{settings.seed}:{key}")),
                url=window[0].url,
                source=window[0].source,
                licence=window[0].licence,
                extra={"languages": origin.languages} | ({origin.group: name} if origin.group else {}),
                place=window[0].place,
            )


def switched(pairs: Sequence[tuple[str, str]], ratio: float, seed: str) -> list[str]:
    """One sentence of each pair, in order: the second of `ratio` of them, to the nearest whole number, drawn by `seed`."""
    second = set(random.Random(seed).sample(range(len(pairs)), int(ratio * len(pairs) + 0.5)))
    return [pair[index in second] for index, pair in enumerate(pairs)]
