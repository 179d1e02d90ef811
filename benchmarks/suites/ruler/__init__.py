"""RULER: 13 synthetic long-context tasks at chosen lengths in the model's own tokens; `ruler-sea`: the same in 13 languages.

An answer is generated and scored by containment (`mode="answer"`), or the right value is held against three wrong ones by likelihood
(`mode="margin"`), which says something of small base models too. A length beyond the model's window is not run: its score is NaN.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.suites.ruler import originals as nvidia
from benchmarks.suites.ruler import wording as words
from benchmarks.suites.ruler.draft import Draft
from benchmarks.suites.ruler.kept import Kept
from benchmarks.suites.ruler.questions import QuestionSet, from_checkout, from_hub
from benchmarks.suites.ruler.scoring import clean, match_all, match_part
from benchmarks.suites.ruler.tasks import GROUPS, TASKS, Task, TooShort, draft, fitted
from harness.suites import Measure, Metric, Request, Row, Sample, SuiteContext, SuiteError, margin

LEAST = 512  # the shortest length
QUICK_TOKENS = 65_536  # of each task and length in quick samples: 25 samples at most, 2 at least
SHOWN = 240


GIVEN = "given"  # as `originals`: NVIDIA's words from the checkout that --gate-originals names


@dataclasses.dataclass(kw_only=True)
class Ruler:
    """The suite. `lengths` in tokens of the model, `count` samples a task, length and language."""

    name: str
    languages: Sequence[str]
    lengths: tuple[int, ...]
    tasks: tuple[str, ...]
    count: int
    quick: int
    seed: int
    mode: Literal["answer", "margin"]
    chat: bool
    originals: str
    questions: Literal["own", "hub"]
    version: int = 1
    needs_tokenizer: bool = True

    def __post_init__(self) -> None:
        """Check the options and declare the metrics. Raises SuiteError naming the option."""
        self._check()
        self.groups = tuple(group for group in GROUPS if any(TASKS[task].group == group for task in self.tasks))
        self.facts: dict[str, Any] = {}
        self.metrics: list[Metric] = []
        # The name stands wherever the number is printed: only NVIDIA's own words on English are RULER.
        title = "ruler" if self.originals else "ruler-sea" if self.languages != ("eng",) else "ruler-like"
        if self.mode == "margin":
            self._declare(f"{title}_margin", "margin", chance=None)
            self._declare(f"{title}_chosen", "score", chance=0.25)
        else:
            self._declare(title, "score", chance=0.0)

    def _check(self) -> None:
        if unknown := [task for task in self.tasks if task not in TASKS]:
            raise SuiteError(f"suite {self.name}: no task {unknown[0]!r}; `tasks` may name {', '.join(TASKS)}")
        if not self.tasks or not self.lengths or self.count < 1 or self.quick < 0:
            raise SuiteError(f"suite {self.name}: `tasks` and `lengths` must not be empty, `count` is at least 1 and `quick` at least 0")
        if len(set(self.tasks)) != len(self.tasks) or len(set(self.lengths)) != len(self.lengths):
            raise SuiteError(f"suite {self.name}: `tasks` or `lengths` names one twice")
        if short := [length for length in self.lengths if not isinstance(length, int) or length < LEAST]:
            raise SuiteError(f"suite {self.name}: a length is {short[0]!r}; it is a number of tokens, {LEAST} or more")
        if unknown := [iso for iso in self.languages if iso not in words.LANGUAGES]:
            raise SuiteError(f"suite {self.name}: there is no wording for {unknown[0]}; there are {', '.join(words.LANGUAGES)}")
        if self.mode not in ("answer", "margin"):
            raise SuiteError(f"suite {self.name}: mode is {self.mode!r}; it is answer or margin")
        if self.questions not in ("own", "hub"):
            raise SuiteError(f"suite {self.name}: questions is {self.questions!r}; it is own or hub")
        if (self.originals or self.questions == "hub") and tuple(self.languages) != ("eng",):
            raise SuiteError(f"suite {self.name}: NVIDIA's words, SQuAD and HotpotQA are English; leave `originals` and `questions` out")

    def _declare(self, title: str, value: str, chance: float | None) -> None:
        """A metric over everything, one a length, one a group of tasks, and one a group at a length; those that would repeat are left out."""
        parts = [("", "")]
        parts += [(f"@{length}",) * 2 for length in self.lengths if len(self.lengths) > 1]
        parts += [(f"_{group}",) * 2 for group in self.groups if len(self.groups) > 1]
        parts += [(f"_{g}@{n}",) * 2 for g in self.groups for n in self.lengths if len(self.groups) > 1 and len(self.lengths) > 1]
        for label, column in parts:
            self.metrics.append(
                Metric(
                    name=title + label,
                    numerator=value + column,
                    denominator=f"n{column}" if column else "",
                    direction="higher",
                    chance=chance,
                    ceiling=None if value == "margin" else 1.0,
                    binary=value == "score" and self.mode == "margin" and not column,
                )
            )

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        """The samples, by language, length, task and number. Raises SuiteError where a length is too short for a task."""
        measure = context.measure
        if measure is None:
            raise SuiteError(f"suite {self.name}: its samples fill a length in a model's tokens; run it on a checkpoint")
        checkout = self._checkout(context)
        self.facts["prompts"] = "NVIDIA's, from a checkout" if checkout else "ours"
        asked = {task: self._asked(task, context, checkout) for task in self.tasks if TASKS[task].group == "qa"}
        short: dict[str, int] = {}
        lacking: set[str] = set()
        found: list[Sample] = []
        for iso in self.languages:
            told = nvidia.load(checkout) if checkout else words.load(iso)
            for length in self.lengths:
                for task in self.tasks:
                    questions = hashlib.sha256(repr(asked.get(task)).encode()).hexdigest()
                    kept = Kept(measure.kept, measure.tokenizer, told.digest, questions, self.seed, iso, task, length, self.chat)
                    for index in range(self._count(length, context)):
                        try:
                            found.append(self._sample(told, iso, length, TASKS[task], index, asked.get(task), measure, kept))
                        except TooShort as error:
                            place, least = f"{task} at {length} in {iso}", error.least + TASKS[task].generate
                            short[place] = max(short.get(place, 0), least)
                            lacking.add(iso)
                            found.append(
                                _not_run(
                                    self._named(iso, task, length, index), iso, TASKS[task], length, f"it takes {least} tokens or more"
                                )
                            )
                    kept.save()
        if lacking == set(self.languages):
            told_short = "; ".join(f"{place} takes at least {least}" for place, least in short.items())
            raise SuiteError(
                f"suite {self.name}: too short in this model's tokens: {told_short}; give longer `lengths`, or leave it out of `tasks`"
            )
        self.facts["too short in this model's tokens"] = {place: f"takes at least {least}" for place, least in short.items()}
        self.facts["beyond the window"] = sum(sample.data[1] > measure.window for sample in found)
        yield from found

    def _count(self, length: int, context: SuiteContext) -> int:
        if context.samples == "full":
            return self.count
        return min(self.count, self.quick or min(25, max(2, QUICK_TOKENS // length)))

    def _checkout(self, context: SuiteContext) -> Path | None:
        """NVIDIA's RULER: the directory that the option `originals` names, or with "given" the one among the run's checkouts."""
        if self.originals != GIVEN:
            return Path(context.profile_dir) / self.originals if self.originals else None
        for path in context.originals:
            if (Path(path) / nvidia.FOLDER).is_dir():
                return Path(path)
        named = ", ".join(context.originals) or "none is named"
        raise SuiteError(
            f"suite {self.name}: no checkout of RULER ({named}); name one by --gate-originals=DIR, or leave `originals` out for ruler-like"
        )

    def _asked(self, task: str, context: SuiteContext, checkout: Path | None) -> QuestionSet | None:
        if self.questions == "hub":
            return from_hub(context.hub, task)
        return from_checkout(checkout, task) if checkout else None

    def _sample(
        self,
        told: words.Wording,
        iso: str,
        length: int,
        task: Task,
        index: int,
        asked: QuestionSet | None,
        measure: Measure,
        kept: Kept,
    ) -> Sample:
        name = self._named(iso, task.name, length, index)
        if length > measure.window:
            return _not_run(name, iso, task, length, f"{length} tokens are beyond the model's window")
        key = f"ruler/{self.seed}/{iso}/{task.name}@{length}"

        def count(text: str, prefix: str = "") -> int:
            return measure.tokens(self._request(text, prefix, task))

        drawn = draft(task, told, length, key, index, asked, count)
        prefix = drawn.prefix
        budget = length - task.generate
        size = kept.sizes.get(str(index))
        if size is None or count(drawn.text(*size), prefix) > budget:
            size = fitted(drawn, budget, lambda text: count(text, prefix))
            kept.put(index, size)
        requests = self._requests(drawn.text(*size), drawn, task)
        stratum = f"{task.name}@{length}"
        return Sample(sample=name, cluster=name, language=iso, stratum=stratum, requests=requests, data=(task, length, drawn))

    def _named(self, iso: str, task: str, length: int, index: int) -> str:
        return f"{iso}/{task}@{length}/{self.seed}-{index}"

    def _request(self, text: str, prefix: str, task: Task) -> Request:
        """The generation of an answer; in a conversation the answer prefix opens the assistant's turn."""
        settings: dict[str, Any] = {"max_tokens": task.generate, "stop": ()}
        if not self.chat:
            return Request(kind="generate", context=text, settings=settings)
        user = text.removesuffix(prefix) if prefix else text
        # A template strips what a message begins or ends with; here that is done for all alike.
        talk = [{"role": "user", "content": user}, {"role": "assistant", "content": prefix.strip()}]
        if not prefix:
            talk.pop()
        said = json.dumps({"messages": talk, "add_generation_prompt": not prefix}, ensure_ascii=False)
        return Request(kind="generate", context=said, settings={**settings, "chat": True})

    def _requests(self, text: str, drawn: Draft, task: Task) -> tuple[Request, ...]:
        asked = self._request(text, drawn.prefix, task)
        if self.mode == "answer":
            return (asked,)
        gap = "" if drawn.prefix[-1:].isspace() and not self.chat else " "
        settings = {"chat": True} if self.chat else {}
        return tuple(
            Request(kind="loglikelihood", context=asked.context, continuation=gap + value, settings=settings)
            for value in (drawn.refs[0], *drawn.wrong)
        )

    def row(self, sample: Sample, answers: Sequence[Mapping[str, Any]]) -> Row:
        """Score and share of the answer, or margin and choice; NaN where the sample was not run."""
        task, length, drawn = sample.data
        shown: dict[str, str] = {}
        if isinstance(drawn, str):
            shown = {"not run": drawn}
            values = {"score": math.nan, "margin" if self.mode == "margin" else "part": math.nan}
        elif self.mode == "margin":
            scores = [answer["logprob"] for answer in answers]
            best = margin(scores, [0])
            values = {"score": math.nan if math.isnan(best) else float(best > 0), "margin": best}
            likeliest = (drawn.refs[0], *drawn.wrong)[max(range(len(scores)), key=scores.__getitem__)]
            shown = {"question": drawn.prefix, "gold": drawn.refs[0], "likeliest": likeliest}
        else:
            text = clean(answers[0]["text"])
            part = match_part(text, drawn.refs)
            values = {"score": part if task.part else match_all(text, drawn.refs), "part": part}
            shown = {"question": drawn.prefix[-SHOWN:], "gold": ", ".join(drawn.refs)[:SHOWN], "answer": text[:SHOWN]}
        return Row(
            sample=sample.sample,
            cluster=sample.cluster,
            language=sample.language,
            stratum=sample.stratum,
            values=values | self._columns(task, length, values),
            shown=shown,
        )

    def _columns(self, task: Task, length: int, values: Mapping[str, float]) -> dict[str, float]:
        """The numerators and denominators of the metrics that see a part of the samples; 0 where a sample is in another part."""
        mine = {f"@{length}", f"_{task.group}", f"_{task.group}@{length}"}
        columns: dict[str, float] = {}
        for metric in self.metrics:
            if metric.denominator:
                inside = metric.denominator[1:] in mine
                value = metric.numerator.removesuffix(metric.denominator[1:])
                columns[metric.numerator] = values[value] if inside else 0.0
                columns[metric.denominator] = float(inside)
        return columns


