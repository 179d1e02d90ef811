"""The rows of SailCompass's data sets: from `sail/Sailcompass_data` in the mirror, else from the data set's own place on the Hub.

Every row gets what prompts refer to (SailCompass's field names), its gold and its cluster; what cannot be judged is counted, never
guessed at.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites.sailcompass import answers, wording
from benchmarks.suites.sailcompass.tasks import SHORT, Task
from harness.lm_eval_data import rows
from harness.suites import SuiteError
from training.languages import by_code

Fields = Mapping[str, Any]
ORIGINAL = "sail/Sailcompass_data"
WISESIGHT = {"pos": "0", "neu": "1", "neg": "2"}  # questions, `q`, are no sentiment: the original leaves them out
INDONLI = {"0": "e", "1": "n", "2": "c", "entailment": "e", "neutral": "n", "contradiction": "c"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """A row that can be judged: `gold` holds every right answer (a label of likelihood, texts of generation)."""

    id: str
    cluster: str
    fields: Fields
    gold: tuple[str, ...]
    text: str  # what would have to stand in a training set for the item to be known
    file: int = 0  # which file of the task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where the Hub has a data set: id, configuration by language, the split that SailCompass judges."""

    dataset: str
    config: Callable[[str], str]
    split: str


PLACES = {
    "xcopa": Place(dataset="cambridgeltl/xcopa", config=lambda language: SHORT[language], split="test"),
    "belebele": Place(dataset="facebook/belebele", config=lambda language: by_code(language).flores, split="test"),
    "xquad": Place(dataset="google/xquad", config=lambda language: f"xquad.{SHORT[language]}", split="validation"),
    "indonli": Place(dataset="afaji/indonli", config=lambda language: "indonli", split="test_lay"),
    "wisesight": Place(dataset="pythainlp/wisesight_sentiment", config=lambda language: "wisesight_sentiment", split="test"),
}


def found(task: Task, hub: Path, split: str) -> tuple[dict[str, int], list[Sequence[Fields]]]:
    """Rows of each file of the task, with their files as the mirror names them. `split` is asked of the Hub's own place."""
    home = hub / ORIGINAL
    if all((home / file).is_file() for file in task.files) and not split:
        parts = [_rows(hub, home / file) for file in task.files]
        return {f"{ORIGINAL}/{file}": len(part) for file, part in zip(task.files, parts, strict=True)}, parts
    place = PLACES.get(task.data)
    if place is None:
        raise SuiteError(f"{home / task.files[0]} does not exist; fetch {ORIGINAL} into the mirror")
    file, stem = file_of(task, hub, split), _stem(task, place, hub, split)
    if file is not None:
        part = rows(hub, file)
        return {file.relative_to(hub).as_posix(): len(part)}, [part]
    there = ", ".join(sorted(one.stem for one in stem.parent.glob("*.*"))) or "nothing"
    raise SuiteError(
        f"{stem}.jsonl does not exist, {stem.parent} holds {there}; fetch the split into the mirror, or name another by the option `split`"
    )


def file_of(task: Task, hub: Path, split: str) -> Path | None:
    """The file of a split of the Hub's own data set, if the mirror has it."""
    place = PLACES.get(task.data)
    if place is None:
        return None
    stem = _stem(task, place, hub, split)
    return next((file for file in (stem.with_suffix(".jsonl"), stem.with_suffix(".parquet")) if file.is_file()), None)


def _stem(task: Task, place: Place, hub: Path, split: str) -> Path:
    return hub / place.dataset / place.config(task.language) / (split or place.split)


def _rows(hub: Path, file: Path) -> Sequence[Fields]:
    if file.suffix != ".json":
        return rows(hub, file)
    text = file.read_text(encoding="utf-8")  # a list, or (as vsmec's) lines
    try:
        return json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise SuiteError(f"{file} is neither a JSON list nor JSON lines ({error}); fetch the file again") from error


def asked_of(checkout: Path, language: str) -> dict[str, str]:
    """XCOPA's questions for cause and effect, out of the checkout's loader (parsed, never executed)."""
    file = checkout / "datasets" / "xcopa_sea.py"
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise SuiteError(f"{file} cannot be read ({error}); give a whole checkout of SailCompass") from error
    tables = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            try:
                table = ast.literal_eval(node)
            except ValueError:
                continue
            if isinstance(table, dict) and set(table) == {"cause", "effect"}:
                tables.append((node.lineno, table))
    if len(tables) != 2:
        raise SuiteError(
            f"{file} holds {len(tables)} tables of cause and effect, two are known; give SailCompass as it was in December 2024"
        )
    table = max(tables, key=lambda one: one[0])[1]  # the second makes `full_question`
    return {kind: table[kind][SHORT[language]] for kind in ("cause", "effect")}


