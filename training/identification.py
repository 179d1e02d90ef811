"""Which language a text is in: one answer for FLoRes, chat suites, preference data and curation.

The script decides where it can (Thai, Lao, Khmer, Burmese, Chinese). The ten languages in Latin letters are told apart by the character n-grams
of `training.languages.Identifier`, trained on the embedded text of `training/world`; Indonesian and Malay, which share most of their words,
besides by 6.0S, the words and endings in which they differ. A text is abstained on where it is short, near a tie, or looks like none of
our languages. Everything ships with the project, so the same text has the same language on every machine.

    identify("Ang dagat payapa karong buntaga.").language      # "ceb"
    python -m training.identification accuracy --hub DIR       # how often it is right, a language and corpus
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from training.grams import SCRIPT_NAMES, Grams, script_counts
from training.languages import LANGUAGES, Identifier, same_set
from training.telling_words import ENDINGS, ENGLISH, INDONESIAN, MALAY

LEAST_LETTERS = 12  # of a text in Latin letters; fewer say too little
LEAST_MARGIN = 0.03  # nats a letter between the two likeliest languages
LEAST_KNOWN = {"": 0.50, "vie": 0.30}  # share of a text's three-letter n-grams that the language's embedded text has seen; less is foreign
ENGLISH_EVERY = 12  # words; one in so many is one of ENGLISH at least: many European languages look English by their letters
PAIR = ("ind", "zsm")
DOCUMENTS = 400  # of the embedded text, a language
STEPS = 2.0**24  # of a nat: whole numbers, whose sums are the same in any order
TOGETHER = 512  # texts that are identified at once

_MARKED, _TAILS = INDONESIAN | MALAY, tuple(ENDINGS)
_READ = frozenset({"eng", *PAIR})  # of these whole words count

_CODE, _ADDRESS, _TAG = r"```.*?(?:```|\Z)|`[^`\n]*`", r"https?://\S+|www\.\S+", r"[@#]\w+|\d+"
_NOISE = re.compile(rf"{_CODE}|{_ADDRESS}|\S+@\S+\.\w+|{_TAG}", re.DOTALL)
_NOISE_WITHOUT_AT = re.compile(rf"{_CODE}|{_ADDRESS}|{_TAG}", re.DOTALL)  # the same where there is no @, and takes no time in unspaced text
_NOISY = re.compile(r"[`@#:\d]")  # one of these, or "www.", is in all that is noise
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identification:
    """What a text is in. `language` is an ISO 639-3 code of ours, None where abstained; `among` what it may then be (nothing: none of ours).

    `margin` is nats a letter to the next language, or by `words` the surplus of Indonesian or Malay words a word.
    """

    language: str | None
    among: frozenset[str] = frozenset()
    margin: float
    by: Literal["script", "letters", "words", "abstained"]
    why: str = ""  # of an abstention: "short", "tie", "foreign"


def identify(text: str) -> Identification:
    """Identify one text; line ends, case, code, addresses and digits do not count."""
    return _trained().identify(text)


def identify_many(texts: Iterable[str]) -> list[Identification]:
    """Identify each text, in order."""
    trained, waiting = _trained(), iter(texts)
    return [one for some in iter(lambda: list(islice(waiting, TOGETHER)), []) for one in trained.identify_all(some)]


def consistent(text: str, language: str, *, as_set: bool = False) -> bool | None:
    """Whether a text is in `language` (or in its confusion set); None where too little is known to say."""
    found = identify(text)
    if as_set and found.among:
        return any(same_set(language, other) for other in found.among)
    if found.language is not None:
        return found.language == language
    return False if found.why == "foreign" or (found.among and language not in found.among) else None


class LanguageIdentifier:
    """The identifier behind `identify`, trained on labelled text in Latin letters. Deterministic."""

    def __init__(self, labelled: Iterable[tuple[str, str]]) -> None:
        """Train on (iso, text) pairs. Raises LanguageError where text of fewer than two languages is given."""
        told = list(labelled)
        self.letters = Identifier(told, least_letters=LEAST_LETTERS)
        isos = self.letters.isos
        self.known = {
            iso: frozenset(_threes({word for one, text in told if one == iso for word in _WORD.findall(text.lower())})) for iso in isos
        }
        nats = dict(zip(self.letters._index, np.rint(self.letters._log * STEPS).astype(np.int64), strict=True))
        seen = {gram: [int(gram in self.known[iso]) for iso in isos] for gram in frozenset[str]().union(*self.known.values())}
        self._grams = Grams([*nats, *seen])
        self._least = np.array([LEAST_KNOWN.get(iso, LEAST_KNOWN[""]) for iso in isos])
        self._nats, self._seen = self._grams.values(nats, len(isos)), self._grams.values(seen, len(isos))

    def identify(self, text: str) -> Identification:
        """See the module's `identify`."""
        return self.identify_all([text])[0]

    def identify_all(self, texts: Sequence[str]) -> list[Identification]:
        """See the module's `identify`; each as if it were alone."""
        cleaned = [unicodedata.normalize("NFC", " ".join(_without_noise(text).split())) for text in texts]
        counts = script_counts(cleaned)
        letters, most = counts.sum(axis=1).tolist(), counts.max(axis=1, initial=0).tolist()
        found: list[Identification] = []
        latin: list[int] = []
        for number, script in enumerate(counts.argmax(axis=1).tolist()):
            if letters[number] < (LEAST_LETTERS if script == _LATIN else 2):
                found.append(_SHORT)
            elif 2 * most[number] <= letters[number] or script == _OTHER:
                found.append(_FOREIGN)
            elif script == _LATIN:
                found.append(_FOREIGN)
                latin.append(number)
            else:
                found.append(_BY_SCRIPT[script])
        if latin:
            lowered = [cleaned[number].lower() for number in latin]
            for number, one in zip(latin, self._by_letters(lowered, [letters[number] for number in latin]), strict=True):
                found[number] = one
        return found

    def _by_letters(self, texts: Sequence[str], letters: Sequence[int]) -> Iterator[Identification]:
        """The languages of lower-case texts in Latin letters, of which each has so many."""
        isos = self.letters.isos
        scores, seen, threes = self._grams.sums(texts, self._nats, self._seen, 3)
        each = np.arange(len(texts))
        best = scores.argmax(axis=1)
        first = scores[each, best]
        scores[each, best] = np.iinfo(np.int64).min
        second = scores.argmax(axis=1)
        margins = (first - scores[each, second]) / (np.array(letters) * STEPS)
        strange = seen[each, best] < self._least[best] * threes[:, 0]
        columns = (best.tolist(), second.tolist(), margins.tolist(), strange.tolist())
        for text, one, other, margin, foreign in zip(texts, *columns, strict=True):
            language = isos[one]
            words = _WORD.findall(text) if language in _READ else ()
            if foreign or (language == "eng" and _hardly_english(words)):
                yield _FOREIGN
            elif language in PAIR:
                yield _indonesian_or_malay(words)
            elif margin < LEAST_MARGIN:
                yield Identification(language=None, among=frozenset({language, isos[other]}), margin=margin, by="abstained", why="tie")
            else:
                yield Identification(language=language, among=_ONLY[language], margin=margin, by="letters")


