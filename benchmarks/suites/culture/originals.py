"""Published data sets on culture, read from a local mirror of the Hub, as items of this suite: `dataset` names one.

Their rows and golds are theirs; the layout of the prompt is ours (but BLEnD's, whose rows hold it), so every metric is called
`NAME-like_...`. COPAL-ID and INCLUDE are lm-eval's own tasks and run as such.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites.culture.items import Form, Item, Part
from harness.lm_eval_data import rows
from harness.suites import SuiteError
from training.languages import by_code

Fields = Mapping[str, Any]
LETTERS = "ABCDE"
NATIONAL = {"ind": "Indonesia", "tha": "Thailand", "vie": "Vietnam", "zsm": "Malaysia", "tgl": "Philippines"}
VARIANTS = 5  # of a BLEnD question, the first in the file: the same question stands there with hundreds of sets of distractors

# lm-eval has these: language -> task.
LM_EVAL = {
    "copal_id": {"ind": "copal_id_standard"},
    "copal_id_colloquial": {"ind": "copal_id_colloquial"},
    "include": {
        "ind": "include_base_44_indonesian",
        "zsm": "include_base_44_malay",
        "tgl": "include_base_44_tagalog",
        "vie": "include_base_44_vietnamese",
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Original:
    """Where the Hub has a data set, how many rows, in what forms, and how they become items.

    `rows` of 0: the count is the manifest's alone. `places` maps each of its languages to what the rows call its country, or a configuration.
    """

    dataset: str
    config: str  # "" where it is the language's place
    rows: int
    forms: tuple[str, ...]
    chance: float
    places: Mapping[str, str]
    make: Callable[[Sequence[Fields], Sequence[Fields], str, str], list[Item]]  # rows, English rows, language, place
    countries: bool = True


def read(name: str, language: str, hub: Path, expected: int) -> tuple[list[Item], dict[str, int]]:
    """The items of a language, those that cannot be judged among them, and the rows read of each file. Raises SuiteError with the mend."""
    original = ORIGINALS[name]
    place = original.places[language]
    found, files = _file(original, original.config or place, hub, expected)
    english: Sequence[Fields] = []
    if "english" in original.forms and "native" in original.forms:
        english, more = _file(original, "en", hub, expected)
        files |= more
    made = original.make(found, english, language, place)
    if not made:
        raise SuiteError(f"{', '.join(files)} holds no row of {place}; fetch the whole data set")
    return made, files


def _file(original: Original, config: str, hub: Path, expected: int) -> tuple[list[Fields], dict[str, int]]:
    stem = hub / original.dataset / config / "test"
    file = next((path for path in (stem.with_suffix(".jsonl"), stem.with_suffix(".parquet")) if path.is_file()), None)
    if file is None:
        raise SuiteError(
            f"the mirror {hub} has no {original.dataset}/{config}/test.jsonl (nor .parquet); fetch it there and list it in MANIFEST.json"
        )
    found: list[Fields] = list(rows(hub, file))
    count = expected or original.rows
    if count and len(found) != count:
        raise SuiteError(
            f"{file} holds {len(found)} rows, {original.dataset} has {count}; fetch it again, or, if a part is meant, say so: rows = {len(found)}"
        )
    return found, {file.relative_to(hub).as_posix(): len(found)}


# ------------------------------------------------------------------------------------------------------------ row by row


def _text(row: Fields, field: str) -> str:
    value = row[field]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{field} is empty or no text")
    return value.strip()


def _form(context: str, choices: list[str], gold: int) -> Form:
    if not 0 <= gold < len(choices) or choices.count(choices[gold]) > 1:
        raise ValueError("the answer is none of the options, or stands among them twice")  # equal distractors do no harm
    named = tuple(choice.strip() for choice in choices)
    return Form(
        parts=(Part(context=context, choices=tuple(choices), gold=gold),),
        aliases=(named[gold],),
        rivals=tuple(one for at, one in enumerate(named) if at != gold),
    )


def _letter(value: Any) -> int:
    letter = str(value).strip().upper()
    if len(letter) != 1 or letter not in LETTERS:
        raise ValueError(f"the answer is {value!r}, no letter")
    return LETTERS.index(letter)


def _item(
    row_id: str, language: str, cluster: str, make: Callable[[], Mapping[str, Form]], *, stratum: str = "", country: str = ""
) -> Item:
    try:
        return Item(id=row_id, language=language, cluster=cluster, stratum=stratum, country=country, forms=make())
    except (KeyError, TypeError, ValueError, SyntaxError, IndexError, AttributeError) as error:
        return Item(
            id=row_id, language=language, cluster=cluster, stratum=stratum, country=country, amiss=f"{type(error).__name__}: {error}"
        )


def _four(row: Fields, prefix: str, question: str, letter: str) -> Form:
    return _form(f"{_text(row, question)}\n", [_text(row, f"{prefix}{one}") for one in "abcd"], _letter(row[letter]))


def _of_country(found: Sequence[Fields], place: str) -> list[tuple[int, Fields]]:
    return [(number, row) for number, row in enumerate(found) if str(row.get("country")).replace("_", " ") == place]


def _cultural_easy(found: Sequence[Fields], _: Sequence[Fields], language: str, place: str) -> list[Item]:
    return [
        _item(
            f"{row.get('question_idx', number)}",
            language,
            f"culturalbench#{row.get('question_idx', number)}",
            lambda row=row: {"english": _four(row, "prompt_option_", "prompt_question", "answer")},  # type: ignore[misc]
            country=place,
        )
        for number, row in _of_country(found, place)
    ]


def _cultural_hard(found: Sequence[Fields], _: Sequence[Fields], language: str, place: str) -> list[Item]:
    """Four statements a question, each true or false; the question is right where all four are."""
    groups: dict[str, list[Fields]] = {}
    for _number, row in _of_country(found, place):
        groups.setdefault(str(row.get("question_idx")), []).append(row)

    def form(members: Sequence[Fields]) -> dict[str, Form]:
        if len(members) != 4:
            raise ValueError(f"the question has {len(members)} statements, not 4")
        parts = []
        for row in members:
            truth = str(row["answer"]).strip().lower()
            if truth not in ("true", "false", "1", "0"):
                raise ValueError(f"the answer is {row['answer']!r}, neither true nor false")
            context = f"{_text(row, 'prompt_question')}\n{_text(row, 'prompt_option')}\nTrue or false?"
            parts.append(Part(context=context, choices=(" False", " True"), gold=int(truth in ("true", "1"))))
        return {"english": Form(parts=tuple(parts))}

    return [
        _item(name, language, f"culturalbench#{name}", lambda members=members: form(members), country=place)  # type: ignore[misc]
        for name, members in groups.items()
    ]


def _blend(found: Sequence[Fields], _: Sequence[Fields], language: str, place: str) -> list[Item]:
    """The rows' own prompt, which lists the options; the letter that follows it is what is scored."""
    taken: dict[str, int] = {}
    made = []
    for number, row in _of_country(found, place):
        question = str(row.get("ID", number))
        taken[question] = taken.get(question, 0) + 1
        if taken[question] > VARIANTS:
            continue

        def form(row: Fields = row) -> dict[str, Form]:
            letters = [f" {one}" for one in LETTERS[:4]]
            return {"english": _form(_text(row, "prompt"), letters, _letter(row["answer_idx"]))}

        made.append(_item(str(row.get("MCQID", number)), language, f"blend#{place}/{question}", form, country=place))
    return made


