"""Words of a text, also where the script writes none: the unit of rules, near-dedup and fastText features.

    words("ແມ່ນແລ້ວ, 2024!", "lao")     # ["ແມ່ນ", "ແລ້ວ", "2024"]
    spaced("မြန်မာစာ", "mya")            # "မြန် မာ စာ"

Thai, Lao, Khmer, Burmese and Chinese put no spaces between words, and finding the words takes a dictionary. The unit here is one that rules of
orthography find, and that is hardly ever larger than a word: a syllable in Burmese and Lao; in Thai and Khmer a consonant with all that is
written on it and the consonant that has to close it; a character in Chinese. n-grams over it are n-grams over short words. In every other
script a word is what stands between spaces. A cut never falls within a grapheme cluster.

Text is not normalised: two spellings of one letter are two words. Case is folded to lower; punctuation and symbols at a word's ends go.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from training.languages import LANGUAGES

# Languages whose text is cut at spaces only; a run of another script in it is one long word, and the rules drop it as such.
_SPACED = frozenset(language.iso for language in LANGUAGES if language.script == "Latin")
_SPACE = r"\s\u200b"  # U+200B stands between Khmer and Burmese words where a careful typist put it
# Where the letters of scripts without spaces lie. Their digits and punctuation stand between words, as in any script.
_BLOCKS = ((0x0E01, 0x0E5B), (0x0E80, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F))
_HAN = "々-〇㐀-䶿一-鿿豈-﫿\U00020000-\U000323af"
_CACHED = 64  # characters; longer words are seldom seen twice
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


def words(text: str, language: str = "") -> list[str]:
    """The words of `text` in lower case. `language` is ISO 639-3; "" or one that is not ours cuts every script that has no spaces."""
    if language in _SPACED:
        return [word for piece in text.replace("\u200b", " ").split() if (word := bare(piece))]
    found = (unit or bare(other) for unit, other in _pieces().findall(text))
    return [word for word in found if word]


def spaced(text: str, language: str = "") -> str:
    """The words of `text` with a space between each two: what a tool that cuts at spaces is given."""
    return " ".join(words(text, language))


def pieces(text: str, language: str = "") -> list[str]:
    """The text cut at its words and spaces, nothing left out: the pieces joined are the text."""
    if language in _SPACED:
        return re.findall(rf"[{_SPACE}]+[{_marks()}]*|[^{_SPACE}]+", text)
    return [match.group() for match in _pieces().finditer(text)]


def bare(word: str) -> str:
    """The word in lower case, without what is neither letter nor digit at its ends; "" where nothing is left."""
    return _bare(word) if len(word) <= _CACHED else _bare.__wrapped__(word)


@functools.lru_cache(maxsize=2**16)
def _bare(word: str) -> str:
    lower = word.lower()
    if lower.isalnum():
        return lower
    start, end = 0, len(lower)
    while start < end and not (lower[start].isalnum() or lower[start] in LETTER_LIKE):
        start += 1  # marks with nothing under them go, too
    while start < end and not (lower[end - 1].isalnum() or lower[end - 1] in LETTER_LIKE or _joins(lower[end - 1])):
        end -= 1
    return lower[start:end]


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
def _marks(first: int = 0, last: int = 0x1FFFF) -> str:
    """The character class of what belongs to the character before it: of a script, or of all."""
    points = [point for point in range(first, last + 1) if _joins(chr(point))]
    return _class(points if first else [*points, *range(0xE0020, 0xE0080), *range(0xE0100, 0xE01F0)])


@functools.cache
def _pieces() -> re.Pattern[str]:
    """A space, a unit of a script without spaces (group 1), or a run of anything else (group 2)."""
    letters = [
        p for first, last in _BLOCKS for p in range(first, last + 1) if unicodedata.category(chr(p)) in ("Lo", "Lm") and not _joins(chr(p))
    ]
    unspaced = f"{_class(letters)}{LETTER_LIKE}{_HAN}"
    units = "|".join((_thai(), _lao(), _khmer(), _burmese(), f"[{unspaced}]"))
    m = f"[{_marks()}]*"  # a mark of another script on a letter of ours ends the unit, but goes with it
    return re.compile(rf"[{_SPACE}]+{m}|((?:{units}){m})|([^{_SPACE}{unspaced}]+)")


def _thai() -> str:
    """A vowel written before its consonant, the consonant, its marks, the vowels after it; the consonant that a short vowel needs to close it.

    So จัน, เป็น, คืน, เสีย are one, and a silenced consonant (ร์) stays with what it is silent after. Where the script does not say whether
    a consonant closes a syllable or opens the next (กา|น), it stands alone.
    """
    m = f"[{_marks(0x0E01, 0x0E5B)}]{_FEW}"
    c, lead = "[ก-ฮ]", f"[เแโใไ]{m}"
    body = f"(?:{lead}){{0,2}}{c}"
    closed = f"{body}{m}[ัื]{m}{c}{m}ะ?|{lead}{c}{m}็{m}{c}{m}|{c}{m}็{m}อ{m}{c}{m}|เ{m}{c}{m}ี{m}ย{m}ะ?"
    return f"(?:{closed}|{body}{m}(?:[ะาๅ]{m})*|[ฤฦ]{m}ๅ?{m})(?:{c}[ิุ]?์{m})*"


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
