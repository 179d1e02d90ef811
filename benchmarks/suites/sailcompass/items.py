"""A row of one of SailCompass's data sets as an item: what prompts refer to (SailCompass's field names), its gold and its cluster.

What cannot be judged is counted, never guessed at.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.suites.sailcompass import answers
from benchmarks.suites.sailcompass.places import Fields
from benchmarks.suites.sailcompass.tasks import Task

WISESIGHT = {"pos": "0", "neu": "1", "neg": "2"}  # questions, `q`, are no sentiment: the original leaves them out
INDONLI = {"0": "e", "1": "n", "2": "c", "entailment": "e", "neutral": "n", "contradiction": "c"}
XNLI = {"0": "entailment", "1": "neutral", "2": "contradiction"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """A row that can be judged: `gold` holds every right answer (a label of likelihood, texts of generation)."""

    id: str
    cluster: str
    fields: Fields
    gold: tuple[str, ...]
    text: str  # what would have to stand in a training set for the item to be known
    file: int = 0  # which file of the task


# ------------------------------------------------------------------------------------------------------------- row by row


def item(task: Task, row: Fields, number: int, file: int, words: Mapping[str, str]) -> Item | str:
    """The row as an item, or why it cannot be judged. `words` are those that the loader of a data set puts into its rows."""
    try:
        return _MAKE[task.data](task, row, number, file, words)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"


def _made(row: Fields, number: int, cluster: str, gold: Sequence[str], text: str, file: int, **more: Any) -> Item | str:
    if not text.strip() or not gold or not all(one.strip() for one in gold):
        return "an empty text or answer"
    return Item(
        id=f"{file}-{number:05}" if file else f"{number:05}",
        cluster=cluster,
        fields={**row, **more},
        gold=tuple(gold),
        text=text,
        file=file,
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _xcopa(task: Task, row: Fields, number: int, file: int, words: Mapping[str, str]) -> Item | str:
    if row["choice1"] == row["choice2"]:
        return "two equal choices"
    gold = {0: "0", 1: "1"}[row["label"]]
    return _made(row, number, f"xcopa#{row['idx']}", [gold], row["premise"], file, full_question=words[row["question"]])


def _belebele(task: Task, row: Fields, number: int, file: int, words: Mapping[str, str]) -> Item | str:
    choices = [str(row[f"mc_answer{index}"]) for index in range(1, 5)]
    if not all(choices):
        return "an empty choice"
    gold = {str(index): chr(64 + index) for index in range(1, 5)}[str(row["correct_answer_num"])]
    more = {}
    if not task.likelihood:  # generated: the options stand in the prompt, and a fifth that the answer is not known
        gold = answers.key(gold)
        more["options"] = "\n".join(f"{chr(65 + index)}. {choice}" for index, choice in enumerate([*choices, words["unknown"]]))
    # A passage and its questions have one link in every language; a mirror without it has the passage's own text.
    cluster = f"belebele#{_digest(row.get('link') or row['flores_passage'])}"
    return _made(row, number, cluster, [gold], row["flores_passage"], file, **more)


def _xquad(task: Task, row: Fields, number: int, file: int, words: Mapping[str, str]) -> Item | str:
    gold = [str(row["answer"])] if "answer" in row else list(row["answers"]["text"])[:1]
    if row["question"].strip() == "":
        return "an empty question"
    return _made(row, number, f"xquad#{_digest(row['context'])}", gold, row["context"], file)


def _tydiqa(task: Task, row: Fields, number: int, file: int, words: Mapping[str, str]) -> Item | str:
    gold = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
    return _made(row, number, f"tydiqa#{_digest(row['context'])}", gold, row["context"], file)


def _indonli(task: Task, row: Fields, number: int, file: int, words: Mapping[str, str]) -> Item | str:
    gold = str(row["label"])
    return _made(row, number, f"indonli#{_digest(row['premise'])}", [INDONLI.get(gold, gold)], row["premise"], file)


def _wisesight(task: Task, row: Fields, number: int, file: int, words: Mapping[str, str]) -> Item | str:
    given = str(row["category"])
    if given in ("q", "3"):
        return ""
    return _made(row, number, f"wisesight#{_digest(row['texts'])}", [WISESIGHT.get(given, given)], row["texts"], file)


def _labelled(first: str, names: Mapping[str, str] | None = None) -> Callable[[Task, Fields, int, int, Mapping[str, str]], Item | str]:
    def make(task: Task, row: Fields, number: int, file: int, words: Mapping[str, str]) -> Item | str:
        gold = str(row["label"])
        return _made(row, number, f"{task.data}#{_digest(row[first])}", [(names or {}).get(gold, gold)], row[first], file)

    return make


def _m3exam(task: Task, row: Fields, number: int, file: int, words: Mapping[str, str]) -> Item | str:
    """Options come with a two-character mark; answers in Thai digits, letters of either case, or a Cyrillic B."""
    options = [_marked(str(option), task.language) for option in row["options"]]
    bare = [option[2:].lstrip().removeprefix(".") for option in options]
    gold = answers.key(str(row["answer_text"]))
    if not all(one.strip() for one in bare) or not gold.isdecimal() or not 1 <= int(gold) <= len(bare):
        return "an empty option, or an answer that is none of them"
    if task.counts and len(bare) != task.counts[file]:
        return f"{len(bare)} options, SailCompass has questions of {', '.join(map(str, task.counts))}"
    question = row["question_text"].rstrip(". …") if task.language == "jav" else row["question_text"]
    more = {f"options_{index}": option for index, option in enumerate(bare)} | {
        "question_text": question,
        "full_options": "\n".join(options),
    }
    return _made(row, number, f"m3exam#{file}-{number}", [gold], question, file, **more)


def _marked(option: str, language: str) -> str:
    """An option with its mark as the other options have it: a Latin B, and in Javanese a capital."""
    first = "B" if option[:1] == answers.CYRILLIC_VE else option[:1]
    return (first.upper() if language == "jav" else first) + option[1:]


def _text(field: str) -> Callable[[Task, Fields, int, int, Mapping[str, str]], Item | str]:
    """A text to be translated or summarised; of a translation the gold is what the direction says."""

    def make(task: Task, row: Fields, number: int, file: int, words: Mapping[str, str]) -> Item | str:
        if not row[field].strip():
            return "an empty text"
        one = f"flores200#{row.get('id', number)}" if task.data.startswith("flores") else f"{task.data}#{_digest(row[field])}"
        return _made(row, number, one, [row[task.gold]], row[field], file)

    return make


_MAKE: Mapping[str, Callable[[Task, Fields, int, int, Mapping[str, str]], Item | str]] = {
    "xcopa": _xcopa,
    "belebele": _belebele,
    "belebele_generated": _belebele,
    "xquad": _xquad,
    "tydiqa": _tydiqa,
    "indonli": _indonli,
    "wisesight": _wisesight,
    "xnli": _labelled("sentence1", XNLI),
    "indolem": _labelled("text"),
    "vsmec": _labelled("text"),
    "m3exam": _m3exam,
    "m3exam_generated": _m3exam,
    "flores_from_eng": _text("source"),
    "flores_to_eng": _text("target"),
    "thaisum": _text("body"),
    "indosum": _text("input"),
    "xlsum": _text("text"),
}
KNOWN = tuple(_MAKE)
