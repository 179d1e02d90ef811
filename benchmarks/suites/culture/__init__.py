"""Culture: cuisine, festivals, etiquette, geography and traditions, asked in the language and in English.

A sample is an item, with the requests of both its forms, so that the gap between them is paired: each form has metrics of its own, and
`gap` is the mean of right in the language less right in English. The stratum is the topic; a country is a group of languages, shown beside them.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.suites.culture import answers as wording
from benchmarks.suites.culture import originals
from benchmarks.suites.culture.items import COUNTRY, FORMS, Form, Item, Part, drafted
from harness import lm_eval_suite
from harness.lm_eval_suite import LmEvalSuite
from harness.suites import Metric, Request, Row, Sample, SuiteContext, SuiteError, margin, spread

MOST_AMISS = 0.01  # of a language's items; more, and they are kept as NaN: a gate on them is inconclusive
SHOWN = 160


@dataclasses.dataclass(kw_only=True)
class Culture:
    """The suite. `dataset` "" is the items drafted here, else a key of `originals.ORIGINALS`; `rows` its rows, where a part is meant."""

    name: str
    languages: Sequence[str]
    mode: Literal["choice", "generate"]
    dataset: str
    rows: int
    max_tokens: int
    chat: bool
    quick: int
    version: int = 1

    def __post_init__(self) -> None:
        """Check the options, declare the metrics and the countries. Raises SuiteError naming the option."""
        known = {"": COUNTRY, **{name: one.places for name, one in originals.ORIGINALS.items()}}
        if self.mode not in ("choice", "generate"):
            raise SuiteError(f"suite {self.name}: mode is {self.mode!r}; it is choice or generate")
        if self.mode == "generate" and self.dataset:
            raise SuiteError(f"suite {self.name}: {self.dataset} has no answers in words; leave the mode at choice")
        if self.max_tokens < 1 or self.quick < 1 or self.rows < 0:
            raise SuiteError(f"suite {self.name}: max_tokens and quick are 1 or more, rows 0 or more")
        if lacking := [language for language in self.languages if language not in known[self.dataset]]:
            raise SuiteError(
                f"suite {self.name}: {self.dataset or 'culture'} has nothing on {lacking[0]}; it has {', '.join(known[self.dataset])}"
            )
        original = originals.ORIGINALS.get(self.dataset)
        self.forms = original.forms if original else FORMS
        places = {language: self._country(language, original) for language in self.languages}
        self.groups: Mapping[str, Sequence[str]] = {
            country: tuple(language for language in self.languages if places[language] == country)
            for country in dict.fromkeys(places.values())
            if country
        }
        self.facts: dict[str, Any] = {}
        self.metrics: Sequence[Metric] = tuple(self._declared(original.chance if original else 0.25))

    @staticmethod
    def _country(language: str, original: originals.Original | None) -> str:
        if original is None:
            return COUNTRY[language]
        return original.places[language] if original.countries else ""

    def _declared(self, chance: float) -> Iterator[Metric]:
        title = f"{self.dataset}-like_" if self.dataset else ""
        kinds = ("", "_per_byte") if self.mode == "choice" else ("",)
        for form in self.forms:
            for kind in kinds:
                if self.mode == "choice":
                    yield Metric(name=f"{title}margin{kind}_{form}", numerator=f"margin{kind}_{form}", direction="higher")
                yield Metric(
                    name=f"{title}accuracy{kind}_{form}",
                    numerator=f"correct{kind}_{form}",
                    direction="higher",
                    chance=chance if self.mode == "choice" else 0.0,
                    ceiling=1.0,
                    binary=True,
                )
        if len(self.forms) == 2:
            for kind in kinds:
                yield Metric(name=f"{title}gap{kind}", numerator=f"gap{kind}", direction="higher")

    # --------------------------------------------------------------------------------------------------------------- samples

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        """A sample an item. Raises SuiteError where data is missing, short or misshapen."""
        self.facts = {"prompts": "BLEnD's own" if self.dataset == "blend" else "ours", "data": {}, "invalid": {}}
        found: list[Sample] = []
        for language in self.languages:
            try:
                items = self._items(language, context)
            except SuiteError as error:
                raise SuiteError(f"suite {self.name}: {error}") from error
            amiss = sum(bool(item.amiss) for item in items)
            too_many = amiss > MOST_AMISS * len(items)
            if amiss:
                self.facts["invalid"][language] = {"too many" if too_many else "left out": amiss}
            found += [self._sample(item) for item in items if too_many or not item.amiss]
        if context.samples == "quick":
            kept = {one.sample for one in spread([one for one in found if not one.data.amiss], self.quick)}
            found = [one for one in found if one.data.amiss or one.sample in kept]
        yield from found

    def _items(self, language: str, context: SuiteContext) -> list[Item]:
        if not self.dataset:
            items = drafted(language)
            self.facts["data"][language] = len(items)
            return items
        if context.hub is None:
            raise SuiteError(f"{self.dataset} is read from a local mirror of the Hub: give --gate-hub DIR or set SEATRIALS_HUB")
        items, files = originals.read(self.dataset, language, Path(context.hub), self.rows)
        self.facts["data"] |= files
        return items

    def _sample(self, item: Item) -> Sample:
        requests = () if item.amiss else tuple(request for form in self.forms for request in self._requests(item.forms[form]))
        return Sample(sample=item.id, cluster=item.cluster, language=item.language, stratum=item.stratum, requests=requests, data=item)

    def _requests(self, form: Form) -> Iterator[Request]:
        if self.mode == "choice":
            for part in form.parts:
                for choice in part.choices:
                    yield Request(kind="loglikelihood", context=part.context, continuation=choice)
            return
        question = form.parts[0].context
        if self.chat:
            question = json.dumps({"messages": [{"role": "user", "content": question.strip()}]}, ensure_ascii=False)
        settings = {"max_tokens": self.max_tokens, "stop": [] if self.chat else ["\n"], **({"chat": True} if self.chat else {})}
        yield Request(kind="generate", context=question, settings=settings)

    # ------------------------------------------------------------------------------------------------------------------ rows

    def row(self, sample: Sample, answers: Sequence[Mapping[str, Any]]) -> Row:
        """Right or not in each form, by how much, and the gap; of an item that cannot be judged NaN throughout."""
        item: Item = sample.data
        values: dict[str, float] = {}
        shown: dict[str, str] = {"country": item.country} if item.country else {}
        if item.amiss:
            values = {metric.numerator: math.nan for metric in self.metrics}
            shown["invalid"] = item.amiss[:SHOWN]
        else:
            rest = list(answers)
            for name in self.forms:
                form = item.forms[name]
                count = sum(len(part.choices) for part in form.parts) if self.mode == "choice" else 1
                mine, rest = rest[:count], rest[count:]
                found = self._scored(form, mine) if self.mode == "choice" else _said(form, mine[0]["text"])
                values |= {f"{key}_{name}": value for key, value in found[0].items()}
                shown |= {f"{key} ({name})": text[-SHOWN:] for key, text in found[1].items()}
            if len(self.forms) == 2:
                for kind in ("", "_per_byte") if self.mode == "choice" else ("",):
                    values[f"gap{kind}"] = values[f"correct{kind}_native"] - values[f"correct{kind}_english"]
        return Row(
            sample=sample.sample, cluster=sample.cluster, language=sample.language, stratum=sample.stratum, values=values, shown=shown
        )

    @staticmethod
    def _scored(form: Form, answers: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], dict[str, str]]:
        """The least margin of the parts: positive where gold is the likeliest of each."""
        whole, byte, at = [], [], 0
        likeliest: list[str] = []
        for part in form.parts:
            sums = [answer["logprob"] for answer in answers[at : at + len(part.choices)]]
            at += len(part.choices)
            rates = [total / len(choice.encode("utf-8")) for total, choice in zip(sums, part.choices, strict=True)]
            whole.append(margin(sums, [part.gold]))
            byte.append(margin(rates, [part.gold]))
            likeliest.append(part.choices[max(range(len(rates)), key=rates.__getitem__)])
        values = {
            "margin": _least(whole),
            "correct": float(_least(whole) > 0),
            "margin_per_byte": _least(byte),
            "correct_per_byte": float(_least(byte) > 0),
        }
        return values, {"question": form.parts[0].context, "gold": _golds(form.parts), "likeliest": "; ".join(map(str.strip, likeliest))}


def _least(margins: Sequence[float]) -> float:
    return math.nan if any(map(math.isnan, margins)) else min(margins)


def _golds(parts: Sequence[Part]) -> str:
    return "; ".join(part.choices[part.gold].strip() for part in parts)


def _said(form: Form, text: str) -> tuple[dict[str, float], dict[str, str]]:
    right = wording.right(text, form.aliases, form.rivals)
    return {"correct": float(right)}, {"question": form.parts[0].context, "gold": _golds(form.parts), "answer": text[:SHOWN]}


def build(
    name: str,
    languages: Sequence[str],
    mode: Literal["choice", "generate"] = "choice",
    dataset: str = "",
    rows: int = 0,
    max_tokens: int = 64,
    chat: bool = False,
    quick: int = 0,
) -> Culture | LmEvalSuite:
    """Factory of `culture`.

    Options: `mode` (choice: by likelihood; generate: a short answer in words), `dataset` (a published one, from the mirror: culturalbench_easy,
    culturalbench_hard, blend, indoculture, global_mmlu_lite; copal_id, copal_id_colloquial and include are lm-eval's tasks), `rows` (of its file, where
    a part is meant), `max_tokens` and `chat` of generate, `quick` items a language and stratum (default 4 of ours, 20 of a data set).
    """
    if dataset in originals.LM_EVAL:
        return _of_lm_eval(name, tuple(languages), dataset, mode, quick)
    if dataset and dataset not in originals.ORIGINALS:
        there = ", ".join((*originals.ORIGINALS, *originals.LM_EVAL))
        raise SuiteError(f"suite {name}: dataset is {dataset!r}; it is one of {there}, or left out for the items of this suite")
    return Culture(
        name=name,
        languages=tuple(languages),
        mode=mode,
        dataset=dataset,
        rows=rows,
        max_tokens=max_tokens,
        chat=chat,
        quick=quick or (20 if dataset else 4),
    )


def _of_lm_eval(name: str, languages: tuple[str, ...], dataset: str, mode: str, quick: int) -> LmEvalSuite:
    tasks = originals.LM_EVAL[dataset]
    if lacking := [language for language in languages if language not in tasks]:
        raise SuiteError(f"suite {name}: {dataset} has nothing on {lacking[0]}; it has {', '.join(tasks)}")
    if mode != "choice":
        raise SuiteError(f"suite {name}: {dataset} has no answers in words; leave the mode at choice")
    chosen = {language: tasks[language] for language in languages}
    return lm_eval_suite.build(name, languages, task="", tasks=chosen, quick=quick or 60)
