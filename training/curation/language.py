"""Language: fills it in where it is not known, drops what is in another than was declared, and what is a mixture of several.

    python -m training.curation language --input pool/ --output out/ --set language.languages=ind,zsm

A document is identified piece by piece (`training/identification.py`): lines, short ones taken together and long ones cut. Each piece that can be decided
counts its characters for one language, or for none of ours ("foreign"). Neighbours (Indonesian and Malay, Cebuano and Waray ...: the confusion sets)
share most of their sentences, so a piece in a neighbour's language speaks neither for a declared language nor against it, unless `strict`.

Code-switched text (`sources/bilingual.py`) declares its languages in the column `languages`, codes with commas between them. Its lines are identified
one by one, and the characters of all its languages count together. It stays filed under "": `rules` then holds it to the limits of no language in
particular, `perplexity` and `quality` leave it unranked, whose models of one language would put half of each such document among the worst, and its
tokens are a corpus of their own, `und`, which a mixture weighs for itself. Where an Origin gives it a `language` besides, it is filed under that.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from training.curation.documents import CurationError, Document
from training.curation.layer import Decision, Judge, Layer
from training.identification import PAIR, Identification, identify_many
from training.languages import LANGUAGES, LanguageError, by_code, same_set

FOREIGN = "none of ours"
SEVERAL = "languages"  # the column of code-switched text
_CODE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z]+)*")
SHORTEST_PIECE, LONGEST_PIECE = 80, 400  # characters


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What the pieces of a document say, in characters: of each language (FOREIGN among them), and of Indonesian or Malay undecided."""

    characters: Counter[str]
    either: int = 0

    def language(self) -> str:
        """The language most characters are in, FOREIGN for none of ours, "" where nothing was decided or two balance."""
        found = Counter(self.characters)
        if self.either:  # the pieces that could be either go with the larger of the pair; where neither is larger it stays open
            one, other = sorted(PAIR, key=lambda iso: -found[iso])
            if found[one] > found[other]:
                found[one] += self.either
            else:
                found[""] += found.pop(one, 0) + found.pop(other, 0) + self.either
        ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
            return ""
        return ranked[0][0]

    def share(self, languages: Collection[str], strict: bool) -> float | None:
        """The share of the decided characters that are in `languages`; None where none is decided. Neighbours are not counted unless `strict`."""

        def against(*others: str) -> bool:
            """Whether characters in one of `others` speak against the languages."""
            if any(other in languages for other in others):
                return False
            return strict or not any(same_set(language, other) for language in languages for other in others)

        own = sum(self.characters[language] for language in languages) + (self.either if any(one in languages for one in PAIR) else 0)
        contrary = sum(count for other, count in self.characters.items() if against(other)) + (self.either if against(*PAIR) else 0)
        return own / (own + contrary) if own + contrary else None


def pieces(text: str, shortest: int = SHORTEST_PIECE) -> Iterator[str]:
    """A text in pieces of `shortest` to LONGEST_PIECE characters where its lines allow: short lines together, long ones cut at spaces."""
    waiting = ""
    for line in text.splitlines():
        waiting = f"{waiting}\n{line.strip()}" if waiting else line.strip()
        if len(waiting) < shortest:
            continue
        while len(waiting) > LONGEST_PIECE:
            cut = waiting.rfind(" ", SHORTEST_PIECE, LONGEST_PIECE)
            cut = cut if cut > 0 else LONGEST_PIECE
            yield waiting[:cut]
            waiting = waiting[cut:].strip()
        if len(waiting) >= shortest:
            yield waiting
            waiting = ""
    if waiting:
        yield waiting


