"""Parallel text from a mirror of the Hub: FLORES-200, PUD, NusaX-MT and the Universal Declaration, as sentences with one id in all languages.

Each data set says which sentences are judged and which others may stand before them as shots; the two never meet. What is judged here no
recipe of ours trains on: of NusaX-MT's train part only the held-out tenth is used, and as shots; of the Declaration, by default, the
articles that `training.recipes.smol` holds out.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.lm_eval_data import rows
from harness.suites import SuiteError
from training.languages import LANGUAGES, by_code
from training.pretraining.select import RULES, SelectError, udhr_articles

FLORES_ROWS = {"dev": 997, "devtest": 1012}
FLORES_PLUS = {"tgl": "fil_Latn", "cmn": "cmn_Hans"}  # where FLORES+ has another code than FLORES-200
PUD_ROWS, PUD_SHOT_EVERY = 1000, 20
NUSAX_ROWS = {"train": 500, "valid": 100, "test": 400}
UDHR_SHOTS = (24, 28, 30)  # held out, and of one paragraph each
UDHR_ARTICLES = range(1, 31)

ALL = tuple(language.iso for language in LANGUAGES)
OF = {"flores200": ALL, "pud_mt": ("eng", "cmn", "ind", "tha"), "nusax_mt": ("eng", "ind", "jav", "sun"), "udhr_mt": ALL}
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """A data set in some languages. `texts` maps language -> sentence id -> what the field held; `clusters` id -> what is resampled."""

    texts: Mapping[str, Mapping[str, Any]]
    judged: Sequence[str]
    shots: Sequence[str]
    clusters: Mapping[str, str]
    rows: Mapping[str, int]  # rows read of each file
    unaligned: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # language -> what has no counterpart elsewhere


def read(data: str, languages: Sequence[str], hub: Path, part: str) -> Corpus:
    """The data set in these languages; `part` is what is judged. Raises SuiteError naming file and field, and the mend."""
    match data:
        case "flores200":
            return _flores(languages, hub)
        case "pud_mt":
            return _pud(languages, hub)
        case "nusax_mt":
            return _nusax(languages, hub, part)
    return _udhr(languages, hub, part)


def amiss(text: Any) -> str:
    """Why a sentence cannot be translated or judged, "" where it can."""
    if not isinstance(text, str):
        return f"it is {'null' if text is None else 'a ' + type(text).__name__}, not text"
    if not text.strip():
        return "it is empty"
    if _UNWRITABLE.search(text):
        return "it holds a NUL or a lone surrogate"
    return "it holds a line break" if len(text.strip().splitlines()) > 1 else ""


# -------------------------------------------------------------------------------------------------------------- the data sets


def _flores(languages: Sequence[str], hub: Path) -> Corpus:
    """The Hub's facebook/flores (configuration `all`, or one a language) or openlanguagedata/flores_plus; ids start with the split."""
    texts: dict[str, dict[str, Any]] = {language: {} for language in languages}
    read_rows = {}
    kept: dict[Path, list[dict[str, Any]]] = {}  # one file may hold all languages
    for language in languages:
        code = by_code(language).flores
        for split, count in FLORES_ROWS.items():
            plus = FLORES_PLUS.get(language, code)
            file, field = _first(
                hub,
                split,
                ("facebook/flores", "all", f"sentence_{code}"),
                ("facebook/flores", code, "sentence"),
                ("openlanguagedata/flores_plus", plus, "text"),
                ("openlanguagedata/flores_plus", code, "text"),
            )
            found = kept.get(file) or kept.setdefault(file, _rows(hub, file, count))
            read_rows[f"{file.relative_to(hub).as_posix()}:{field}"] = len(found)
            texts[language] |= _by_id(file, found, field, ("id",), f"{split}-")
    _same_ids(texts)
    ids = list(next(iter(texts.values())))
    return Corpus(
        texts=texts,
        judged=[one for one in ids if one.startswith("devtest-")],
        shots=[one for one in ids if one.startswith("dev-")],
        clusters={one: f"flores200#{one}" for one in ids},
        rows=read_rows,
    )


def _pud(languages: Sequence[str], hub: Path) -> Corpus:
    """1,000 sentences; every twentieth is kept for shots."""
    texts, read_rows = {}, {}
    for language in languages:
        dataset, short = "universal_dependencies", by_code(language).lid176
        file, field = _first(hub, "test", (dataset, f"pud/{language}", "text"), (dataset, f"{short}_pud", "text"))
        found = _rows(hub, file, PUD_ROWS)
        read_rows[file.relative_to(hub).as_posix()] = len(found)
        texts[language] = _by_id(file, found, field, ("id", "sent_id"), "")
    _same_ids(texts)
    ids = list(next(iter(texts.values())))
    pool = ids[::PUD_SHOT_EVERY]
    return Corpus(
        texts=texts,
        judged=[one for one in ids if one not in set(pool)],
        shots=pool,
        clusters={one: f"pud#{one}" for one in ids},
        rows=read_rows,
    )


