"""The limits of the rules, a language each: parameters.toml beside this file, and a user's file of the same shape laid over it."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.curation.documents import CurationError

OURS = Path(__file__).with_name("parameters.toml")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What a language's documents are held to; ratios are of 1, ends included.

    `punctuation`, `url_words` and `longest_word` (characters; 0: any length) are modifications. `least_stopwords` 0 is no limit. `stopwords` are
    words between spaces; `flagged` holds where the user names a list.
    """

    punctuation: bool
    url_words: bool
    longest_word: int
    words: tuple[int, int]
    character_n: int
    character_repetition: float
    word_n: int
    word_repetition: float
    special: float
    least_stopwords: float
    flagged: float
    stopwords: str = ""


def load(path: str = "") -> dict[str, Limits]:
    """iso -> limits, and "default". A language's table is laid over `default`, the file at `path` over ours. Raises CurationError."""
    tables = _tables(OURS)
    for iso, table in (_tables(Path(path)) if path else {}).items():
        tables[iso] = {**tables.get(iso, {}), **table}
    default = tables["default"]
    return {iso: _limits(iso, {**default, **table}, path or str(OURS)) for iso, table in tables.items()}


def flagged_words(path: str) -> dict[str, list[str]]:
    """iso (or "default") -> words and phrases of the user's list; nothing for "". Raises CurationError."""
    found = _toml(Path(path)) if path else {}
    for iso, listed in found.items():
        if not isinstance(listed, list) or not all(isinstance(word, str) and word.strip() for word in listed):
            raise CurationError(f'{path}: {iso} is no list of words; write {iso} = ["word", "two words"]')
    return dict(found)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CurationError(f"{path} cannot be read as TOML: {error}") from error


def _tables(path: Path) -> dict[str, dict[str, Any]]:
    tables = _toml(path)
    if odd := [name for name, table in tables.items() if not isinstance(table, dict)]:
        raise CurationError(f"{path}: {odd[0]} stands outside a table; write it under [default] or a language's code, such as [khm]")
    return tables


def _limits(iso: str, table: Mapping[str, Any], path: str) -> Limits:
    """The table as limits; what it lacks, has too much or in the wrong type is named."""
    kinds: dict[str, Any] = {"bool": bool, "int": int, "float": (int, float), "str": str, "tuple[int, int]": list}
    fields = {field.name: kinds[str(field.type)] for field in dataclasses.fields(Limits)}
    if unknown := sorted(table.keys() - fields.keys()):
        raise CurationError(f"{path} [{iso}]: there is no parameter {unknown[0]!r}; the parameters are {', '.join(fields)}")
    for name, value in table.items():
        if not isinstance(value, fields[name]) or (isinstance(value, bool) and fields[name] is not bool):
            raise CurationError(f"{path} [{iso}]: {name} = {value!r} is a {type(value).__name__}")
    least_and_most = table["words"]
    if len(least_and_most) != 2 or not all(isinstance(bound, int) for bound in least_and_most) or least_and_most[0] > least_and_most[1]:
        raise CurationError(f"{path} [{iso}]: words = {least_and_most!r}; write the least and the most, such as [10, 100000]")
    if table["character_n"] < 1 or table["word_n"] < 1:
        raise CurationError(f"{path} [{iso}]: character_n and word_n are lengths of n-grams, 1 or more")
    return Limits(**{**table, "words": tuple(least_and_most)})
