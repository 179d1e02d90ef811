"""Where the rows of a task stand in a local mirror: SailCompass's own files (`sail/Sailcompass_data`), else the data set's place on the Hub."""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites.parallel import corpora
from benchmarks.suites.sailcompass.tasks import EXAM_FILES, SHORT, Task
from harness.lm_eval_data import rows
from harness.suites import SuiteError
from training.languages import by_code

Fields = Mapping[str, Any]
ORIGINAL = "sail/Sailcompass_data"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where the Hub has a data set: id, configuration by language, the split that SailCompass judges, and a row in SailCompass's fields.

    `keep` says which rows of the split are meant.
    """

    dataset: str
    config: Callable[[str], str]
    split: str
    fields: Callable[[Fields], Fields] = dict
    keep: Callable[[Fields], bool] = lambda row: True


def _pair(row: Fields) -> Fields:
    return {**row, "sentence1": row["premise"], "sentence2": row["hypothesis"]}


def _golds(row: Fields) -> Fields:
    return {**row, "answer": list(row["answers"]["text"])}


def _exam(row: Fields) -> Fields:
    """The Hub keeps a question's background apart; SailCompass has it before the question, an empty line between."""
    background = str(row.get("background") or "").strip()
    return {**row, "question_text": f"{background}\n\n{row['question_text']}" if background else row["question_text"]}


_EXAM = Place(dataset="chiayewken/m3exam", config=lambda language: EXAM_FILES[language], split="test", fields=_exam)
_BELEBELE = Place(dataset="facebook/belebele", config=lambda language: by_code(language).flores, split="test")
PLACES = {
    "xcopa": Place(dataset="cambridgeltl/xcopa", config=lambda language: SHORT[language], split="test"),
    "belebele": _BELEBELE,
    "belebele_generated": _BELEBELE,
    "xquad": Place(dataset="google/xquad", config=lambda language: f"xquad.{SHORT[language]}", split="validation"),
    "indonli": Place(dataset="afaji/indonli", config=lambda language: "indonli", split="test_lay"),
    "wisesight": Place(dataset="pythainlp/wisesight_sentiment", config=lambda language: "wisesight_sentiment", split="test"),
    "xnli": Place(dataset="facebook/xnli", config=lambda language: SHORT[language], split="test", fields=_pair),
    "tydiqa": Place(
        dataset="google-research-datasets/tydiqa",
        config=lambda language: "secondary_task",
        split="validation",
        fields=_golds,
        keep=lambda row: str(row["id"]).startswith("indonesian"),
    ),
    "m3exam": _EXAM,
    "m3exam_generated": _EXAM,
}


def found(task: Task, hub: Path, split: str) -> tuple[dict[str, int], list[Sequence[Fields]]]:
    """Rows of each file of the task, with their files as the mirror names them. `split` is asked of the Hub's own place."""
    home = hub / ORIGINAL
    if all((home / file).is_file() for file in task.files) and not split:
        parts = [_rows(hub, home / file) for file in task.files]
        return {f"{ORIGINAL}/{file}": len(part) for file, part in zip(task.files, parts, strict=True)}, parts
    if task.data.startswith("flores"):
        return _flores(task, hub)
    place = PLACES.get(task.data)
    if place is None:
        raise SuiteError(f"{home / task.files[0]} does not exist; fetch {ORIGINAL} into the mirror")
    file, stem = file_of(task, hub, split), _stem(task, place, hub, split)
    if file is not None:
        try:
            part = [place.fields(row) for row in rows(hub, file) if place.keep(row)]
        except (KeyError, TypeError, AttributeError) as error:
            raise SuiteError(f"{file}: not the columns of {place.dataset} ({type(error).__name__}: {error}); fetch it again") from error
        return {file.relative_to(hub).as_posix(): len(part)}, _by_options(task, part)
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


def held(task: Task, hub: Path, split: str) -> bool:
    """Whether the mirror has the data of a task."""
    whole = not split and all((hub / ORIGINAL / file).is_file() for file in task.files)
    if whole or not task.data.startswith("flores"):
        return whole or file_of(task, hub, split) is not None
    try:
        return not split and bool(_flores(task, hub))
    except SuiteError:
        return False


def _stem(task: Task, place: Place, hub: Path, split: str) -> Path:
    return hub / place.dataset / place.config(task.language) / (split or place.split)


def _by_options(task: Task, part: list[Fields]) -> list[Sequence[Fields]]:
    """An exam in one file, as SailCompass has it: a file for each number of options. Rows of another number stay in the first."""
    if not task.counts:
        return [part]
    parts: list[Sequence[Fields]] = []
    for index, count in enumerate(task.counts):
        odd = [row for row in part if not index and len(row.get("options") or ()) not in task.counts]
        parts.append([row for row in part if len(row.get("options") or ()) == count] + odd)
    return parts


def _flores(task: Task, hub: Path) -> tuple[dict[str, int], list[Sequence[Fields]]]:
    """Devtest of the Hub's FLORES-200, with SailCompass's fields: `source` is the English, `target` the other, whatever the direction."""
    try:
        corpus = corpora.read("flores200", ["eng", task.language], hub, "devtest")
    except SuiteError as error:
        raise SuiteError(f"{hub / ORIGINAL / task.files[0]} does not exist; fetch {ORIGINAL}, or FLORES-200: {error}") from error
    english, other = corpus.texts["eng"], corpus.texts[task.language]
    part = [{"source": english[one], "target": other[one], "id": one} for one in corpus.judged]
    return {f"flores200 devtest, eng and {task.language}": len(part)}, [part]


def _rows(hub: Path, file: Path) -> Sequence[Fields]:
    if file.suffix != ".json":
        return rows(hub, file)
    text = file.read_text(encoding="utf-8")  # a list, or (as vsmec's) lines
    try:
        return json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise SuiteError(f"{file} is neither a JSON list nor JSON lines ({error}); fetch the file again") from error


# ----------------------------------------------------------------------------------------------- words that a loader puts into rows


def _tree(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise SuiteError(f"{file} cannot be read ({error}); give a whole checkout of SailCompass") from error


def asked_of(checkout: Path, language: str) -> dict[str, str]:
    """XCOPA's questions for cause and effect, out of the checkout's loader (parsed, never executed)."""
    file = checkout / "datasets" / "xcopa_sea.py"
    tables = []
    for node in ast.walk(_tree(file)):
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


def unknown_of(checkout: Path, language: str) -> str:
    """The fifth option of generated Belebele, that the answer is not known, out of the checkout's loader (parsed, never executed)."""
    file = checkout / "datasets" / "belebele.py"
    for node in ast.walk(_tree(file)):
        match node:
            case ast.If(
                test=ast.Compare(comparators=[ast.Constant(value=code)]),
                body=[ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value="mc_answer5"))], value=ast.Constant(value=str(text)))],
            ) if code == language:
                return text
    raise SuiteError(f"{file} has no fifth option for {language}; give SailCompass as it was in December 2024")
