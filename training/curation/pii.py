"""Layer `pii`: personal data that has a form, masked and counted: e-mail, telephone, identity numbers of the region, IP and street addresses.

    python -m training.curation pii --input a.jsonl --output out/ [--set pii.address=false]

Each is replaced by its kind (`<EMAIL>`, `<PHONE>`, `<ID>`, `<IP>`, `<ADDRESS>`) and counted by kind. Digits of every script count as digits. Names
are not sought: they have no form. A number is masked where its form or checksum says what it is; where the form alone could be a price,
a date, an ISBN or an order number, only after a word that says so (pii_forms.py). Masking twice changes nothing more.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from training.curation import pii_forms as forms
from training.curation.documents import Document
from training.curation.layer import Decision, Judge, Layer, shown

AROUND = 40  # characters on either side of a mask that a sample shows
_NATIVE = re.compile(r"[^\W\D0-9]")  # a digit, not one of ASCII


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pii(Layer):
    """Which kinds are masked; all of them unless a setting says no. No document is dropped."""

    name: ClassVar[str] = "pii"
    version: ClassVar[int] = 1

    email: bool = True
    ip: bool = True
    identity: bool = True
    phone: bool = True
    address: bool = True

    def kinds(self) -> tuple[str, ...]:
        """The kinds that are masked, in the order in which they are sought."""
        wanted = {"EMAIL": self.email, "IP": self.ip, "ID": self.identity, "PHONE": self.phone, "ADDRESS": self.address}
        return tuple(kind for kind in forms.KINDS if wanted[kind])

    def judge(self, work: Path) -> Judge:
        """The judge; it keeps every document."""
        kinds = self.kinds()

        def judge(documents: Sequence[Document], shard: int, first: int) -> list[Decision]:
            decisions = []
            for document in documents:
                text, counts = mask(document.text, kinds)
                if not counts:
                    decisions.append(Decision(document=document))
                    continue
                cut = shown(in_context(text, counts))
                decisions.append(Decision(document=dataclasses.replace(document, text=text), counts=counts, cut=cut))
            return decisions

        return judge


def mask(text: str, kinds: Sequence[str] = forms.KINDS) -> tuple[str, Counter[str]]:
    """The text with the personal data of `kinds` masked, and how many of each kind.

    A mask is shorter than what it hides and may bring a word such as "tel." nearer to the next number: so masking goes on until nothing is found.
    Each round takes a digit or an @ away, and none brings one.
    """
    counts: Counter[str] = Counter()
    while forms.LIKELY.search(text) and (found := list(_found(text, kinds))):
        counts.update(kind for _, _, kind in found)
        parts, place = [], 0
        for start, end, kind in sorted(found):
            parts += [text[place:start], f"<{kind}>"]
            place = end
        text = "".join([*parts, text[place:]])
    return text, counts


def in_context(text: str, kinds: Iterable[str]) -> Iterator[str]:
    """Of each kind its first mask in a masked text, with the text around it: a person sees what was taken for personal data, and not the datum."""
    for kind in kinds:
        start = text.find(f"<{kind}>")
        if start >= 0:  # a longer mask may have taken it in
            yield text[max(0, start - AROUND) : start + len(kind) + 2 + AROUND]


def _found(text: str, kinds: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """(start, end, kind) of what is to be masked; none overlap, the kind sought first wins."""
    folded = _NATIVE.sub(lambda digit: str(int(digit.group())), text)  # one character for one: places stay
    for kind in kinds:
        for start, end in list(forms.FIND[kind](folded)):
            yield start, end, kind
            folded = f"{folded[:start]}{chr(0) * (end - start)}{folded[end:]}"