def _not_run(name: str, iso: str, task: Task, length: int, why: str) -> Sample:
    """A sample that asks nothing and has no score: its length is beyond the window, or too short for the task in this language."""
    return Sample(sample=name, cluster=name, language=iso, stratum=f"{task.name}@{length}", data=(task, length, why))


def build(
    name: str,
    languages: Sequence[str] = ("eng",),
    lengths: Sequence[int] = (4096, 8192, 16384, 32768, 65536, 131072),
    tasks: Sequence[str] = tuple(TASKS),
    count: int = 500,
    quick: int = 0,
    seed: int = 42,
    mode: Literal["answer", "margin"] = "answer",
    chat: bool = False,
    originals: str = "",
    questions: Literal["own", "hub"] = "own",
) -> Ruler:
    """Factory of the entry point `ruler`. `quick` 0 chooses by length; `originals` is a checkout of NVIDIA's RULER (relative to the profile)."""
    if tuple(languages) != ("eng",):
        raise SuiteError(f"suite {name}: `ruler` is English; the other languages are `ruler-sea`")
    return _made(name, languages, lengths, tasks, count, quick, seed, mode, chat, originals, questions)


def build_sea(
    name: str,
    languages: Sequence[str] = words.SOUTH_EAST_ASIA,
    lengths: Sequence[int] = (4096, 8192, 16384, 32768, 65536, 131072),
    tasks: Sequence[str] = tuple(TASKS),
    count: int = 100,
    quick: int = 0,
    seed: int = 42,
    mode: Literal["answer", "margin"] = "answer",
    chat: bool = False,
) -> Ruler:
    """Factory of the entry point `ruler-sea`: the tasks in each language, words by us."""
    if "eng" in languages:
        raise SuiteError(f"suite {name}: English is `ruler`; `ruler-sea` has {', '.join(words.SOUTH_EAST_ASIA)}")
    return _made(name, languages, lengths, tasks, count, quick, seed, mode, chat, "", "own")


def _made(
    name: str,
    languages: Sequence[str],
    lengths: Sequence[int],
    tasks: Sequence[str],
    count: int,
    quick: int,
    seed: int,
    mode: Literal["answer", "margin"],
    chat: bool,
    originals: str,
    questions: Literal["own", "hub"],
) -> Ruler:
    return Ruler(
        name=name,
        languages=tuple(languages),
        lengths=tuple(lengths),
        tasks=tuple(tasks),
        count=count,
        quick=quick,
        seed=seed,
        mode=mode,
        chat=chat,
        originals=originals,
        questions=questions,
    )