def _nusax(languages: Sequence[str], hub: Path, split: str) -> Corpus:
    """A row holds the sentence in all languages. Shots: the tenth of `train` that the recipes hold out."""
    texts: dict[str, dict[str, Any]] = {language: {} for language in languages}
    parts: dict[str, list[str]] = {}
    read_rows = {}
    for which in (split, "train"):
        try:
            file, _ = _first(hub, which, ("indonlp/NusaX-MT", "parallel", ""))
        except SuiteError as error:
            raise SuiteError(f'{error}; or judge another part: split = "valid" or "test"') from error
        found = _rows(hub, file, NUSAX_ROWS[which])
        read_rows[file.relative_to(hub).as_posix()] = len(found)
        wanted = range(len(found)) if which != "train" else [at for _, (at, *_) in RULES["parallel_held_out"](found, "")]
        parts[which] = [f"{which}-{at}" for at in wanted]
        for language in languages:
            field = next((name for name in (language, by_code(language).name.lower()) if name in found[0]), "")
            if not field:
                raise SuiteError(f"{file} has no column {language} (it has {', '.join(found[0])}); fetch it again, or leave {language} out")
            texts[language] |= {f"{which}-{at}": found[at].get(field) for at in wanted}
    judged, shots = parts[split], parts["train"]
    return Corpus(texts=texts, judged=judged, shots=shots, clusters={one: f"nusax#{one}" for one in (*judged, *shots)}, rows=read_rows)


def _udhr(languages: Sequence[str], hub: Path, only: str) -> Corpus:
    """Paragraphs of articles. An id holds how many the article has in that language, so that one divided otherwise has no counterpart.

    Left out: the preamble, which translations divide each in their own way, and an article whose heading bears another number.
    """
    texts: dict[str, dict[str, Any]] = {}
    clusters: dict[str, str] = {}
    read_rows: dict[str, int] = {}
    shots: dict[str, None] = {}
    unaligned: dict[str, tuple[str, ...]] = {}
    for language in languages:
        file, field = _first(hub, "train", ("un/udhr", language, "text"))
        found = _rows(hub, file)
        read_rows[file.relative_to(hub).as_posix()] = len(found)
        for name in ("article", "kind", field):
            _column(file, found, name)
        try:
            groups = (udhr_articles if only == "all" else RULES["udhr_held_out"])(found, field)
        except SelectError as error:
            raise SuiteError(f"{file}: {error}") from error
        texts[language] = {}
        numbers = []
        for key, members in groups:
            number = int(key.rpartition("-")[2])
            headings = [str(found[at][field]) for at in members if found[at]["kind"] == "heading"]
            if number not in UDHR_ARTICLES or not _numbered(headings, number):
                continue
            numbers.append(number)
            paragraphs = [at for at in members if found[at]["kind"] != "heading"]
            for place, at in enumerate(paragraphs, 1):
                one = f"article-{number}.{place}of{len(paragraphs)}"
                texts[language][one], clusters[one] = found[at][field], f"udhr#article-{number}"
                if number in UDHR_SHOTS:
                    shots[one] = None
        expected = UDHR_ARTICLES if only == "all" else [number for number in UDHR_ARTICLES if number > 22]
        unaligned[language] = tuple(f"article-{number}" for number in expected if number not in numbers)
    ids = dict.fromkeys(one for found in texts.values() for one in found)
    return Corpus(
        texts=texts,
        judged=[one for one in ids if one not in shots],
        shots=list(shots),
        clusters=clusters,
        rows=read_rows,
        unaligned=unaligned,
    )


def _numbered(headings: Iterable[str], number: int) -> bool:
    """Whether the headings' digits, of any script, say this number; a heading without digits (Chinese) is believed."""
    said = [int(run) for heading in headings for run in re.findall(r"\d+", heading)]
    return not said or number in said


# ------------------------------------------------------------------------------------------------------------------- files


def _first(hub: Path, split: str, *wanted: tuple[str, str, str]) -> tuple[Path, str]:
    """The first of (data set, configuration, field) that the mirror has a file of, and the field."""
    for dataset, config, field in wanted:
        for suffix in (".jsonl", ".parquet"):
            if (path := hub / dataset / config / f"{split}{suffix}").is_file():
                return path, field
    names = " or ".join(f"{dataset}/{config}/{split}.jsonl" for dataset, config, _ in wanted)
    raise SuiteError(f"the mirror {hub} has no {names} (nor .parquet); fetch the data set there and list it in MANIFEST.json")


def _rows(hub: Path, file: Path, count: int | None = None) -> list[dict[str, Any]]:
    found = rows(hub, file)
    if not found or (count is not None and len(found) != count):
        raise SuiteError(f"{file} holds {len(found)} rows, the data set has {count or 'some'}; fetch the file again")
    return found


def _column(file: Path, found: Sequence[Mapping[str, Any]], field: str) -> Iterator[Any]:
    """The values of a column that every row must have. Raises SuiteError at once."""
    for number, row in enumerate(found, 1):
        if field not in row:
            raise SuiteError(
                f"{file}, row {number} has no field {field!r} (it has {', '.join(row)}); fetch the data set in the Hub's fields"
            )
    return (row[field] for row in found)


def _by_id(file: Path, found: Sequence[Mapping[str, Any]], field: str, keys: Sequence[str], prefix: str) -> dict[str, Any]:
    """Sentence id -> text. Raises SuiteError where an id is missing or stands twice."""
    key = next((name for name in keys if name in found[0]), keys[0])
    names = [f"{prefix}{value}" for value in _column(file, found, key)]
    if len(set(names)) < len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise SuiteError(f"{file}: the {key} {twice.removeprefix(prefix)} stands twice; fetch the file again")
    return dict(zip(names, _column(file, found, field), strict=True))


def _same_ids(texts: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise SuiteError unless every language has the same sentences."""
    (first, ours), *others = texts.items()
    for language, theirs in others:
        if apart := sorted(ours.keys() ^ theirs.keys()):
            raise SuiteError(f"{language} and {first} are not parallel: the sentence {apart[0]} stands in one alone; fetch both again")
