"""Token statistics a language, as the paper's Tables 3 to 5 give them: what there is, and how often a mixture reads it.

    python -m training.pretraining.counts DIR... [--mixture mixture.csv --budget 450e9]

DIR is what `training.pretraining.tokens` wrote, or one corpus of it; corpora of one language are one row. With a mixture (`training.curation
mixture` writes one) and the tokens that a run reads in all, the table says how many are drawn of each language and how often that reads its text.
Under it stands, for each language, under which licences its documents are, and for a mixture what of the drawn tokens falls under each.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.pretraining.mapped import HEADER, Header, Tokens, TokensError

TOTAL = "total"
NOT_SAID = "(not said)"  # the licence of documents that name none


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
    """A row a language, most tokens first, and their total. `drawn`: tokens by language. Raises TokensError where there is no corpus of one."""
    languages = list(dict.fromkeys(corpus.language for corpus in corpora))
    if drawn is not None and (unknown := [language for language in drawn if language not in languages]):
        raise TokensError(f"tokens are drawn of {unknown[0]}, of which there is no corpus; there are {', '.join(languages)}")
    rows = []
    for language in languages:
        own = None if drawn is None else drawn.get(language, 0)
        rows.append(_row(language, [corpus for corpus in corpora if corpus.language == language], own))
    rows.sort(key=lambda row: (-row.tokens, row.language))
    return [*rows, _row(TOTAL, corpora, None if drawn is None else sum(drawn.values()))]


def _row(language: str, corpora: Sequence[Header], drawn: int | None) -> Statistics:
    return Statistics(
        language=language,
        documents=sum(corpus.documents for corpus in corpora),
        bytes=sum(corpus.bytes for corpus in corpora),
        tokens=sum(corpus.tokens for corpus in corpora),
        drawn=drawn,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Licensed:
    """The documents of a language under one licence, and their `share` of its documents; for a run the tokens drawn of them and those of the run.

    A corpus counts documents by licence, not tokens: what is drawn of a language falls on its licences as its documents do.
    """

    language: str
    licence: str
    documents: int
    share: float
    drawn: float | None = None
    of_run: float | None = None


def licensed(corpora: Sequence[Header], drawn: Mapping[str, int] | None = None) -> list[Licensed]:
    """A row a language and licence, languages in the order of `statistics`, most documents first; then the licences of all together."""
    *languages, total = statistics(corpora, drawn)
    rows: list[Licensed] = []
    for row in languages:
        counted: Counter[str] = Counter()
        for corpus in corpora:
            if corpus.language == row.language:
                counted.update({licence or NOT_SAID: documents for licence, documents in corpus.licences.items()})
        if unsaid := row.documents - counted.total():  # a corpus that was written without
            counted[NOT_SAID] += unsaid
        own = []
        for licence, documents in counted.items():
            share = documents / row.documents
            tokens = None if row.drawn is None else row.drawn * share
            of_run = tokens / total.drawn if tokens is not None and total.drawn else None
            own.append(Licensed(language=row.language, licence=licence, documents=documents, share=share, drawn=tokens, of_run=of_run))
        rows += sorted(own, key=_most)
    together: dict[str, tuple[int, float | None]] = {}
    for each in rows:
        documents, tokens = together.get(each.licence, (0, None if total.drawn is None else 0.0))
        together[each.licence] = (documents + each.documents, None if tokens is None else tokens + (each.drawn or 0.0))
    everything = [
        Licensed(
            language=TOTAL,
            licence=licence,
            documents=documents,
            share=documents / total.documents,
            drawn=tokens,
            of_run=None if tokens is None or not total.drawn else tokens / total.drawn,
        )
        for licence, (documents, tokens) in together.items()
    ]
    return rows + sorted(everything, key=_most)


def table(rows: Sequence[Statistics]) -> str:
    """The rows as text, columns aligned; what is drawn is left out where no run is looked at."""
    run = any(row.drawn is not None for row in rows)
    lines = [["language", "documents", "bytes", "tokens", "bytes/token", *(("drawn", "epochs") if run else ())]]
    for row in rows:
        cells = [row.language, f"{row.documents:,}", f"{row.bytes:,}", f"{row.tokens:,}", f"{row.bytes_per_token:.2f}"]
        if run:
            cells += [f"{row.drawn or 0:,}", "-" if row.epochs is None else f"{row.epochs:.2f}"]
        lines.append(cells)
    return _aligned(lines, 1)


def licence_table(rows: Sequence[Licensed]) -> str:
    """The rows as text; what is drawn is left out where no run is looked at."""
    run = any(row.drawn is not None for row in rows)
    lines = [["language", "licence", "documents", "share", *(("drawn", "of the run") if run else ())]]
    for row in rows:
        cells = [row.language, row.licence, f"{row.documents:,}", f"{row.share:.2%}"]
        if run:
            cells += [f"{row.drawn or 0:,.0f}", f"{row.of_run or 0:.2%}"]
        lines.append(cells)
    return _aligned(lines, 2)


def _most(row: Licensed) -> tuple[int, str]:
    return -row.documents, row.licence


def _aligned(lines: Sequence[Sequence[str]], names: int) -> str:
    """Cells in columns, the first `names` to the left."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < names else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def headers(directories: Sequence[Path]) -> list[Header]:
    """The headers of the corpora in directories, each itself a corpus or what the command wrote. Raises TokensError."""
    from training.pretraining.tokens import UNFINISHED

    found = []
    for directory in directories:
        if (directory / UNFINISHED).is_dir():
            raise TokensError(f"{directory} is not finished: give the command that writes it once more, it goes on")
        own = [directory] if (directory / HEADER).is_file() else sorted(path.parent for path in directory.glob(f"*/{HEADER}"))
        if not own:
            raise TokensError(f"{directory} holds no tokenised corpus; python -m training.pretraining.tokens makes one")
        found += [Tokens.open(one).header for one in own]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.pretraining.counts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpora", nargs="+", type=Path, metavar="DIR", help="what training.pretraining.tokens wrote, or one corpus of it")
    parser.add_argument("--mixture", type=Path, metavar="CSV", help="language,weight: the shares that a run draws by")
    parser.add_argument("--budget", type=float, metavar="TOKENS", help="tokens that the run reads in all; goes with --mixture")
    given = parser.parse_args(arguments)
    if (given.mixture is None) != (given.budget is None) or (given.budget is not None and not 1 <= given.budget < 1e18):
        parser.error("--mixture and --budget go together, and a budget is 1 token or more")
    from training.curation.documents import CurationError
    from training.curation.regmix import files

    try:
        drawn = files.in_tokens(files.read_mixture(given.mixture), round(given.budget)) if given.mixture else None
        corpora = headers(given.corpora)
        print(table(statistics(corpora, drawn)))
        print("\nlicences" + (", drawn tokens by their share of a language's documents" if drawn else ""))
        print(licence_table(licensed(corpora, drawn)))
    except (CurationError, TokensError) as error:
        print(f"counts: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