def _indoculture(found: Sequence[Fields], _: Sequence[Fields], language: str, place: str) -> list[Item]:
    """A sentence of a province, and three ways on."""

    def form(row: Fields) -> dict[str, Form]:
        options = row["options"]
        if isinstance(options, str):  # a list as text, or lines
            options = ast.literal_eval(options) if options.lstrip().startswith("[") else options.splitlines()
        endings = []
        for at, option in enumerate(options):
            letter, dot, text = str(option).partition(".")
            if letter.strip() != LETTERS[at] or not dot or not text.strip():
                raise ValueError(f"option {at + 1} does not begin with {LETTERS[at]}.")
            endings.append(f" {text.strip()}")
        if len(endings) != 3:
            raise ValueError(f"{len(endings)} options, not 3")
        return {"native": _form(f"{_text(row, 'province')}: {_text(row, 'context')}", endings, _letter(row["answer"]))}

    return [
        _item(
            f"{number:05}",
            language,
            f"indoculture#{row.get('context', number)}",
            lambda row=row: form(row),  # type: ignore[misc]
            stratum=str(row.get("province", "")),
            country="Indonesia",
        )
        for number, row in enumerate(found)
    ]


def _global_mmlu(found: Sequence[Fields], english: Sequence[Fields], language: str, _: str) -> list[Item]:
    """The translation and its English original, joined by `sample_id`; the stratum is CS (culturally sensitive) or CA (agnostic)."""
    theirs = {row.get("sample_id"): row for row in english}

    def form(row: Fields) -> dict[str, Form]:
        if row["sample_id"] not in theirs:
            raise ValueError("it has no English original")
        return {
            "native": _four(row, "option_", "question", "answer"),
            "english": _four(theirs[row["sample_id"]], "option_", "question", "answer"),
        }

    return [
        _item(
            f"{language}/{row.get('sample_id', number)}",
            language,
            f"global_mmlu#{row.get('sample_id', number)}",
            lambda row=row: form(row),  # type: ignore[misc]
            stratum=str(row.get("cultural_sensitivity_label", "")),
        )
        for number, row in enumerate(found)
    ]


ORIGINALS = {
    "culturalbench_easy": Original(dataset="kellycyy/CulturalBench", config="CulturalBench-Easy", rows=1227, forms=("english",), chance=0.25, places=NATIONAL, make=_cultural_easy),
    "culturalbench_hard": Original(dataset="kellycyy/CulturalBench", config="CulturalBench-Hard", rows=4908, forms=("english",), chance=1 / 16, places=NATIONAL, make=_cultural_hard),
    "blend": Original(dataset="nayeon212/BLEnD", config="multiple-choice-questions", rows=0, forms=("english",), chance=0.25, places={"ind": "Indonesia", "sun": "West Java"}, make=_blend),
    "indoculture": Original(dataset="indolem/IndoCulture", config="default", rows=2429, forms=("native",), chance=1 / 3, places={"ind": "Indonesia"}, make=_indoculture),
    "global_mmlu_lite": Original(dataset="CohereLabs/Global-MMLU-Lite", config="", rows=400, forms=("native", "english"), chance=0.25, places={iso: by_code(iso).mmlu for iso in ("ind", "mya", "vie", "zsm")}, make=_global_mmlu, countries=False),
}  # fmt: skip
