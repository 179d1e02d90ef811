"""Multiple-choice questions of the list's data sets, from a local mirror of the Hub, in one form: context, question, choices, gold.

What the Hub holds and under which names: `PLACES`. A row whose gold is none of its choices, or that has an empty choice, is dropped and counted.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites.sailcompass import answers
from harness.lm_eval_data import rows
from harness.suites import SuiteError

Fields = Mapping[str, Any]
MARK = re.compile(r"^(?:\([A-Ea-e1-5๑-๕]\)|[A-Ea-e1-5๑-๕]\s?[.．。।)])\s*")
META = "mmlu_th_chat."  # before the subject, in the `subtask_name` of Meta's rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """A question that can be judged. `pool` is the subject that its shots are of; `text` what a training set would have to hold."""

    id: str
    cluster: str
    pool: str
    context: str
    question: str
    choices: tuple[str, ...]
    gold: int

    @property
    def text(self) -> str:
        """What a training set would have to hold for the question to be known."""
        return f"{self.context}\n{self.question}".strip()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """A data set: its id, where its questions and its shots stand (configuration, split; the first that the mirror has), how a row is read.

    Without `shots` these are other questions of the same subject. `rows` is the count that its source states, 0 for none; of `drops` the
    original leaves rows out itself, so that any number may be dropped.
    """

    dataset: str
    judged: tuple[tuple[str, str], ...]
    read: Callable[[Fields, int], Question | str]
    shots: tuple[tuple[str, str], ...] = ()
    rows: int = 0
    drops: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Read:
    """What was read: the questions, those that shots are of, files with their rows, and why rows were dropped, with counts."""

    questions: Sequence[Question]
    shots: Sequence[Question]
    files: Mapping[str, int]
    dropped: Mapping[str, int]


def read(data: str, hub: Path, count: int | None = None, shots: bool = True) -> Read:
    """A data set of the list; `shots` says whether any are shown. `count` replaces the rows that its source states. Raises SuiteError naming file and mend."""
    place = PLACES[data]
    file = _file(hub, place, place.judged)
    if file is None:
        wanted = " or ".join(f"{hub / place.dataset / config / split}.jsonl" for config, split in place.judged)
        raise SuiteError(f"{wanted} does not exist; fetch {place.dataset} into the mirror")
    found = rows(hub, file)
    expected = place.rows if count is None else count
    if expected and len(found) != expected:
        raise SuiteError(
            f"{file} holds {len(found)} rows, {data} has {expected}; fetch it again, or, if a part is meant, say so by the option `counts`"
        )
    questions, dropped = _questions(place, found)
    files = {file.relative_to(hub).as_posix(): len(found)}
    pool: Sequence[Question] = questions
    if place.shots and shots:
        other = _file(hub, place, place.shots)
        if other is None:
            wanted = " or ".join(f"{config}/{split}" for config, split in place.shots)
            raise SuiteError(f"{hub / place.dataset} holds no {wanted}, which the shots are of; fetch it into the mirror, or say shots = 0")
        shown = rows(hub, other)
        pool, _ = _questions(place, shown)
        files[other.relative_to(hub).as_posix()] = len(shown)
    return Read(questions=questions, shots=pool, files=files, dropped=dropped)


def held(data: str, hub: Path) -> bool:
    """Whether the mirror has what is judged."""
    return _file(hub, PLACES[data], PLACES[data].judged) is not None


def _file(hub: Path, place: Place, where: Sequence[tuple[str, str]]) -> Path | None:
    stems = [hub / place.dataset / config / split for config, split in where]
    return next((file for stem in stems for file in (Path(f"{stem}.jsonl"), Path(f"{stem}.parquet")) if file.is_file()), None)


def _questions(place: Place, found: Sequence[Fields]) -> tuple[list[Question], dict[str, int]]:
    kept, dropped = [], dict[str, int]()
    for number, row in enumerate(found):
        try:
            question = place.read(row, number)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, SyntaxError) as error:
            question = f"a field is missing or misshapen ({type(error).__name__})"
        if isinstance(question, str):
            if question:
                dropped[question] = dropped.get(question, 0) + 1
            continue
        kept.append(question)
    return kept, dropped


# ------------------------------------------------------------------------------------------------------------------- row by row


def bare(option: str) -> str:
    """An option without the mark before it: a letter, a digit or a Thai digit, with a full stop or in brackets."""
    return MARK.sub("", option.replace(answers.CYRILLIC_VE, "B", 1) if option[:1] == answers.CYRILLIC_VE else option).strip()


def _made(id: str, cluster: str, pool: str, context: Any, question: Any, choices: Sequence[str], gold: str) -> Question | str:
    at = int(answers.key(gold)) - 1 if answers.key(gold).isdecimal() else -1
    if not str(question).strip() or len(choices) < 2 or not all(choices):
        return "an empty question or option"
    if not 0 <= at < len(choices):
        return "the answer is none of the options"
    if choices.count(choices[at]) > 1:
        return "another option reads as the answer does"
    return Question(
        id=id,
        cluster=cluster,
        pool=pool,
        context=str(context or "").strip(),
        question=str(question).strip(),
        choices=tuple(choices),
        gold=at,
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _listed(options: Any) -> list[str]:
    """Options as a list: a list, a list written as text, or lines."""
    if isinstance(options, str):
        options = ast.literal_eval(options) if options.lstrip().startswith("[") else options.splitlines()
    return [bare(str(option)) for option in options]


def _indoculture(row: Fields, number: int) -> Question | str:
    one = f"indoculture#{_digest(row['context'])}"
    return _made(f"{number:05}", one, "", row["province"], row["context"], _listed(row["options"]), str(row["answer"]))


def _mmlu(row: Fields, number: int) -> Question | str:
    if not str(row["subtask_name"]).startswith(META):
        return ""
    subject = str(row["subtask_name"]).removeprefix(META)
    given = row["input_choice_list"]
    given = json.loads(given) if isinstance(given, str) else given
    choices = [str(given[letter] or "").strip() for letter in sorted(given) if given[letter] is not None] if isinstance(given, dict) else [str(one).strip() for one in given]  # fmt: skip
    gold = str(row["input_correct_responses"][0]).strip('" ')
    return _made(f"{subject}-{number:05}", f"mmlu#{number}", subject, "", row["input_question"], choices, gold)


def _m3exam(row: Fields, number: int) -> Question | str:
    background = str(row.get("background") or "").strip()
    cluster = f"m3exam#{_digest(background)}" if background else f"m3exam#{number}"
    choices = [bare(str(option)) for option in row["options"]]
    return _made(f"{number:05}", cluster, str(row.get("subject") or ""), background, row["question_text"], choices, str(row["answer_text"]))


def _vmlu(row: Fields, number: int) -> Question | str:
    one = str(row["id"])
    return _made(one, f"vmlu#{one}", one.partition("-")[0], "", row["question"], _listed(row["choices"]), str(row["answer"] or ""))


def _tatabahasa(row: Fields, number: int) -> Question | str:
    """Its source's fields, or those of SEACrowd's common form."""
    given = row["choices"]
    if isinstance(given, dict):
        letters = [letter for letter in sorted(given) if given[letter] is not None]
        right = [letter for letter in letters if given[letter]["answer"]]
        choices, gold = [str(given[letter]["text"]).strip() for letter in letters], str(letters.index(right[0]) + 1 if right else 0)
    else:
        choices = [str(option).strip() for option in given]
        gold = str(choices.index(str(row["answer"][0]).strip()) + 1)
    context = row["instruction"] if "instruction" in row else row.get("context")
    return _made(f"{number:05}", f"tatabahasa#{number}", "", context, row["question"], choices, gold)


PLACES: Mapping[str, Place] = {
    "indoculture": Place(dataset="indolem/IndoCulture", judged=(("default", "test"),), read=_indoculture),
    "mmlu": Place(
        dataset="meta-llama/Meta-Llama-3.1-8B-Instruct-evals",
        judged=(("Llama-3.1-8B-Instruct-evals__multilingual_mmlu_th__details", "latest"),),
        read=_mmlu,
    ),
    "m3exam": Place(dataset="chiayewken/m3exam", judged=(("thai", "test"),), shots=(("thai", "dev"),), read=_m3exam, drops=True),
    "vmlu": Place(
        dataset="tridm/VMLU",
        judged=(("default", "validation"), ("default", "valid")),
        shots=(("default", "train"), ("default", "dev")),
        read=_vmlu,
        rows=744,
    ),
    "tatabahasa": Place(
        dataset="SEACrowd/tatabahasa",
        judged=(("tatabahasa_source", "train"), ("tatabahasa_seacrowd_qa", "train")),
        read=_tatabahasa,
        rows=349,
    ),
}
