"""SailCompass: fixed shots, whole-sequence likelihood, exact match and F1. One data set a suite, in any of its languages.

With `originals = "given"` prompts and shots are SailCompass's own, read from the checkout that the user names; without, they are ours, and
the number is called `sailcompass-like`. The paper (section 7.1, Tables 11 and 13) evaluates base models so.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites.perplexity.texts import texts
from benchmarks.suites.sailcompass import answers, items
from benchmarks.suites.sailcompass.originals import Original, assemble, original
from benchmarks.suites.sailcompass.tasks import TASKS, Task
from benchmarks.suites.sailcompass.wording import LIKE
from harness.overlap import find
from harness.suites import Metric, Request, Row, Sample, SuiteContext, SuiteError, SuiteSpec, spread

GIVEN = "given"  # as `originals`: the words of the checkout that --gate-originals names
MOST_AMISS = 0.01  # of a language's rows; more, and its items are not scored: a gate on them is inconclusive
SHOWN = 240
CHANCE = {"xcopa": 0.5, "belebele": 0.25, "indonli": 1 / 3, "wisesight": 1 / 3, "xnli": 1 / 3, "indolem": 0.5, "vsmec": 1 / 7}
# What is cut away before an answer, each with the space that follows it; the order decides where a text holds several.
PREFIXES = tuple(f"{lead} " for lead in ("คำตอบ:", "trả lời:", "jawaban:", "wangsulan:"))
BY_DATA: dict[str, dict[str, Task]] = {}
for _task in TASKS:
    if _task.data in items.KNOWN:
        BY_DATA.setdefault(_task.data, {})[_task.language] = _task
# Belebele in Javanese is not SailCompass's: our layout in one more language.
MORE = {("belebele", "jav"): Task(name="belebele_jav", data="belebele", language="jav", likelihood=True, files=("belebele/jav_Latn.jsonl",), stems=("",), gold="correct_answer_num", rows=900)}  # fmt: skip


class SailCompass:
    """The suite: one data set in some languages. A sample is a row of the original, its stratum the data set."""

    version = 1

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
        self.likelihood = next(iter(self.tasks.values())).likelihood
        self.facts: dict[str, Any] = {}
        title = "sailcompass" if originals else "sailcompass-like"
        chance = CHANCE.get(task)
        self.metrics: Sequence[Metric] = (
            (
                Metric(name=f"{title}_accuracy", numerator="correct", direction="higher", chance=chance, ceiling=1.0, binary=True),
                Metric(name=f"{title}_margin", numerator="margin", direction="higher"),
            )
            if self.likelihood
            else (
                Metric(name=f"{title}_exact", numerator="exact", direction="higher", chance=0.0, ceiling=1.0, binary=True),
                Metric(name=f"{title}_f1", numerator="f1", direction="higher", chance=0.0, ceiling=1.0),
            )
        )

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
            "not in the mirror": list(self.absent),
        }
        checkout = self._checkout(context)
        made: list[Sample] = []
        for language, task in self.tasks.items():
            try:
                made += self._of_language(task, Path(context.hub), checkout)
            except SuiteError as error:
                raise SuiteError(f"suite {self.name}, {language}: {error}") from error
        made = self._apart(made, context)
        yield from (spread(made, self.quick, apart=True) if context.samples == "quick" else made)

    def _of_language(self, task: Task, hub: Path, checkout: Path | None) -> list[Sample]:
        files, parts = items.found(task, hub, self.split)
        self.facts["data"] |= files
        expected = self.counts.get(task.language, 0 if self.split else task.rows)
        if expected and sum(files.values()) != expected:
            raise SuiteError(
                f"{', '.join(files)} holds {sum(files.values())} rows, {self.task} has {expected}; fetch it again, or, if a part is meant, "
                f'say so: counts = {{"{task.language}": {sum(files.values())}}}'
            )
        configured = [self._prompts(task, index, checkout) for index in range(len(parts))]
        asked = {}
        if self.task == "xcopa":
            asked = items.asked_of(checkout, task.language) if checkout else dict(items.question(task.language))
        kept, amiss = [], 0
        for file, (part, prompts) in enumerate(zip(parts, configured, strict=True)):
            for number, row in enumerate(part):
                item = items.item(task, row, number, file, asked)
                if isinstance(item, str):
                    amiss += bool(item)
                    continue
                kept.append(self._sample(task, item, prompts))
        if amiss:
            self.facts["invalid"][task.language] = amiss
        if amiss > MOST_AMISS * (amiss + len(kept)):
            raise SuiteError(
                f"{amiss} of {amiss + len(kept)} rows cannot be judged (empty or missing fields, golds that are no label); fetch the data again"
            )
        return kept

    def _prompts(self, task: Task, index: int, checkout: Path | None) -> Original:
        if checkout is not None:
            return original(checkout, task.stems[index])
        pieces = LIKE[task.data, task.language].pieces()
        return Original(pieces=pieces, max_tokens=task.max_tokens, data=task.files[0], file=Path(__file__).with_name("wording.py"))

    def _sample(self, task: Task, item: items.Item, prompts: Original) -> Sample:
        labels = list(prompts.pieces)
        whole = [assemble(pieces, item.fields) for pieces in prompts.pieces.values()]
        if task.likelihood:
            names = [answers.key(label) for label in labels] if task.data == "m3exam" else labels
            if item.gold[0] not in names:
                raise SuiteError(f"row {item.id}: the gold {item.gold[0]!r} is none of the labels {', '.join(names)} of {prompts.file}")
            gold: Any = names.index(item.gold[0])
            requests = tuple(Request(kind="rolling", context=text, settings={"first": "unscored"}) for text in whole)
        else:
            gold = item.gold
            limit = prompts.max_tokens or task.max_tokens
            requests = (Request(kind="generate", context=whole[0], settings={"max_tokens": limit, "stop": ["\n"]}),)
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
            if (Path(path) / "configs" / "datasets" / "xcopa").is_dir():
                return Path(path)
        raise SuiteError(
            f"suite {self.name}: none of {', '.join(asked) or 'no checkout'} is a checkout of SailCompass (configs/datasets/xcopa); give "
            "--gate-originals DIR, or leave `originals` out for prompts of ours"
        )

    def _apart(self, made: list[Sample], context: SuiteContext) -> list[Sample]:
        """Without the items whose text also stands in the training text."""
        dropped: set[str] = set()
        for language in self.apart_from:
            asked = [(self.name, one.sample, one.data["text"]) for one in made if one.language == language]
            training = (text.text for text in texts(self.name, [language], self.apart_from, context))
            dropped |= {overlap.sample for overlap in find(training, asked)}
        if dropped:
            self.facts["left out, in the training text"] = len(dropped)
        return [one for one in made if one.sample not in dropped]

    # ------------------------------------------------------------------------------------------------------------------ rows

    def row(self, sample: Sample, found: Sequence[Mapping[str, Any]]) -> Row:
        """Likelihood: the label of the least loss a token, over the whole text. Generation: exact match and F1, the best of the golds."""
        gold = sample.data["gold"]
        if self.likelihood:
            scores = answers.whole_scores([one["logprob"] for one in found], [one["tokens"] for one in found])
            predicted = answers.predict(scores)
            others = min(score for index, score in enumerate(scores) if index != gold)
            values = {"correct": float(predicted == gold), "margin": others - scores[gold]}
            shown = {"item": _last(sample.requests[gold].context), "predicted": _end(sample.requests[predicted].context)}
        else:
            text, words = found[0]["text"], _words(sample.language, bool(self.originals))
            values = {
                "exact": float(any(answers.exact(text, one, PREFIXES) for one in gold)),
                "f1": max(answers.f1(text, one, PREFIXES, words) for one in gold),
            }
            shown = {"item": _last(sample.requests[0].context), "gold": gold[0][:SHOWN], "answer": text[:SHOWN]}
        return Row(
            sample=sample.sample, cluster=sample.cluster, language=sample.language, stratum=sample.stratum, values=values, shown=shown
        )


def _last(prompt: str) -> str:
    """The item itself, after the shots."""
    return prompt.rpartition("\n\n")[2][-SHOWN:]


def _end(prompt: str) -> str:
    return prompt.rpartition("\n")[2][-SHOWN:]


def _words(language: str, originals: bool) -> Callable[[str], Sequence[str]]:
    """What F1 counts: words between blanks; in Thai, which has none, pythainlp's words (as the original) or, in ours, characters."""
    if language != "tha":
        return str.split
    if not originals:
        return lambda text: [character for character in text if not character.isspace()]
    if importlib.util.find_spec("pythainlp") is None:
        raise SuiteError("SailCompass counts F1 of Thai over pythainlp's words; pip install pythainlp")
    from pythainlp import word_tokenize

    return lambda text: word_tokenize(text, join_broken_num=True, keep_whitespace=False)


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
) -> SailCompass:
    """Factory of `sailcompass`.

    Options: `task` (a data set of SailCompass: xcopa, belebele, ...), `originals` ("given", or a checkout relative to the profile), `split` (of
    the Hub's data set, where not the original's), `counts` (language -> rows, where a part of the data is meant), `quick` items a language,
    `apart_from` (language -> training sources: items whose text stands there are left out), `absent` (what was asked for and is not
    in the mirror: said beside the score).
    """
    return SailCompass(name, languages, task, originals, split, counts or {}, quick, apart_from or {}, absent)


def alone(languages: Sequence[str], hub: Path | None) -> dict[str, SuiteSpec]:
    """What `--suite sailcompass` stands for: every data set with words of ours, in those of the languages that it has and the mirror holds.

    What the mirror lacks is said under the table; where only the validation split is there, that one is judged.
    """
    found: dict[str, SuiteSpec] = {}
    absent: list[str] = []
    for task in BY_DATA:
        by_split: dict[str, list[str]] = {}
        for language in (one for one in languages if (task, one) in LIKE and one in BY_DATA[task]):
            known = BY_DATA[task][language]
            split = next((split for split in ("", "validation") if hub is not None and _held(known, hub, split)), None)
            if split is None and hub is not None:
                absent.append(known.name)
            else:
                by_split.setdefault(split or "", []).append(language)
        for split, there in by_split.items():
            name = f"sailcompass_{task}{'_' if split else ''}{split}"
            found[name] = SuiteSpec(
                suite="sailcompass", languages=tuple(there), options={"task": task, **({"split": split} if split else {})}
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


def _held(task: Task, hub: Path, split: str) -> bool:
    whole = not split and all((hub / items.ORIGINAL / file).is_file() for file in task.files)
    return whole or items.file_of(task, hub, split) is not None
