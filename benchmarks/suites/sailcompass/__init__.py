"""SailCompass: fixed shots, whole-sequence likelihood, exact match and F1. One data set a suite, in any of its languages.

With `originals = "given"` prompts and shots are SailCompass's own, read from the checkout that the user names; without, they are ours, and
the number is called `sailcompass-like`. The paper (section 7.1, Tables 11 and 13) evaluates base models so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites.perplexity.texts import repeated
from benchmarks.suites.sailcompass import answers, items, options, places, scoring
from benchmarks.suites.sailcompass.originals import Original, assemble, original
from benchmarks.suites.sailcompass.tasks import TASKS, Task
from benchmarks.suites.sailcompass.wording import ASKED, LIKE
from benchmarks.suites.sailcompass.wording_exams import UNKNOWN
from harness.suites import Metric, Request, Row, Sample, SuiteContext, SuiteError, SuiteSpec, spread

GIVEN = "given"  # as `originals`: the words of the checkout that --gate-originals names
MOST_AMISS = 0.01  # of a language's rows; more, and its items are not scored: a gate on them is inconclusive
EXAM_AMISS = 0.05  # the Hub's exam has options that are pictures, and some that are empty: dropped and counted
BY_DATA: dict[str, dict[str, Task]] = {}
for _task in TASKS:
    BY_DATA.setdefault(_task.data, {})[_task.language] = _task
# Belebele in Javanese is not SailCompass's: our layout in one more language.
MORE = {("belebele", "jav"): Task(name="belebele_jav", data="belebele", language="jav", likelihood=True, files=("belebele/jav_Latn.jsonl",), stems=("",), gold="correct_answer_num", rows=900)}  # fmt: skip


class SailCompass:
    """The suite: one data set in some languages. A sample is a row of the original, its stratum the data set."""

    version = 2

    def __init__(
        self,
        name: str,
        languages: Sequence[str],
        task: str,
        originals: str,
        split: str,
        counts: Mapping[str, int],
        quick: int,
        apart_from: Mapping[str, Sequence[Any]],
        absent: Sequence[str],
        modes: Sequence[str] = ("generate",),
    ) -> None:
        """Check the options, declare metrics. Raises SuiteError naming the option."""
        self.name, self.languages, self.task, self.originals, self.split = name, tuple(languages), task, originals, split
        self.counts, self.quick, self.apart_from, self.absent = counts, quick, apart_from, absent
        if task not in BY_DATA:
            raise SuiteError(f"suite {name}: task is {task!r}; it is one of {', '.join(BY_DATA)}")
        self.tasks: dict[str, Task] = {}
        for language in self.languages:
            known = BY_DATA[task].get(language) or (None if originals else MORE.get((task, language)))
            if known is None or (not originals and (task, language) not in LIKE):
                there = [one for one in BY_DATA[task] if originals or (task, one) in LIKE]
                there += [] if originals else [one for data, one in MORE if data == task]
                raise SuiteError(
                    f"suite {name}: {task} is not there in {language}; it is in {', '.join(there) or 'no language'}"
                    + ("" if originals else ' with words of ours; more come with originals = "given" and --gate-originals CHECKOUT')
                )
            self.tasks[language] = known
        self.facts: dict[str, Any] = {}
        title = "sailcompass" if originals else "sailcompass-like"
        self.kind = next(iter(self.tasks.values())).kind
        self.modes = tuple(modes)
        allowed = ("generate", "likelihood") if self.kind == "answer" else ("generate",)
        if not modes or set(modes) - set(allowed):
            raise SuiteError(f"suite {name}: modes is {list(modes)}; for {task} it is one or more of {', '.join(allowed)}")
        self.metrics: Sequence[Metric] = scoring.metrics(self.kind, task, title, self.modes)
        self._parse: options.Parse = answers.option

    # --------------------------------------------------------------------------------------------------------------- samples

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        """A sample a row. Raises SuiteError where data or checkout is missing, short or misshapen."""
        if context.hub is None:
            raise SuiteError(
                f"suite {self.name}: {self.task} is read from a local mirror of the Hub: give --gate-hub DIR or set SEATRIALS_HUB"
            )
        self.facts = {
            "prompts": "SailCompass's, from a checkout" if self.originals else "ours",
            "data": {},
            "invalid": {},
            "not in the mirror": ", ".join(self.absent),
        }
        checkout = self._checkout(context)
        if self.kind == "option":
            self._parse = options.parser_of(checkout) if checkout else answers.option
            self.facts["answers"] = "read by the checkout's first_option_parse" if checkout else "read by us, not by first_option_parse"
        made: list[Sample] = []
        for language, task in self.tasks.items():
            try:
                made += self._of_language(task, Path(context.hub), checkout)
            except SuiteError as error:
                raise SuiteError(f"suite {self.name}, {language}: {error}") from error
        made = self._apart(made, context)
        yield from (spread(made, self.quick, apart=True) if context.samples == "quick" else made)

    def _of_language(self, task: Task, hub: Path, checkout: Path | None) -> list[Sample]:
        files, parts = places.found(task, hub, self.split)
        self.facts["data"] |= files
        expected = self.counts.get(task.language, 0 if self.split else task.rows)
        if expected and sum(files.values()) != expected:
            raise SuiteError(
                f"{', '.join(files)} holds {sum(files.values())} rows, {self.task} has {expected}; fetch it again, or, if a part is meant, "
                f'say so: counts = {{"{task.language}": {sum(files.values())}}}'
            )
        configured = [self._prompts(task, index, checkout) for index in range(len(parts))]
        words = self._words(task.language, checkout)
        kept, amiss = [], 0
        for file, (part, prompts) in enumerate(zip(parts, configured, strict=True)):
            for number, row in enumerate(part):
                item = items.item(task, row, number, file, words)
                if isinstance(item, str):
                    amiss += bool(item)
                    continue
                kept.append(self._sample(task, item, prompts))
        if amiss:
            self.facts["invalid"][task.language] = amiss
        most = EXAM_AMISS if task.data.startswith("m3exam") else MOST_AMISS
        if amiss > most * (amiss + len(kept)) or not kept:
            raise SuiteError(
                f"{amiss} of {amiss + len(kept)} rows cannot be judged (empty or missing fields, golds that are no label); fetch the data again"
            )
        return kept

    def _prompts(self, task: Task, index: int, checkout: Path | None) -> Original:
        if checkout is not None:
            return original(checkout, task.stems[index])
        pieces = LIKE[task.data, task.language].pieces()
        return Original(pieces=pieces, max_tokens=task.max_tokens, data=task.files[0], file=Path(__file__).with_name("wording.py"))

    def _words(self, language: str, checkout: Path | None) -> Mapping[str, str]:
        """What a data set's loader adds to its rows."""
        if self.task == "xcopa":
            return places.asked_of(checkout, language) if checkout else ASKED[language]
        if self.task == "belebele_generated":
            return {"unknown": places.unknown_of(checkout, language) if checkout else UNKNOWN[language]}
        return {}

    def _sample(self, task: Task, item: items.Item, prompts: Original) -> Sample:
        pieces = dict(prompts.pieces)
        if task.data == "m3exam":  # a label for each option that the question has
            pieces = {key: each for label, each in pieces.items() if int(key := answers.key(label)) <= len(item.fields["options"])}
        labels = list(pieces)
        whole = [assemble(each, item.fields) for each in pieces.values()]
        if task.likelihood:
            if item.gold[0] not in labels:
                raise SuiteError(f"row {item.id}: the gold {item.gold[0]!r} is none of the labels {', '.join(labels)} of {prompts.file}")
            gold: Any = labels.index(item.gold[0])
            requests = tuple(Request(kind="rolling", context=text, settings={"first": "unscored"}) for text in whole)
        else:
            gold = item.gold
            limit = prompts.max_tokens or task.max_tokens
            settings = {"max_tokens": limit, "stop": ["\n"], "encoding": "lm_eval"}
            asked = {
                "generate": Request(kind="generate", context=whole[0], settings=settings),
                "likelihood": Request(kind="loglikelihood", context=whole[0], continuation=f" {gold[0]}", settings={"encoding": "lm_eval"}),
            }
            requests = tuple(asked[mode] for mode in self.modes)
        return Sample(
            sample=f"{task.name}/{item.id}",
            cluster=item.cluster,
            language=task.language,
            stratum=self.task,
            requests=requests,
            data={"gold": gold, "labels": labels, "text": item.text},
        )

    def _checkout(self, context: SuiteContext) -> Path | None:
        if not self.originals:
            return None
        asked = list(context.originals) if self.originals == GIVEN else [str(Path(context.profile_dir) / self.originals)]
        for path in asked:
            if is_checkout(Path(path)):
                return Path(path)
        raise SuiteError(
            f"suite {self.name}: none of {', '.join(asked) or 'no checkout'} is a checkout of SailCompass (configs/datasets/xcopa); give "
            "--gate-originals DIR, or leave `originals` out for prompts of ours"
        )

    def _apart(self, made: list[Sample], context: SuiteContext) -> list[Sample]:
        """Without the items whose text also stands in the training text."""
        asked = [(one.sample, one.language, one.data["text"]) for one in made]
        dropped = repeated(self.name, asked, self.apart_from, context)
        if dropped:
            self.facts["left out, in the training text"] = len(dropped)
        return [one for one in made if one.sample not in dropped]

    # ------------------------------------------------------------------------------------------------------------------ rows

    def row(self, sample: Sample, found: Sequence[Mapping[str, Any]]) -> Row:
        """The values of one item, by the kind of the task (`scoring`)."""
        match self.kind:
            case "likelihood":
                values, shown = scoring.likelihood(sample, found)
            case "answer":
                answered = dict(zip(self.modes, found, strict=True))
                values, shown = scoring.answer(sample, answered, lambda: scoring.words(sample.language, bool(self.originals)))
            case "option":
                values, shown = scoring.option(sample, found[0]["text"], self.task, self._parse)
            case _:
                values, shown = scoring.text(sample, found[0]["text"])
        return Row(
            sample=sample.sample, cluster=sample.cluster, language=sample.language, stratum=sample.stratum, values=values, shown=shown
        )


