"""What a recipe says of its sources: where files come from, under which licence, and how text is taken out of them."""

from __future__ import annotations

import dataclasses
import fnmatch
from pathlib import Path
from typing import Any, Literal

from training.curation.documents import CurationError
from training.recipe import later


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """Of files whose name (or path, where the pattern has a slash) matches `pattern`: what documents do not state themselves.

    A data set of the mirror matches by the name it is given as (`hub:xquad/*`); its text is the column `field`, and `language` and
    `licence` are stated here, as its rows do not say them.

    `kind` says what the rows of a JSONL or Parquet file are: documents; `subtitles`, a line of a film each, the film named in `group`; or
    `pairs`, a sentence in `text` and its translation in the column `translation`, the document or film they are from in `group` ("": one).
    """

    pattern: str = "*"
    kind: Literal["documents", "subtitles", "pairs"] = "documents"
    source: str = ""
    licence: str = ""
    language: str = ""
    group: str = "film"
    translation: str = "translation"
    languages: str = ""
    field: str = later("text")

    def matches(self, path: Path) -> bool:
        """Whether a file is from here."""
        return fnmatch.fnmatchcase(path.as_posix() if "/" in self.pattern else path.name, self.pattern)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
    """How files become documents; the first of `origins` that matches a file is its own.

    Subtitles and pairs are joined in windows of `window` lines, one every `stride` (100 and, as the paper gives none, 100: no line twice).
    Pairs become code-switched documents in which `ratio` of the sentences stand in the second language, drawn by `seed`. `favour`,
    `comments` and `tables` are for the extraction of web pages. A record, page or subtitle file over `largest_record` bytes, or a
    PDF over `largest_pdf`, is quarantined.
    """

    origins: tuple[Origin, ...] = ()
    window: int = 100
    stride: int = 100
    ratio: float = 0.5
    seed: int = 0
    favour: Literal["balance", "precision", "recall"] = "balance"
    comments: bool = False
    tables: bool = True
    largest_record: int = 16 * 2**20
    largest_pdf: int = 256 * 2**20

    def __post_init__(self) -> None:
        """Take tables of a TOML for origins; refuse what cannot work."""
        given: tuple[Any, ...] = tuple(self.origins)
        object.__setattr__(self, "origins", tuple(Origin(**each) if isinstance(each, dict) else each for each in given))
        for origin in self.origins:
            if origin.kind not in ("documents", "subtitles", "pairs"):
                raise CurationError(
                    f"sources.origins, {origin.pattern!r}: its kind is {origin.kind!r}; write documents, subtitles or pairs"
                )
        if not 1 <= self.stride <= self.window:
            raise CurationError(f"sources.stride = {self.stride}: from 1 to sources.window ({self.window}), or lines are left out")
        if not 0 <= self.ratio <= 1:
            raise CurationError(f"sources.ratio = {self.ratio}: a share, from 0 to 1")
        if min(self.largest_record, self.largest_pdf) < 1:
            raise CurationError("sources.largest_record and sources.largest_pdf are numbers of bytes, at least 1")

    def origin(self, path: Path) -> Origin:
        """Where a file is from; nothing is known of one that no pattern matches."""
        return next((origin for origin in self.origins if origin.matches(path)), Origin())