# ------------------------------------------------------------------------------------------------------------- row by row


def item(task: Task, row: Fields, number: int, file: int, asked: Mapping[str, str]) -> Item | str:
    """The row as an item, or why it cannot be judged."""
    try:
        return _MAKE[task.data](task, row, number, file, asked)
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


def _xcopa(task: Task, row: Fields, number: int, file: int, asked: Mapping[str, str]) -> Item | str:
    if row["choice1"] == row["choice2"]:
        return "two equal choices"
    gold = {0: "0", 1: "1"}[row["label"]]
    return _made(row, number, f"xcopa#{row['idx']}", [gold], row["premise"], file, full_question=asked[row["question"]])


def _belebele(task: Task, row: Fields, number: int, file: int, asked: Mapping[str, str]) -> Item | str:
    choices = [str(row[f"mc_answer{index}"]) for index in range(1, 5)]
    if not all(choices):
        return "an empty choice"
    gold = {str(index): chr(64 + index) for index in range(1, 5)}[str(row["correct_answer_num"])]
    # A passage and its questions have one link in every language; a mirror without it has the passage's own text.
    return _made(row, number, f"belebele#{_digest(row.get('link') or row['flores_passage'])}", [gold], row["flores_passage"], file)


def _xquad(task: Task, row: Fields, number: int, file: int, asked: Mapping[str, str]) -> Item | str:
    gold = [str(row["answer"])] if "answer" in row else list(row["answers"]["text"])[:1]
    if row["question"].strip() == "":
        return "an empty question"
    return _made(row, number, f"xquad#{_digest(row['context'])}", gold, row["context"], file)


def _tydiqa(task: Task, row: Fields, number: int, file: int, asked: Mapping[str, str]) -> Item | str:
    gold = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
    return _made(row, number, f"tydiqa#{_digest(row['context'])}", gold, row["context"], file)


def _indonli(task: Task, row: Fields, number: int, file: int, asked: Mapping[str, str]) -> Item | str:
    gold = str(row["label"])
    return _made(row, number, f"indonli#{_digest(row['premise'])}", [INDONLI.get(gold, gold)], row["premise"], file)


def _wisesight(task: Task, row: Fields, number: int, file: int, asked: Mapping[str, str]) -> Item | str:
    given = str(row["category"])
    if given in ("q", "3"):
        return ""
    return _made(row, number, f"wisesight#{_digest(row['texts'])}", [WISESIGHT.get(given, given)], row["texts"], file)


def _labelled(first: str) -> Callable[[Task, Fields, int, int, Mapping[str, str]], Item | str]:
    def make(task: Task, row: Fields, number: int, file: int, asked: Mapping[str, str]) -> Item | str:
        return _made(row, number, f"{task.data}#{_digest(row[first])}", [str(row["label"])], row[first], file)

    return make


def _m3exam(task: Task, row: Fields, number: int, file: int, asked: Mapping[str, str]) -> Item | str:
    """Options come with a two-character mark; answers in Thai digits, letters of either case, or a Cyrillic B."""
    options = [
        str(option).replace(answers.CYRILLIC_VE, "B", 1) if str(option)[:1] == answers.CYRILLIC_VE else str(option)
        for option in row["options"]
    ]
    bare = [option[2:].lstrip().removeprefix(".") for option in options]
    gold = answers.key(str(row["answer_text"]))
    if not all(bare) or not 1 <= int(gold) <= len(bare):
        return "an empty option, or an answer that is none of them"
    question = row["question_text"].rstrip(". …") if task.language == "jav" else row["question_text"]
    more = {f"options_{index}": option for index, option in enumerate(bare)} | {
        "question_text": question,
        "full_options": "\n".join(options),
    }
    return _made(row, number, f"m3exam#{file}-{number}", [gold], question, file, **more)


_MAKE: Mapping[str, Callable[[Task, Fields, int, int, Mapping[str, str]], Item | str]] = {
    "xcopa": _xcopa,
    "belebele": _belebele,
    "xquad": _xquad,
    "tydiqa": _tydiqa,
    "indonli": _indonli,
    "wisesight": _wisesight,
    "xnli": _labelled("sentence1"),
    "indolem": _labelled("text"),
    "vsmec": _labelled("text"),
    "m3exam": _m3exam,
}
KNOWN = tuple(_MAKE)


def question(language: str) -> Mapping[str, str]:
    """Our own words for XCOPA's cause and effect."""
    return wording.ASKED.get(language, {})
