"""Whether an answer in words is right: it holds the answer or an alias, and none of the distractors.

Names in Latin letters are looked for as whole words; those in scripts that do not part words (Thai, Lao, Khmer, Burmese, Chinese) anywhere
in the text, but not where a sign follows that belongs to the last letter (Khmer ចាស is not in ចាស់). Letters, vowel signs, tone marks and
digits count; case, punctuation and blanks do not. Vietnamese keeps its diacritics.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

from training.languages import script_of


def words(text: str) -> str:
    """Case folded, compatibility composed, all that is no letter, mark or digit turned into one blank; a blank at each end."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return f" {' '.join(''.join(letter if unicodedata.category(letter)[0] in 'LMN' else ' ' for letter in folded).split())} "


def holds(response: str, name: str) -> bool:
    """Whether the response holds the name; a name without letters or digits is in none."""
    said, sought = words(response), words(name)
    if not sought.strip():
        return False
    if script_of(name)[0] in ("Latin", ""):
        return sought in said
    said, sought = said.replace(" ", ""), sought.replace(" ", "")
    return any(not unicodedata.category(said[end : end + 1] or " ").startswith("M") for end in _ends(said, sought))


def _ends(said: str, sought: str) -> Iterator[int]:
    at = said.find(sought)
    while at >= 0:
        yield at + len(sought)
        at = said.find(sought, at + 1)


def right(response: str, aliases: Iterable[str], rivals: Iterable[str]) -> bool:
    """Whether the first line that is not empty holds an alias and no rival."""
    line = response.strip().partition("\n")[0]
    return any(holds(line, name) for name in aliases) and not any(holds(line, name) for name in rivals)
