"""Multiple choice by likelihood: the log-probability of each choice after the item's context, whole-sequence sums.

What gates is the margin, gold over best distractor, in nats (`margin`) or nats a byte of the choice (`margin_per_byte`, for choices of
unlike length); accuracy is shown beside it. A tie is not correct: the gold choice has to be likelier than every other.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.suites import Metric, Request, Row, Sample, SuiteContext, SuiteError, margin, sift, spread
from training.pretraining import sources as reading

# Chance of the embedded items; other providers state theirs by the option `chance`.
CHANCE = {"training.world.items:choice_items": 0.25, "training.world.items:cause_items": 0.5}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """`context` followed by one of `choices` (each with its own leading space, if any); `gold` is the index of the right one."""

    id: str
    language: str
    cluster: str
    context: str
    choices: tuple[str, ...]
    gold: int
    stratum: str = ""


@dataclasses.dataclass(kw_only=True)
class Choice:
    """The suite. `items` is `module:function` (called with language and count) or a JSONL file with the fields of `Item`."""

    name: str
    languages: Sequence[str]
    items: str
    count: int
    quick: int
    chance: float | None
    version: int = 1

    def __post_init__(self) -> None:
        """Declare the metrics."""
        self.facts: dict[str, Any] = {}
        chance = self.chance if self.chance is not None else CHANCE.get(self.items)
        self.metrics: Sequence[Metric] = (
            Metric(name="margin", numerator="margin", direction="higher"),
            Metric(name="margin_per_byte", numerator="margin_per_byte", direction="higher"),
            Metric(name="accuracy", numerator="correct", direction="higher", chance=chance, ceiling=1.0, binary=True),
            Metric(name="accuracy_per_byte", numerator="correct_per_byte", direction="higher", chance=chance, ceiling=1.0, binary=True),
        )

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        """One sample an item, one request a choice; a misshapen item is invalid. Raises SuiteError where no item of a language is sound."""
        found = []
        for item in self._items(context):
            if isinstance(item, Sample):
                found.append(item)
                continue
            why = _amiss(item)
            choices = () if why else item.choices
            requests = tuple(Request(kind="loglikelihood", context=item.context, continuation=choice) for choice in choices)
            found.append(
                Sample(
                    sample=item.id,
                    cluster=item.cluster,
                    language=item.language,
                    stratum=item.stratum,
                    requests=requests,
                    data=item,
                    invalid=f"item {item.id}: {why}" if why else "",
                )
            )
        found, self.facts["invalid"] = sift(self.name, found, self.languages)
        yield from (spread(found, self.quick) if context.samples == "quick" else found)

    def _items(self, context: SuiteContext) -> Iterator[Item | Sample]:
        if self.items.endswith(".jsonl"):
            yield from self._from_file(Path(context.profile_dir) / self.items)
            return
        module, _, function = self.items.partition(":")
        try:
            provider = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            raise SuiteError(f"suite {self.name}: items {self.items!r} is neither module:function nor a .jsonl file ({error})") from error
        for language in self.languages:
            try:
                made = provider(language, self.count)
            except Exception as error:
                raise SuiteError(f"suite {self.name}: {self.items} has no items for {language}: {error}") from error
            for item in made:
                yield Item(**{field.name: getattr(item, field.name) for field in dataclasses.fields(Item)})

    def _from_file(self, path: Path) -> Iterator[Item | Sample]:
        """The items of a file, and a sample for each row that is none."""
        try:
            for number, fields in enumerate(reading.rows_of(path), 1):
                try:
                    item = Item(
                        **{**fields, "choices": tuple(fields["choices"]), "id": str(fields["id"]), "cluster": str(fields["cluster"])}
                    )
                except (TypeError, KeyError) as error:
                    name, language = f"row {number}", str(fields.get("language", ""))
                    if not language or language in self.languages:
                        why = f"{path}, {name} is not an item ({error})"
                        yield Sample(sample=name, cluster=name, language=language, invalid=why)
                    continue
                if item.language in self.languages:
                    yield item
        except (OSError, reading.SourceError) as error:
            raise SuiteError(f"suite {self.name}: {error}") from error

    def row(self, sample: Sample, answers: Sequence[Mapping[str, Any]]) -> Row:
        """Margins and correctness of one item."""
        item: Item = sample.data
        sums = [answer["logprob"] for answer in answers]
        rates = [total / len(choice.encode("utf-8")) for total, choice in zip(sums, item.choices, strict=True)]
        whole, byte = margin(sums, [item.gold]), margin(rates, [item.gold])
        likeliest = max(range(len(sums)), key=sums.__getitem__)
        return Row(
            sample=sample.sample,
            cluster=sample.cluster,
            language=sample.language,
            stratum=sample.stratum,
            values={"margin": whole, "correct": float(whole > 0), "margin_per_byte": byte, "correct_per_byte": float(byte > 0)},
            shown={"context": item.context[-240:], "gold": item.choices[item.gold], "likeliest": item.choices[likeliest]},
        )


def _amiss(item: Item) -> str:
    """Why an item cannot be asked; "" where it can."""
    if not isinstance(item.context, str) or not all(isinstance(choice, str) for choice in item.choices):
        return "its context and choices are texts"
    gold = isinstance(item.gold, int) and 0 <= item.gold < len(item.choices)
    if len(item.choices) < 2 or not gold or not all(item.choices) or len(set(item.choices)) < len(item.choices):
        return "it needs two different choices or more, none empty, and a gold among them"
    return ""


def build(
    name: str,
    languages: Sequence[str],
    items: str = "training.world.items:choice_items",
    count: int = 60,
    quick: int = 30,
    chance: float | None = None,
) -> Choice:
    """Factory of the entry point. `count` items a language; `quick` of them a language and stratum for quick samples."""
    return Choice(name=name, languages=tuple(languages), items=items, count=count, quick=quick, chance=chance)
