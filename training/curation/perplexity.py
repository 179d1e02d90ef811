"""Perplexity: drops the documents of a language that a model of it finds least likely.

    python -m training.curation perplexity --input pool/ --output out/ --set perplexity.share=0.9 perplexity.text=good-text/

Where `models` names a directory of KenLM models (LANGUAGE.arpa.bin, .binary, .bin, .arpa or .klm, and LANGUAGE.sp.model where the model is of SentencePiece
pieces; LANGUAGE any code of the language, as SailCraft's id.arpa.bin), a language that has one is judged by it, in perplexity a token. Every other
language is judged by a character model (`characters.py`) that is made of the documents of `text`, or of the embedded world where none are given, in bits a
character. The two scales never meet: documents are compared within their language.

A model of SentencePiece pieces reads a text in the form in which SailCraft (`code/data_cleaning/filtering.py`, commit 664a924; after CCNet, Wenzek et al. 2020)
gives it to its models, for which its ceilings are meant (`sailcraft_form`). SailCraft rounds the perplexity to a decimal before it compares; here it is compared
as it is. facts/NN-perplexity/perplexity.json says of each language by which model it was judged, and what the worst kept and the best dropped have.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from training.curation import ranking
from training.curation.characters import CharacterModel
from training.curation.documents import CurationError, Document, Quarantined, files_of, read
from training.curation.engine import Engine
from training.curation.layer import Decision, Judge, Layer
from training.languages import LANGUAGES, LanguageError, by_code

KENLM = (".arpa.bin", ".binary", ".bin", ".arpa", ".klm")
WORLD_DOCUMENTS = 400  # of the embedded text, a language
FACTS = "perplexity.json"
# The ceilings SailCraft sets for its KenLM models of SentencePiece pieces, perplexity a piece (its defaults for the languages it leaves out).
SAILCRAFT = {"eng": 1500.0, "ind": 3500.0, "vie": 3500.0, "cmn": 2095.0, "tha": 3500.0, "lao": 3000.0, "zsm": 5000.0}
SAILCRAFT_DEFAULT = 10_000.0

# SailCraft's form. It lists ten of Unicode's space separators and the sign of a missing object: all of them are spaces here.
_UNPRINTED = re.compile("[\\x00-\\x1f\\x7f-\\x9f]")
_DIGIT = re.compile(r"\d")  # of any script
_SPACES = dict.fromkeys(["\ufffc", *(chr(point) for point in range(0x3001) if unicodedata.category(chr(point)) == "Zs")], " ")
_PUNCTUATION = {
    **dict(zip("。？！；（）【】〈〉～％", ".?!;()[]<>~%", strict=True)),
    **dict.fromkeys("“”„«»「」《》", '"'),
    **dict.fromkeys("’´", "'"),
    **dict.fromkeys("，、", ","),
    **dict.fromkeys("：∶", ":"),
    **dict.fromkeys("–━►", "-"),
    "—": " - ",
    "．": ". ",
    "…": "...",
}
_SIGNS = str.maketrans({**_SPACES, **_PUNCTUATION})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Perplexity(Layer):
    """Keeps the likeliest `share` of each language's documents, or with by="ceiling" those at most at their language's ceiling.

    `ceilings` are (language, perplexity a token or bits a character); a KenLM language that is not named has SailCraft's, any other none. Documents of
    a language that has no model are kept and counted. `characters` of text of a language make its character model.
    """

    name = "perplexity"
    version = 2
    files = ("models", "text")
    leaves = (FACTS,)
    models: str = ""
    text: tuple[str, ...] = ()
    by: Literal["share", "ceiling"] = "share"
    share: float = 0.95
    ceilings: tuple[tuple[str, float], ...] = ()
    characters: int = 2_000_000

    def __post_init__(self) -> None:
        """Refuse settings that say nothing."""
        if self.by not in ("share", "ceiling"):
            raise CurationError(f"perplexity.by is {self.by!r}: share or ceiling")
        if not 0 < self.share <= 1:
            raise CurationError(f"perplexity.share is {self.share}: the share of a language's documents that stays, above 0 and at most 1")
        known = [language.iso for language in LANGUAGES]
        if unknown := [iso for iso, _ in self.ceilings if iso not in known]:
            raise CurationError(f"perplexity.ceilings names {unknown[0]!r}; the languages are {', '.join(known)}")

    def prepare(self, shards: Sequence[Path], work: Path, engine: Engine) -> None:
        """Find or make a model for each language of the shards and score every document; leaves models, scores and facts in `work`."""
        wanted = [iso for iso in ranking.languages(shards) if iso]
        kenlm = {iso: path for iso in wanted if (path := self._kenlm(iso))}
        held = self._text([iso for iso in wanted if iso not in kenlm])
        orders = [(texts, work / f"{iso}.model.npz") for iso, texts in held.items()]
        for _ in engine.map(_make, orders):
            pass
        models = {**kenlm, **{iso: work / f"{iso}.model.npz" for iso in held}}

        def keep(scores: ranking.Floats, groups: np.ndarray[Any, Any], names: list[str]) -> ranking.Flags:
            if self.by == "share":
                return ranking.best(scores, groups, self.share)
            return ranking.reach(scores, groups, [-self._ceiling(iso, iso in kenlm) for iso in names])

        facts = ranking.rank(shards, work, engine, ranking.ByLanguage(_likelihood, models), keep)
        for iso, fact in facts.items():
            fact["model"] = "none" if iso not in models else "KenLM" if iso in kenlm else "characters"
        (work / FACTS).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def judge(self, work: Path) -> Judge:
        """Judges by the scores that `prepare` left."""
        ranked = ranking.Ranked(work)

        def judged(documents: Sequence[Document], shard: int, first: int) -> list[Decision]:
            return [_decide(*row) for row in zip(documents, *ranked.of(shard, first, len(documents)), strict=True)]

        return judged

    def _ceiling(self, iso: str, kenlm: bool) -> float:
        own = dict(self.ceilings)
        return own.get(iso, SAILCRAFT.get(iso, SAILCRAFT_DEFAULT) if kenlm else float("inf"))

    def _kenlm(self, iso: str) -> Path | None:
        """The KenLM model of a language among the user's. Raises CurationError where the directory is none."""
        if not self.models:
            return None
        directory = Path(self.models).expanduser()
        if not directory.is_dir():
            raise CurationError(f"perplexity.models: there is no directory {directory}; it holds LANGUAGE{KENLM[0]} and the like")
        try:
            codes = [iso, *sorted(by_code(iso).codes - {iso})]
        except LanguageError:
            codes = [iso]
        return next((path for code in codes for suffix in KENLM if (path := directory / f"{code}{suffix}").is_file()), None)

    def _text(self, wanted: Sequence[str]) -> dict[str, list[str]]:
        """Text to make character models of, at most `characters` a language; languages without any are left out."""
        held: dict[str, list[str]] = {}
        sizes = dict.fromkeys(wanted, 0)
        for iso, text in _documents(self.text) if self.text else _world(wanted):
            if iso in sizes and sizes[iso] < self.characters:
                held.setdefault(iso, []).append(text)
                sizes[iso] += len(text)
        return held