def spread(all_pieces: Sequence[str], most: int) -> list[str]:
    """At most so many of the pieces, evenly spread from first to last; 0 is all of them."""
    if not most or len(all_pieces) <= most:
        return list(all_pieces)
    return [all_pieces[number * len(all_pieces) // most] for number in range(most)]


def look(texts: Sequence[str], most: int = 0, by_line: Collection[int] = ()) -> list[Found]:
    """What the pieces of each text say; `most` pieces of each are looked at, 0 for all. Of the texts numbered in `by_line` no lines are taken together."""
    cut = [spread(list(pieces(text, 1 if number in by_line else SHORTEST_PIECE)), most) for number, text in enumerate(texts)]
    answers = iter(identify_many(piece for own in cut for piece in own))
    return [_counted([(piece, next(answers)) for piece in own]) for own in cut]


def _counted(answers: Sequence[tuple[str, Identification]]) -> Found:
    characters: Counter[str] = Counter()
    either = 0
    for piece, found in answers:
        if found.language is not None:
            characters[found.language] += len(piece)
        elif found.why == "foreign":
            characters[FOREIGN] += len(piece)
        elif found.among == frozenset(PAIR):
            either += len(piece)
    return Found(characters=characters, either=either)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageFilter(Layer):
    """Keeps documents in `languages` (ISO 639-3; () is any) of whose decided characters `least_share` are in their language.

    `unsure` is what becomes of a document that is too short or too near a tie to say: "keep" as it was declared, or "drop". `strict` takes a
    neighbour's language for another. `most` pieces of a long document are looked at (0: all). A declared language that is none of ours stands.
    Of code-switched text all languages have to be among `languages`.
    """

    name = "language"
    version: ClassVar[int] = 2
    languages: tuple[str, ...] = ()
    least_share: float = 0.6
    unsure: Literal["keep", "drop"] = "keep"
    strict: bool = False
    most: int = 64

    def __post_init__(self) -> None:
        """Refuse a language that nobody knows, and a share that is none."""
        known = [language.iso for language in LANGUAGES]
        if unknown := [iso for iso in self.languages if iso not in known]:
            raise CurationError(f"language.languages names {unknown[0]!r}; the languages are {', '.join(known)}")
        if not 0 <= self.least_share <= 1:
            raise CurationError(f"language.least_share is {self.least_share}: a share of the decided characters, from 0 to 1")
        if self.unsure not in ("keep", "drop"):
            raise CurationError(f"language.unsure is {self.unsure!r}: keep or drop")

    def judge(self, work: Path) -> Judge:
        """Judges each document by itself; `work` holds nothing."""

        def judged(documents: Sequence[Document], shard: int, first: int) -> list[Decision]:
            switched = {number for number, document in enumerate(documents) if _codes(document)}
            found = look([document.text for document in documents], self.most, switched)
            return [self._decide(document, one) for document, one in zip(documents, found, strict=True)]

        return judged

    def _decide(self, document: Document, found: Found) -> Decision:
        try:
            filed = by_code(document.language).iso if document.language else ""
            declared = _declared(document, filed)
        except LanguageError:
            return self._wanted(document, (document.language or document.extra[SEVERAL],), {"language not known to us": 1})
        said = found.language()
        share = found.share(declared or (said,), self.strict) if declared or said else None
        if share is None:
            return self._unsure(dataclasses.replace(document, language=filed), declared)
        if not declared and said == FOREIGN:
            return Decision(reason="foreign language", detail=f"in {_told(found)}")
        named = " and ".join(declared or (said,))
        if declared and said and share < self.least_share and (said == FOREIGN or all(self._other(one, said) for one in declared)):
            return Decision(reason="wrong language", detail=f"declared {named}, in {_told(found)}")
        if share < self.least_share:
            return Decision(reason="mixed languages", detail=f"{share:.0%} {named} < {self.least_share:.0%}, in {_told(found)}")
        if not declared:
            return self._wanted(dataclasses.replace(document, language=said), (said,), {"language filled in": 1})
        counts = {} if filed else {"several languages declared": 1}
        return self._wanted(dataclasses.replace(document, language=filed), declared, counts)

    def _other(self, declared: str, said: str) -> bool:
        return declared != said if self.strict else not same_set(declared, said)

    def _wanted(self, document: Document, languages: Sequence[str], counts: dict[str, int]) -> Decision:
        if self.languages and (stray := [one for one in languages if one not in self.languages]):
            return Decision(reason="language not wanted", detail=stray[0], counts=counts)
        return Decision(document=document, counts=counts)

    def _unsure(self, document: Document, declared: Sequence[str]) -> Decision:
        if self.unsure == "drop":
            return Decision(reason="language not sure", detail=" and ".join(declared))
        return self._wanted(document, declared, {"language not sure": 1})


def _codes(document: Document) -> list[str]:
    """The languages that code-switched text declares, nothing for other text: another's column of that name may hold anything."""
    told = document.extra.get(SEVERAL)
    codes = [code.strip() for code in told.split(",")] if isinstance(told, str) else []
    return codes if len(codes) > 1 and all(map(_CODE.fullmatch, codes)) else []


def _declared(document: Document, filed: str) -> tuple[str, ...]:
    """The languages a document says it is in, the one it is filed under first. Raises LanguageError for one that is none of ours."""
    several = [by_code(code).iso for code in _codes(document)]
    return tuple(dict.fromkeys([filed, *several] if filed else several))


def _told(found: Found) -> str:
    """The languages found, by their shares of the decided characters."""
    characters = found.characters + Counter({" or ".join(PAIR): found.either})
    total = characters.total()
    return ", ".join(f"{language} {count / total:.0%}" for language, count in characters.most_common(3))
