"""Which rows of a data set are trained on and which are held out: the named rules that `HubText.select` refers to.

A rule turns the rows of one split into documents: (key, row numbers), in order. Keys are the same in every language of a parallel
text, so that what is held out in one language is held out in all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Group = tuple[str, tuple[int, ...]]  # (key of the document, the rows whose texts it joins)
Rule = Callable[[Sequence[Row], str], list[Group]]

UDHR_TRAINED = range(1, 23)  # articles 1-22; the preamble (0) and articles 23-30 are held out
XQUAD_PER_TITLE = 5  # XQuAD took 5 paragraphs from each of 48 titles, in this order
HELD_OUT_SHARE = 0.1


class SelectError(Exception):
    """Rows that do not have the form which the rule stands on; the message names rule and row."""


def chance(*key: str) -> float:
    """A number in [0, 1) by the key alone, on every machine and version."""
    return int.from_bytes(hashlib.sha256("/".join(key).encode("utf-8", "surrogatepass")).digest()[:7], "big") / 2**56


def held_out_tenth(key: str) -> bool:
    """Whether the document of this key belongs to the held-out tenth."""
    return chance("tenth", key) < HELD_OUT_SHARE


# ------------------------------------------------------------------------------------------------- how rows make documents


def row_key(index: int) -> str:
    """The key of a row that is a document by itself."""
    return f"row-{index}"


def every_row(rows: Sequence[Row], field: str) -> list[Group]:
    """Each row a document; the key is its number, shared by the columns of a parallel text."""
    return [(row_key(index), (index,)) for index in range(len(rows))]


def distinct(rows: Sequence[Row], field: str) -> list[Group]:
    """Each distinct text a document (white space aside), where it first stands; the key is a digest of the text."""
    groups: dict[str, Group] = {}
    for index, row in enumerate(rows):
        text = " ".join(str(row.get(field, "")).split())
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        groups.setdefault(key, (key, (index,)))
    return list(groups.values())


def udhr_articles(rows: Sequence[Row], field: str) -> list[Group]:
    """Each article a document: its heading and paragraphs; article 0 is the preamble.

    Where the preamble has no heading (Cebuano, Ilocano) the mirror counts from -1: its 0 is article 1 of the others.
    """
    numbers = [row.get("article") for row in rows]
    bad = [index for index, number in enumerate(numbers) if not isinstance(number, int)]
    if bad:
        raise SelectError(f"the udhr rules need a whole number `article` in every row; row {bad[0]} has none")
    shift = 1 if -1 in numbers else 0
    groups: dict[int, list[int]] = {}
    for index, number in enumerate(numbers):
        groups.setdefault(int(number) + shift, []).append(index)  # type: ignore[arg-type]
    return [(f"article-{number}", tuple(groups[number])) for number in sorted(groups)]


def xquad_paragraphs(rows: Sequence[Row], field: str) -> list[Group]:
    """Each paragraph a document, whatever the number of its questions; the key is its place, the same in every language."""
    groups: list[Group] = []
    last = None
    for index, row in enumerate(rows):
        if row.get("context") != last:
            groups.append((f"paragraph-{len(groups)}", (index,)))
            last = row.get("context")
    if len(groups) % XQUAD_PER_TITLE:
        raise SelectError(
            f"the xquad rules need {XQUAD_PER_TITLE} paragraphs a title in one run each; these rows hold {len(groups)} paragraphs"
        )
    return groups


# --------------------------------------------------------------------------------------------------------------- the rules


def _number(key: str) -> int:
    return int(key.rpartition("-")[2])


def _udhr_trained(key: str) -> bool:
    return _number(key) in UDHR_TRAINED


def _xquad_trained(key: str) -> bool:
    """Every other title, less a tenth of its paragraphs; the other titles are XQuAD's own, for evaluation."""
    return _number(key) // XQUAD_PER_TITLE % 2 == 0 and not held_out_tenth(key)


def _tenth_trained(key: str) -> bool:
    return not held_out_tenth(key)


def _rule(group: Rule, trained: Callable[[str], bool], side: bool) -> Rule:
    return lambda rows, field: [made for made in group(rows, field) if trained(made[0]) is side]


RULES: dict[str, Rule] = {
    "": every_row,
    "distinct": distinct,
    "udhr_train": _rule(udhr_articles, _udhr_trained, True),
    "udhr_held_out": _rule(udhr_articles, _udhr_trained, False),
    "tenth_train": _rule(distinct, _tenth_trained, True),
    "tenth_held_out": _rule(distinct, _tenth_trained, False),
    "parallel_train": _rule(every_row, _tenth_trained, True),
    "parallel_held_out": _rule(every_row, _tenth_trained, False),
    "xquad_train": _rule(xquad_paragraphs, _xquad_trained, True),
    "xquad_held_out": _rule(xquad_paragraphs, _xquad_trained, False),
}