def _decide(document: Document, score: float, kept: bool) -> Decision:
    if np.isnan(score):
        return Decision(document=document, counts={"no model of its language": 1})
    if not kept:
        return Decision(reason="perplexity", detail=f"{-score:.4g} in {document.language}")
    return Decision(document=dataclasses.replace(document, extra={**document.extra, "perplexity": -score}))


def _documents(patterns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(language, text) of the documents that the user gives. Raises CurationError for a row that cannot be read."""

    def unreadable(found: Quarantined) -> None:
        raise CurationError(f"{found.file}, row {found.row}: {found.reason}; mend the row or take it out")

    for path in files_of(patterns):
        for document in read(path, unreadable):
            yield document.language, document.text


def _world(wanted: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(language, text) of the embedded world."""
    from training.recipe import WorldText
    from training.world import text

    for language in LANGUAGES:
        if language.iso in wanted:
            for made in text.documents(WorldText(language=language.iso, documents=WORLD_DOCUMENTS, seed=5)):
                yield language.iso, made.text


def _make(order: tuple[list[str], Path]) -> None:
    texts, path = order
    CharacterModel.train(texts).save(path)


def _likelihood(model: Path, texts: Sequence[str]) -> ranking.Floats:
    """What ranks a document: the negative of bits a character, or of perplexity a token."""
    return -perplexities(str(model), texts)


def perplexities(model: str, texts: Sequence[str]) -> ranking.Floats:
    """What a model (a file) makes of each text, [texts]: bits a character, or of a KenLM model perplexity a token, the end counted."""
    if model.endswith(".npz"):
        return _characters(model, Path(model).stat().st_mtime_ns).bits(texts)
    scorer, pieces = _kenlm(model)
    lines = [" ".join(pieces.encode(sailcraft_form(text), out_type=str)) if pieces else _line(text) for text in texts]
    return np.array([10.0 ** (-scorer.score(line) / (len(line.split()) + 1)) for line in lines], dtype=np.float64)


def sailcraft_form(text: str) -> str:
    """A text as SailCraft's models read it: control characters out (line feeds and tabs too, nothing in their place), every space a plain one, digits of all
    scripts 0, punctuation of Unicode that of ASCII. Letters keep their case."""
    return _DIGIT.sub("0", _UNPRINTED.sub("", text).strip()).translate(_SIGNS)


def _line(text: str) -> str:
    """A text as a KenLM model of words reads it: one line, control characters out, digits alike."""
    one = " ".join(text.split())
    return "".join("0" if letter.isdigit() else letter for letter in one if unicodedata.category(letter) != "Cc")


@functools.lru_cache(maxsize=32)
def _characters(model: str, written: int) -> CharacterModel:
    """A model once a process; `written` tells one file from the next of its name."""
    return CharacterModel.load(Path(model))


@functools.lru_cache(maxsize=32)
def _kenlm(model: str) -> tuple[Any, Any]:
    """A KenLM model and the SentencePiece model beside it, None where there is none. Raises CurationError."""
    try:
        import kenlm
    except ImportError as error:
        raise CurationError(
            f"{model} is a KenLM model, and kenlm is not installed: pip install kenlm, or leave perplexity.models out"
        ) from error
    try:
        loaded = kenlm.Model(model)
    except (OSError, RuntimeError) as error:
        raise CurationError(f"{model} cannot be loaded by KenLM: {error}") from error
    suffix = next(suffix for suffix in KENLM if model.endswith(suffix))
    beside = Path(model.removesuffix(suffix) + ".sp.model")
    if not beside.is_file():
        return loaded, None
    try:
        import sentencepiece
    except ImportError as error:
        raise CurationError(
            f"{beside} is a SentencePiece model, and sentencepiece is not installed: pip install 'seatrials[spbleu]'"
        ) from error
    return loaded, sentencepiece.SentencePieceProcessor(model_file=str(beside))
