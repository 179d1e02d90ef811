"""Whether personal data that has a form still stands in a text: an e-mail address, a telephone or an identity number.

Simple patterns of the suite's own, not those by which the layer `pii` finds what it masks (`training/curation/pii_forms.py`), with no checksum and no word
before the number. A number is one of several groups of digits of any script. Dates, years, prices, decimals, ISBNs and the pieces of a code or a URL are
none; a number in one run is not told from an order's and is left alone.
"""

from __future__ import annotations

import re

ADDRESS = re.compile(r"[A-Za-z0-9]@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}")
# + and 9 to 15 digits: no price is written with a plus, spaces and no decimals.
_ABROAD = re.compile(r"(?<![\w+])\+[1-9](?:[ ()-]{0,2}\d){8,14}(?!\d)", re.ASCII)
# 0 and an area or a network, then groups: 021 555 1234, (02) 8123-4567, 0912.345.678. Two digits are a day or a month unless three follow.
_AT_HOME = re.compile(
    r"(?<![\w(])(?<!\w[-./,:=])(?<!\d )\(?0[1-9](?:\d{1,2}\)?[ .-]|\)?[ .-](?=\d{3}))\d{2,9}(?:[ .-]\d{2,8}){0,4}(?![\w%]|[ ./,:-]\d)",
    re.ASCII,
)
# Groups joined by hyphens, 10 to 16 digits: what is on a card, and telephone numbers written so.
_JOINED = re.compile(r"(?<![\w-])(?<!\w[./,:=])\d{1,7}(?:-\d{1,7}){2,5}(?![\w-]|[./,:]\d)", re.ASCII)
_NATIVE = re.compile(r"[^\D0-9]")
_BOOK = re.compile(r"97[89]-")


def stands(text: str) -> bool:
    """Whether any of it does."""
    text = _NATIVE.sub(lambda digit: str(int(digit.group())), text)
    if ADDRESS.search(text) or _ABROAD.search(text):
        return True
    if any(9 <= _digits(found) <= 12 for found in _AT_HOME.findall(text)):
        return True
    return any(_of_a_person(found) for found in _JOINED.findall(text))


def _of_a_person(number: str) -> bool:
    """Whether digits in groups are no book's (13 digits, or 10 in four groups) and no dates or years."""
    groups, digits = number.split("-"), _digits(number)
    if not 10 <= digits <= 16 or _BOOK.match(number) or (digits == 10 and len(groups) == 4):
        return False
    return not all(len(group) < 3 or (len(group) == 4 and group[:2] in ("18", "19", "20")) for group in groups)


def _digits(number: str) -> int:
    return sum(letter.isdigit() for letter in number)
