"""What is asked: an item in its forms, and the items drafted for this project, one TOML file a language under `items/`.

An item has a native form, an English one, or both, and the two are paired. No native speaker has reviewed the items; each names where its
fact can be looked up.
"""

from __future__ import annotations

import dataclasses
import tomllib
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from harness.suites import SuiteError

HERE = Path(__file__).with_name("items")
FORMS = ("native", "english")
TOPICS = ("cuisine", "festivals", "etiquette", "geography", "traditions")
COUNTRY = {
    "vie": "Vietnam",
    "ind": "Indonesia",
    "jav": "Indonesia",
    "sun": "Indonesia",
    "tha": "Thailand",
    "mya": "Myanmar",
    "zsm": "Malaysia",
    "tgl": "Philippines",
    "ceb": "Philippines",
    "ilo": "Philippines",
    "war": "Philippines",
    "khm": "Cambodia",
    "lao": "Laos",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A context and what may follow it (each with its own leading space, if any); `gold` is the index of the right one."""

    context: str
    choices: tuple[str, ...]
    gold: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """An item in one language. It is right where every part is; `aliases` and `rivals` are what an answer in words may or may not hold."""

    parts: tuple[Part, ...]
    aliases: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """`amiss` says why the item cannot be judged; "" where it can."""

    id: str
    language: str
    cluster: str
    stratum: str = ""
    country: str = ""
    forms: Mapping[str, Form] = dataclasses.field(default_factory=dict)
    amiss: str = ""


def _plain(text: str) -> str:
    if text != text.strip() or not text or "\n" in text:
        raise ValueError("a text is one line, not empty, without blanks at its ends")
    if text != unicodedata.normalize("NFC", text):
        raise ValueError("a text is written in NFC")
    return text


def _question(text: str) -> str:
    if not text.endswith("?"):
        raise ValueError("a question ends with a question mark")
    return text


Text = Annotated[str, pydantic.AfterValidator(_plain)]
Question = Annotated[Text, pydantic.AfterValidator(_question)]
Three = Annotated[tuple[Text, ...], pydantic.Field(min_length=3, max_length=3)]


class Entry(pydantic.BaseModel):
    """One `[[item]]`. The distractors of both forms stand in the same order."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=False)

    id: Text
    topic: Literal["cuisine", "festivals", "etiquette", "geography", "traditions"]
    question: Question
    answer: Text
    aliases: tuple[Text, ...]
    distractors: Three
    question_en: Question
    answer_en: Text
    aliases_en: tuple[Text, ...]
    distractors_en: Three
    source: Text

    @pydantic.model_validator(mode="after")
    def _apart(self) -> Entry:
        for golds, rivals in (
            ((self.answer, *self.aliases), self.distractors),
            ((self.answer_en, *self.aliases_en), self.distractors_en),
        ):
            if len({text.casefold() for text in (*golds, *rivals)}) < len(golds) + len(rivals):
                raise ValueError(f"item {self.id}: the answer, its aliases and the distractors are not all different")
        return self


class Document(pydantic.BaseModel):
    """A file of a language."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    schema_: Literal[1] = pydantic.Field(alias="schema")
    language: Text
    country: Text
    item: Annotated[tuple[Entry, ...], pydantic.Field(min_length=1)]


def document(language: str, folder: Path = HERE) -> Document:
    """The file of a language. Raises SuiteError naming the file, the item and the field."""
    path = folder / f"{language}.toml"
    try:
        found = Document.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        there = ", ".join(sorted(one.stem for one in folder.glob("*.toml"))) or "none"
        raise SuiteError(f"there are no culture items in {language}; there are in {there}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SuiteError(f"{path} cannot be read: {error}") from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise SuiteError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if found.language != language or found.country != COUNTRY.get(language):
        raise SuiteError(f"{path} says {found.language}, {found.country}; a file of {language} is of {COUNTRY.get(language)}")
    names = [entry.id for entry in found.item]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SuiteError(f"{path}: the id {twice[0]} stands twice; give each item its own")
    return found


def drafted(language: str, folder: Path = HERE) -> list[Item]:
    """The items of a language, in both forms. The context is the question and a line feed, the choices are whole answers."""
    found = document(language, folder)
    return [
        Item(
            id=entry.id,
            language=language,
            cluster=f"culture#{entry.id}",
            stratum=entry.topic,
            country=found.country,
            forms={
                "native": asked(entry.question, entry.answer, entry.aliases, entry.distractors),
                "english": asked(entry.question_en, entry.answer_en, entry.aliases_en, entry.distractors_en),
            },
        )
        for entry in found.item
    ]


def asked(question: str, answer: str, aliases: tuple[str, ...], rivals: tuple[str, ...]) -> Form:
    """A question whose answer, or one of the distractors, stands on the next line."""
    choices = tuple(sorted((answer, *rivals)))  # where the gold stands says nothing
    part = Part(context=f"{question}\n", choices=choices, gold=choices.index(answer))
    return Form(parts=(part,), aliases=(answer, *aliases), rivals=rivals)
