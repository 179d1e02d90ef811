"""Multiple choice by likelihood, as finetasks scores it: each choice as full text after the answer's word, by tokens, by characters, or by
what the choice is worth without its question.

Laid out as lighteval's multiple-choice template: instruction and context, a line for the question, a line for the answer, shots before
it with an empty line between. The words are ours, so every metric ends its data set's name with `-like`. Form `letter` lists the choices
and scores their letters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites.perplexity.texts import repeated
from benchmarks.suites.table13 import sources
from benchmarks.suites.table13.sources import Question
from benchmarks.suites.table13.wording import WORDS, Words
from harness.suites import Metric, Request, Row, Sample, SuiteContext, SuiteError, spread

FORMS = ("cloze", "letter")
LETTERS = "ABCDEFGH"
MOST_AMISS = 0.01  # of the rows; more, and nothing is scored, unless the original itself leaves them out
SHOWN = 240
CHANCE = {"indoculture": 1 / 3, "mmlu": 0.25, "vmlu": 0.25, "tatabahasa": 0.25}


@dataclasses.dataclass(kw_only=True)
class Exam:
    """The suite. `data` is a key of `sources.PLACES`; `told` whether the context is told (IndoCulture's province, an instruction)."""

    name: str
    languages: Sequence[str]
    data: str
    shots: int
    form: str
    told: bool
    counts: Mapping[str, int]
    quick: int
    apart_from: Mapping[str, Sequence[Any]]
    version: int = 1

    def __post_init__(self) -> None:
        """Check the options, declare metrics. Raises SuiteError naming the option."""
        if self.form not in FORMS or self.shots < 0:
            raise SuiteError(f"suite {self.name}: form is {self.form!r}, one of {', '.join(FORMS)}, and shots 0 or more, not {self.shots}")
        known = [language for data, language in WORDS if data == self.data]
        if not known or set(self.languages) - set(known):
            raise SuiteError(
                f"suite {self.name}: {self.data} is in {', '.join(known) or 'no language'}, not in {', '.join(self.languages)}"
            )
        self.facts: dict[str, Any] = {}
        self._pmi = self.data == "mmlu" and self.form == "cloze"
        self._by = (["token", "char"] + (["pmi"] if self._pmi else [])) if self.form == "cloze" else [""]
        title = f"{self.data}-like"
        self.metrics: Sequence[Metric] = (
            *(
                Metric(
                    name="_".join(filter(None, (title, "accuracy", by))),
                    numerator="_".join(filter(None, ("correct", by))),
                    direction="higher",
                    chance=CHANCE.get(self.data),
                    ceiling=1.0,
                    binary=True,
                )
                for by in self._by
            ),
            Metric(name=f"{title}_margin", numerator="margin", direction="higher"),
        )

    # --------------------------------------------------------------------------------------------------------------- samples

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        """A sample a question. Raises SuiteError where the data is missing, short or misshapen."""
        if context.hub is None:
            raise SuiteError(
                f"suite {self.name}: {self.data} is read from a local mirror of the Hub: give --gate-hub DIR or set SEATRIALS_HUB"
            )
        (language,) = self.languages
        try:
            found = sources.read(self.data, Path(context.hub), self.counts.get(language), shots=bool(self.shots))
        except SuiteError as error:
            raise SuiteError(f"suite {self.name}: {error}") from error
        total, amiss = len(found.questions) + sum(found.dropped.values()), sum(found.dropped.values())
        if not found.questions or (amiss > MOST_AMISS * total and not sources.PLACES[self.data].drops):
            raise SuiteError(
                f"suite {self.name}: {amiss} of {total} rows of {', '.join(found.files)} cannot be judged ({'; '.join(found.dropped)}); "
                "fetch the data again"
            )
        self.facts = {"prompts": "ours", "data": dict(found.files), "invalid": dict(found.dropped)}
        words = WORDS[self.data, language]
        made = [self._sample(one, self._shots(one, found.shots), words, language) for one in found.questions]
        made = self._apart(made, context)
        yield from (spread(made, self.quick, apart=True) if context.samples == "quick" else made)

    def _shots(self, question: Question, pool: Sequence[Question]) -> list[Question]:
        """The first of its subject, then of the others; never the question itself."""
        others = [one for one in pool if one is not question and one.text != question.text]
        mine = [one for one in others if one.pool == question.pool][: self.shots]
        if len(mine) < self.shots:
            mine += [one for one in others if one.pool != question.pool][: self.shots - len(mine)]
        if len(mine) < self.shots:
            raise SuiteError(f"suite {self.name}: {self.data} has {len(mine)} questions to show, shots asks for {self.shots}")
        return mine

    def _asked(self, question: Question, words: Words) -> str:
        """A question up to the answer's word; no blank at the end."""
        lines = [words.context.format(question.context)] if question.context and self.told else []
        lines.append(f"{words.question}: {tidy(question.question)}")
        if self.form == "letter":
            lines += [f"{letter}. {tidy(choice)}" for letter, choice in zip(LETTERS, question.choices, strict=False)]
        return "\n".join([*lines, f"{words.answer}:"])

    def _answer(self, question: Question, at: int) -> str:
        return f" {LETTERS[at]}" if self.form == "letter" else f" {tidy(question.choices[at])}"

    def _sample(self, question: Question, shots: Sequence[Question], words: Words, language: str) -> Sample:
        parts = [self._asked(one, words) + self._answer(one, one.gold) for one in shots]
        if words.instruction:
            parts = [words.instruction, *parts]
        asked = "\n\n".join([*parts, self._asked(question, words)])
        choices = [self._answer(question, at) for at in range(len(question.choices))]
        requests = [Request(kind="loglikelihood", context=asked, continuation=one, settings={"encoding": "lm_eval"}) for one in choices]
        if self._pmi:
            alone = f"{words.answer}:"
            requests += [
                Request(kind="loglikelihood", context=alone, continuation=one, settings={"encoding": "lm_eval"}) for one in choices
            ]
        return Sample(
            sample=f"{self.data}_{language}/{question.id}",
            cluster=question.cluster,
            language=language,
            stratum=self.data,
            requests=tuple(requests),
            data={"gold": question.gold, "choices": choices, "text": question.text},
        )

    def _apart(self, made: list[Sample], context: SuiteContext) -> list[Sample]:
        """Without the questions whose text also stands in the training text."""
        asked = [(one.sample, one.language, one.data["text"]) for one in made]
        dropped = repeated(self.name, asked, self.apart_from, context)
        if dropped:
            self.facts["left out, in the training text"] = len(dropped)
        return [one for one in made if one.sample not in dropped]

    # ------------------------------------------------------------------------------------------------------------------ rows

    def row(self, sample: Sample, found: Sequence[Mapping[str, Any]]) -> Row:
        """The likeliest choice under each normalisation (the first of equal ones), and the margin of the first of them."""
        gold, choices = sample.data["gold"], sample.data["choices"]
        given, alone = found[: len(choices)], found[len(choices) :]
        sums = [one["logprob"] for one in given]
        scores = {
            "": sums,
            "token": [one["logprob"] / one["tokens"] for one in given],
            "char": [total / len(choice) for total, choice in zip(sums, choices, strict=True)],
            "pmi": [total - one["logprob"] for total, one in zip(sums, alone, strict=False)],
        }
        first = scores[self._by[0]]
        values = {"margin": first[gold] - max(score for at, score in enumerate(first) if at != gold)}
        for by in self._by:
            best = max(range(len(choices)), key=scores[by].__getitem__)
            values["_".join(filter(None, ("correct", by)))] = float(best == gold)
        predicted = choices[max(range(len(choices)), key=first.__getitem__)]
        shown = {
            "item": sample.requests[0].context.rpartition("\n\n")[2][-SHOWN:],
            "gold": choices[gold][-SHOWN:],
            "predicted": predicted[-SHOWN:],
        }
        return Row(
            sample=sample.sample, cluster=sample.cluster, language=sample.language, stratum=sample.stratum, values=values, shown=shown
        )


def tidy(text: str) -> str:
    """A question or choice with a capital first and no blank before its last mark."""
    text = " ".join(text.split(" ")).strip()
    while len(text) > 1 and text[-1] in ".?!:;…" and text[-2].isspace():
        text = text[:-1].rstrip() + text[-1]
    return text[:1].upper() + text[1:]


def build(
    name: str,
    languages: Sequence[str],
    data: str,
    shots: int = 0,
    form: str = "cloze",
    told: bool = True,
    counts: Mapping[str, int] | None = None,
    quick: int = 40,
    apart_from: Mapping[str, Sequence[Any]] | None = None,
) -> Exam:
    """Factory of the list's multiple-choice rows.

    Options: `shots`, `form` ("cloze", "letter"), `told` (whether a context is told, as IndoCulture's province), `counts` (language -> rows,
    where a part of the data is meant), `quick` questions, `apart_from` (language -> training sources).
    """
    return Exam(
        name=name,
        languages=tuple(languages),
        data=data,
        shots=shots,
        form=form,
        told=told,
        counts=counts or {},
        quick=quick,
        apart_from=apart_from or {},
    )