def _hardly_english(words: Sequence[str]) -> bool:
    return len(words) >= ENGLISH_EVERY // 2 and sum(map(ENGLISH.__contains__, words)) * ENGLISH_EVERY < len(words)


def _without_noise(text: str) -> str:
    """The text, a space for each piece of noise."""
    if not _NOISY.search(text) and "www." not in text:
        return text
    return (_NOISE if "@" in text else _NOISE_WITHOUT_AT).sub(" ", text)


def _abstained(why: str) -> Identification:
    return Identification(language=None, margin=0.0, by="abstained", why=why)


_SHORT, _FOREIGN, _EITHER = _abstained("short"), _abstained("foreign"), dataclasses.replace(_abstained("tie"), among=frozenset(PAIR))
_ONLY = {one.iso: frozenset({one.iso}) for one in LANGUAGES}
_LATIN, _OTHER = SCRIPT_NAMES.index("Latin"), SCRIPT_NAMES.index("other")
_BY_SCRIPT = {
    SCRIPT_NAMES.index(one.script): Identification(language=one.iso, among=_ONLY[one.iso], margin=float("inf"), by="script")
    for one in LANGUAGES
    if one.script != "Latin"
}


def _indonesian_or_malay(words: Sequence[str]) -> Identification:
    """Decided by the words and endings in which the two differ; where none occurs or they balance, it may be either."""
    found = [_marked(word) for word in words if word in _MARKED or (len(word) >= 6 and word.endswith(_TAILS))]
    surplus = 2 * found.count(PAIR[0]) - len(found)
    if not surplus:
        return _EITHER
    language = PAIR[surplus < 0]
    return Identification(language=language, among=_ONLY[language], margin=abs(surplus) / len(words), by="words")


