"""Token statistics a language, as the paper's Tables 3 to 5 give them: what there is, and how often a mixture reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from training.pretraining.mapped import Header, TokensError

TOTAL = "total"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics:
    """A language's corpora together. `drawn`: tokens that a run draws of them, `epochs`: that over `tokens`; None where no run is looked at."""

    language: str
    documents: int
    bytes: int
    tokens: int
    drawn: int | None = None

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text a token; 0 where there is none."""
        return self.bytes / self.tokens if self.tokens else 0.0

    @property
    def epochs(self) -> float | None:
        """How often the run reads the corpora."""
        return None if self.drawn is None or not self.tokens else self.drawn / self.tokens


def statistics(corpora: Sequence[Header], drawn: Mapping[str, int] | None = None) -> list[Statistics]:
    """A row a language, most tokens first, and their total. `drawn`: tokens by name of corpus. Raises TokensError for a name of none."""
    if drawn is not None and (unknown := sorted(drawn.keys() - {corpus.name for corpus in corpora})):
        raise TokensError(f"tokens are drawn of {unknown[0]}, which is no corpus; there are {', '.join(corpus.name for corpus in corpora)}")
    rows = []
    for language in dict.fromkeys(corpus.language for corpus in corpora):
        rows.append(_row(language, [corpus for corpus in corpora if corpus.language == language], drawn))
    rows.sort(key=lambda row: (-row.tokens, row.language))
    return [*rows, _row(TOTAL, corpora, drawn)]


def _row(language: str, corpora: Sequence[Header], drawn: Mapping[str, int] | None) -> Statistics:
    return Statistics(
        language=language,
        documents=sum(corpus.documents for corpus in corpora),
        bytes=sum(corpus.bytes for corpus in corpora),
        tokens=sum(corpus.tokens for corpus in corpora),
        drawn=None if drawn is None else sum(drawn.get(corpus.name, 0) for corpus in corpora),
    )


def table(rows: Sequence[Statistics]) -> str:
    """The rows as text, columns aligned; what is drawn is left out where no run is looked at."""
    run = any(row.drawn is not None for row in rows)
    lines = [["language", "documents", "bytes", "tokens", "bytes/token", *(("drawn", "epochs") if run else ())]]
    for row in rows:
        cells = [row.language, f"{row.documents:,}", f"{row.bytes:,}", f"{row.tokens:,}", f"{row.bytes_per_token:.2f}"]
        if run:
            cells += [f"{row.drawn or 0:,}", "-" if row.epochs is None else f"{row.epochs:.2f}"]
        lines.append(cells)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]).rstrip()
        for line in lines
    )