def build(
    name: str,
    languages: Sequence[str],
    task: str = "",
    originals: str = "",
    split: str = "",
    counts: Mapping[str, int] | None = None,
    quick: int = 40,
    apart_from: Mapping[str, Sequence[Any]] | None = None,
    absent: Sequence[str] = (),
    modes: Sequence[str] = ("generate",),
) -> SailCompass:
    """Factory of `sailcompass`.

    Options: `task` (a data set of SailCompass: xcopa, belebele, ...), `originals` ("given", or a checkout relative to the profile), `split` (of
    the Hub's data set, where not the original's), `counts` (language -> rows, where a part of the data is meant), `quick` items a language,
    `apart_from` (language -> training sources: items whose text stands there are left out), `absent` (what was asked for and is not
    in the mirror: said beside the score), `modes` of a task that asks for an answer in words: `generate` (exact, F1) or `likelihood` (bits per
    byte of the first gold after the prompt: it says something of a model that is too small to answer), or both.
    """
    return SailCompass(name, languages, task, originals, split, counts or {}, quick, apart_from or {}, absent, modes)


def alone(languages: Sequence[str], hub: Path | None, originals: Sequence[str] = ()) -> dict[str, SuiteSpec]:
    """What `--suite sailcompass` stands for: every data set in those of the languages that it has and the mirror holds, with the words of
    a checkout where `originals` has one, else with ours.

    What the mirror lacks is said under the table; where only the validation split is there, that one is judged.
    """
    given = {"originals": GIVEN} if any(is_checkout(Path(path)) for path in originals) else {}
    found: dict[str, SuiteSpec] = {}
    absent: list[str] = []
    for data in BY_DATA:
        by_split: dict[str, list[str]] = {}
        for language in (one for one in languages if one in BY_DATA[data] and (given or (data, one) in LIKE)):
            known = BY_DATA[data][language]
            split = next((split for split in ("", "validation") if hub is not None and places.held(known, hub, split)), None)
            if split is None and hub is not None:
                absent.append(known.name)
            else:
                by_split.setdefault(split or "", []).append(language)
        for split, there in by_split.items():
            name = f"sailcompass_{data}{'_' if split else ''}{split}"
            found[name] = SuiteSpec(
                suite="sailcompass", languages=tuple(there), options={"task": data, **given, **({"split": split} if split else {})}
            )
    if not found:
        missing = f" (not in the mirror: {', '.join(absent)})" if absent else ""
        raise SuiteError(
            f"sailcompass has nothing in {', '.join(languages)}{missing}; it is in {', '.join(sorted({one for _, one in LIKE}))}"
        )
    if absent:
        name, spec = next(iter(found.items()))
        found[name] = dataclasses.replace(spec, options={**spec.options, "absent": absent})
    return found


def is_checkout(path: Path) -> bool:
    """Whether a directory is a checkout of SailCompass."""
    return (path / "configs" / "datasets" / "xcopa").is_dir()