def _marked(word: str) -> str:
    """Which of the two a word of either speaks for."""
    if len(word) >= 6 and (language := next((language for tail, language in ENDINGS.items() if word.endswith(tail)), "")):
        return language
    return "ind" if word in INDONESIAN else "zsm"


def _threes(words: Iterable[str]) -> list[str]:
    marked = (f" {word} " for word in words)
    return [word[i : i + 3] for word in marked for i in range(len(word) - 2)]


@functools.cache
def _trained() -> LanguageIdentifier:
    """Trained on the embedded world, once a process."""
    from training.recipe import WorldText
    from training.world import text as world

    return LanguageIdentifier(
        (language.iso, document.text)
        for language in LANGUAGES
        if language.script == "Latin"
        for document in world.documents(WorldText(language=language.iso, documents=DOCUMENTS, seed=5))
    )


# --------------------------------------------------------------------------------------------------------- how often it is right

CORPORA = {
    "udhr": "un/udhr",
    "pud": "universal_dependencies/pud",
    "vtb": "universal_dependencies/vtb",
    "csui": "universal_dependencies/csui",
    "gja": "universal_dependencies/gja",
    "ugnayan": "universal_dependencies/ugnayan",
}
SHORTEST = 15  # characters of a sentence that is asked about


def sentences(hub: Path, corpus: str, language: str) -> list[str]:
    """The sentences of a mirrored corpus, at least SHORTEST characters each; empty where it has none in the language."""
    texts: list[str] = []
    for path in sorted((hub / CORPORA[corpus] / language).glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            texts += re.split(r"(?<=[.;:!?])\s+", str(json.loads(line)["text"]))
    return [text.strip() for text in texts if len(text.strip()) >= SHORTEST]


def accuracy_table(hub: Path, most: int = 500) -> str:
    """Share of sentences identified right, strictly and as a confusion set, and abstained on, a corpus and language (Markdown)."""
    lines = ["| corpus | language | sentences | right | right as a set | abstained |", "|---|---|---|---|---|---|"]
    for corpus in CORPORA:
        for one in LANGUAGES:
            texts = sentences(hub, corpus, one.iso)[:most]
            if not texts:
                continue
            found = identify_many(texts)
            right = sum(each.language == one.iso for each in found)
            as_set = sum(any(same_set(one.iso, other) for other in each.among) for each in found)
            none = sum(each.language is None for each in found)
            shares = " | ".join(f"{count / len(texts):.3f}" for count in (right, as_set, none))
            lines.append(f"| {corpus} | {one.iso} | {len(texts)} | {shares} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 2 a clear error."""
    parser = argparse.ArgumentParser(prog="python -m training.identification", description="How often language identification is right.")
    parser.add_argument("do", choices=("accuracy",))
    parser.add_argument("--hub", type=Path, required=True, help="local mirror of Hub data sets")
    given = parser.parse_args(arguments)
    if not (given.hub / CORPORA["udhr"]).is_dir():
        print(f"identification: {given.hub} has no {CORPORA['udhr']}; name a mirror, DATASET/CONFIG/SPLIT.jsonl", file=sys.stderr)
        return 2
    print(accuracy_table(given.hub))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
