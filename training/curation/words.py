"""Words of a text, also where the script writes none: the unit of rules, near-dedup and fastText features.

    words("ແມ່ນແລ້ວ, 2024!", "lao")     # ["ແມ່ນ", "ແລ້ວ", "2024"]
    spaced("မြန်မာစာ", "mya")            # "မြန် မာ စာ"

Thai, Lao, Khmer, Burmese and Chinese put no spaces between words, and finding the words takes a dictionary. The unit here is one that rules of
orthography find, and that is hardly ever larger than a word: a syllable in Burmese and Lao; in Thai and Khmer a consonant with all that is
written on it and the consonant that has to close it; a character in Chinese. n-grams over it are n-grams over short words. In every other
script a word is what stands between spaces. A cut never falls within a grapheme cluster of these scripts.

Text is not normalised: two spellings of one letter are two words. Case is folded to lower; punctuation and symbols at a word's ends go.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable

from training.languages import LANGUAGES

# Languages whose text is cut at spaces only; a run of another script in it is one long word, and the rules drop it as such.
_SPACED = frozenset(language.iso for language in LANGUAGES if language.script == "Latin")
_SPACE = r"\s\u200b"  # U+200B stands between Khmer and Burmese words where a careful typist put it
_BURMESE = "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"
# Where the letters of scripts without spaces lie. Their digits and punctuation stand between words, as in any script.
_BLOCKS = ((0x0E01, 0x0E5B), (0x0E80, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F))
_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_CACHED, _MOST_CACHED = 64, 2**16  # characters of a word, longer ones are seldom seen twice; words
_FEW = "{0,6}"  # marks on one letter; of more, as in ornaments, the rest is taken at the end of the unit: no pattern backtracks far
LETTER_LIKE = "၌၍၎၏"  # Burmese function words that Unicode counts as punctuation
# No marks by category, yet never apart from the character before: Thai and Lao AM, joiners, halfwidth voicing, skin tones, tags.
_JOINING = (
    (0x0E33, 0x0E33),
    (0x0EB3, 0x0EB3),
    (0x200C, 0x200D),
    (0xFF9E, 0xFF9F),
    (0x1F3FB, 0x1F3FF),
    (0xE0020, 0xE007F),
    (0xE0100, 0xE01EF),
)


class _Remembered(dict[str, str]):
    """What a function makes of a string, worked out once: `map(remembered.__getitem__, strings)` takes no call of Python for one that is known."""

    def __init__(self, function: Callable[[str], str]) -> None:
        """Nothing is known yet."""
        self._function = function

    def __missing__(self, key: str) -> str:
        made = self._function(key)
        if len(key) <= _CACHED:
            if len(self) >= _MOST_CACHED:
                self.clear()
            self[key] = made
        return made


def words(text: str, language: str = "", finish: Callable[[str], str] = str) -> list[str]:
    """The words of `text` in lower case. `language` is ISO 639-3; "" or one that is not ours cuts every script that has no spaces.

    `finish` is a pure function that is applied to each; words of which it leaves nothing go.
    """
    at_spaces, within = _remembered(finish)
    if language in _SPACED:
        return list(filter(None, map(at_spaces.__getitem__, text.replace("\u200b", " ").split())))
    return list(filter(None, map(within.__getitem__, _cut(text))))


def spaced(text: str, language: str = "") -> str:
    """The words of `text` with a space between each two: what a tool that cuts at spaces is given."""
    return " ".join(words(text, language))


def pieces(text: str, language: str = "") -> list[str]:
    """The text cut at its words and spaces, nothing left out: the pieces joined are the text."""
    if language in _SPACED:
        return re.findall(rf"[{_SPACE}]+[{_marks()}]*|[^{_SPACE}]+", text)
    return list(_cut(text))


def longest(text: str, language: str = "") -> int:
    """A length that no piece of the text exceeds, nor one of any part of it that stands between spaces."""
    if language in _SPACED:
        return max(map(len, text.split()), default=0)
    # marks after a space go with it; in a part that begins with them they are the start of its first piece
    return max(map(len, (*_cut(text), *_after_space().findall(text))), default=0)


@functools.lru_cache(maxsize=1)
def _cut(text: str) -> list[str]:
    """The pieces where scripts have no spaces. What asks of one text several times (longest piece, words) has it cut once."""
    return _pieces().findall(text)


def bare(word: str) -> str:
    """The word in lower case, without what is neither letter nor digit at its ends; "" where nothing is left."""
    lower = word.lower()
    if lower.isalnum() and not _joins(lower[0]):
        return lower
    start, end = 0, len(lower)
    while start < end and (_joins(lower[start]) or not (lower[start].isalnum() or lower[start] in LETTER_LIKE)):
        start += 1  # marks with nothing under them go, too
    while start < end and not (lower[end - 1].isalnum() or lower[end - 1] in LETTER_LIKE or _joins(lower[end - 1])):
        end -= 1
    return lower[start:end]


def _word(piece: str) -> str:
    """The word that a piece is, "" for a space: a unit of a script without spaces stands for itself."""
    return piece if _starts_unit().match(piece) else bare(piece)


@functools.cache
def _remembered(finish: Callable[[str], str]) -> tuple[_Remembered, _Remembered]:
    """Piece -> finished word, in languages that are cut at spaces and in others."""
    return _Remembered(lambda piece: finish(bare(piece))), _Remembered(lambda piece: finish(_word(piece)))


def _joins(character: str) -> bool:
    """Whether the character belongs to the one before it."""
    point = ord(character)
    return unicodedata.category(character)[0] == "M" or any(first <= point <= last for first, last in _JOINING)


def _class(characters: list[int]) -> str:
    """The characters as the inside of a character class, runs as ranges."""
    runs: list[list[int]] = []
    for point in sorted(characters):
        if runs and point == runs[-1][1] + 1:
            runs[-1][1] = point
        else:
            runs.append([point, point])
    return "".join(f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in runs)


@functools.cache
def _marks(first: int = 0, last: int = 0x10FFFF) -> str:
    """The character class of what belongs to the character before it: of a script, or of all."""
    blocks = ((0, 0x1FFFF), (0xE0000, 0xE01FF))  # beyond these there are no marks
    return _class([point for block in blocks for point in range(max(first, block[0]), min(last, block[1]) + 1) if _joins(chr(point))])


@functools.cache
def _unspaced() -> str:
    """The inside of the character class of what units begin with: letters of scripts without spaces."""
    points = [point for first, last in _BLOCKS for point in range(first, last + 1)]
    letters = [point for point in points if unicodedata.category(chr(point)) in ("Lo", "Lm") and not _joins(chr(point))]
    return f"{_class(letters)}{LETTER_LIKE}{_HAN}"


@functools.cache
def _pieces() -> re.Pattern[str]:
    """A space, a unit of a script without spaces, or a run of anything else."""
    # Marks of another script on a letter of ours end the unit, but go with it. `re` tries those beyond U+FFFF one range after another: asked last.
    marks = f"[{_marks(last=0xFFFF)}]*(?:(?=[\U00010000-\U0010ffff])[{_marks()}]+)?"
    scripts = (("\u0e01-\u0e5b", _thai()), ("\u0e80-\u0eff", _lao()), ("\u1780-\u17ff", _khmer()), (_BURMESE, _burmese()))
    units = "|".join(f"(?=[{block}])(?:{unit})" for block, unit in scripts)
    return re.compile(rf"[{_SPACE}]+{marks}|(?:{units}|[{_unspaced()}]){marks}|[^{_SPACE}{_unspaced()}]+")


@functools.cache
def _after_space() -> re.Pattern[str]:
    return re.compile(rf"[{_SPACE}][{_marks()}]+[^{_SPACE}{_unspaced()}]*")


@functools.cache
def _starts_unit() -> re.Pattern[str]:
    return re.compile(f"[{_unspaced()}ກ-ຮ]")  # in this range lie points that are no letters yet, which _lao() takes for some


def _thai() -> str:
    """A vowel written before its consonant, the consonant, its marks, the vowels after it; the consonant that a short vowel needs to close it.

    So จัน, เป็น, คืน, เสีย are one, and a silenced consonant (ร์) stays with what it is silent after. Where the script does not say whether
    a consonant closes a syllable or opens the next (กา|น), it stands alone.
    """
    marks = _marks(0x0E01, 0x0E5B)
    m = f"[{marks}]{_FEW}"
    c, lead, vowels = "[ก-ฮ]", f"[เแโใไ]{m}", f"{m}(?:[ะาๅ]{m})*"
    closed = f"{m}[ัื]{m}{c}{m}ะ?"
    plain = f"{c}(?:(?=[{marks}])(?:{closed}|{m}็{m}อ{m}{c}{m})|{vowels})"
    led = f"(?:{lead}){{1,2}}{c}{closed}|{lead}{c}{m}็{m}{c}{m}|เ{m}{c}{m}ี{m}ย{m}ะ?|(?:{lead}){{1,2}}{c}{vowels}"
    return f"(?:{plain}|{led}|[ฤฦ]{m}ๅ?{m})(?:{c}[ิุ]?์{m}(?:{c}[ิุ]?์{m})*|)"


def _lao() -> str:
    """A syllable: Lao writes every vowel, so a consonant that carries none closes the syllable before it.

    ອ and ວ are vowels before such a consonant (ຂອງ, ສວນ); ຫ before a sonorant, and ກ ຂ ຄ before a ວ that carries a vowel, open together
    with it (ໃຫຍ່, ຄວາມ).
    """
    marks = _marks(0x0E80, 0x0EFF)
    m = f"[{marks}]{_FEW}"
    c, vowel, tone, last = "[ກ-ຮໜໝ]", f"[{marks}ະາຽ]", "[່-໋]{0,2}", "[ກງຈຊດຕທນບປພມຍຣລວສ]"
    onset = f"(?:ຫ[ງຍນມລຣວ]|[ກຂຄ]ວ(?={vowel})|{c})"
    closing = f"(?:{last}(?!{vowel}|[ອວ](?!ອ){c}(?!{vowel})|(?<=ກ)ວ{vowel}))?"
    lead = f"[ເ-ໄ]{m}"
    led = f"{lead}{onset}{m}ັ{tone}{c}{m}|ເ{m}{onset}{m}[ິີຶື]{tone}ອ{m}{closing}|{lead}{onset}{m}(?:[ະາ]{m}ະ?|{closing})"
    plain = (
        f"{onset}{m}ຳ{m}|{onset}{m}[ັົ]{tone}{c}{m}|{onset}{tone}ຽ{m}{c}{m}|{onset}{tone}[ອວ]{c}(?!{vowel})"
        f"|{onset}ະ|{onset}{m}າ{m}{closing}|{onset}[{marks}]{m}{closing}"
    )
    return f"(?:{led}|{plain}|{c}{m})(?:{c}໌{m})*"


def _khmer() -> str:
    """A consonant or vowel letter, the consonants under it, its marks; and a consonant that a sign marks as closing or silent (ចាប់, ប្រយោជន៍)."""
    m = f"[{_marks(0x1780, 0x17FF)}]{_FEW}"
    c = "[ក-ឳ]"
    return f"{c}{m}(?:(?<=\u17d2){c}{m})*(?:{c}(?=[\u17cb\u17cd\u17d1]){m})*"


def _burmese() -> str:
    """A letter and its marks, the letters stacked under it, and the letters that asat or a stack marks as closing (မြန်, အင်္ဂ)."""
    m = f"[{_marks(0x1000, 0x109F)}{_marks(0xA9E0, 0xAA7F)}]{_FEW}"
    letters = [p for first, last in _BLOCKS if first in (0x1000, 0xA9E0, 0xAA60) for p in range(first, last + 1)]
    c = f"[{_class([p for p in letters if unicodedata.category(chr(p)) == 'Lo'])}]"
    return f"[{c[1:-1]}{LETTER_LIKE}]{m}(?:(?<=\u1039){c}{m}|{c}(?=\u1037?[\u103a\u1039]){m})*"
