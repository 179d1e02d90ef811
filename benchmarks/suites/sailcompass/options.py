"""The option that a generated text names: the patterns of a SailCompass checkout where one is given, else a reading of our own.

The original goes through some fifty regular expressions, most of them Chinese, and takes the first match that holds a letter of an option.
From a checkout these are parsed out of its source, never executed. Ours (`answers.option`) looks for an option that stands alone, then one
before a colon, then any: on an answer that is an option and little else the two agree; where they differ, the fact `answers` says which it was.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.suites.sailcompass import answers
from harness.suites import SuiteError

Parse = Callable[[str, str], str]
# After the last of these the answer begins: a model that goes on with another question has answered already.
ASIDE = {"belebele_generated": ("Context: ", "Answer: ", "Câu hỏi: ", "Bối cảnh: "), "m3exam_generated": ("Câu hỏi: ",)}
LETTERS = {"belebele_generated": "ABCD", "m3exam_generated": "ABCD"}
THAI = "12345๑๒๓๔๕ABCD"  # the Thai exam's options have numbers


def letters(data: str, language: str) -> str:
    """The options that an answer may name, in the order in which they are looked for in a match."""
    return THAI if (data, language) == ("m3exam_generated", "tha") else LETTERS[data]


def named(text: str, data: str, language: str, parse: Parse) -> str:
    """The option of the text's first line, as `answers.key` writes it; "" for none."""
    line = text.split("\n", 1)[0]
    if language != "tha" or data != "m3exam_generated":
        for lead in ASIDE[data]:
            if lead in line:
                line = line.rpartition(lead)[2]
                break
    found = parse(line, letters(data, language))
    return answers.key(found) if found else ""


def parser_of(checkout: Path) -> Parse:
    """`first_option_parse` of a checkout: its patterns, read from the source; the search over them is ours. Raises SuiteError."""
    file = checkout / "sailor_text_postprocessors.py"
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise SuiteError(f"{file} cannot be read ({error}); give a whole checkout of SailCompass") from error
    lists: dict[str, list[tuple[str | None, ...]]] = {}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name == "first_option_parse":
            for node in ast.walk(function):
                match node:
                    case ast.Assign(targets=[ast.Name(id=name)], value=ast.List(elts=elements)):
                        lists[name] = [_pieces(element, file) for element in elements]
    templates = lists.get("patterns", []) + lists.get("cushion_patterns", [])
    if not templates:
        raise SuiteError(f"{file} has no patterns of first_option_parse; give SailCompass as it was in December 2024")
    compiled: dict[str, list[re.Pattern[str]]] = {}

    def parse(text: str, options: str) -> str:
        if options not in compiled:
            try:
                compiled[options] = [re.compile("".join(options if piece is None else piece for piece in each)) for each in templates]
            except re.error as error:
                raise SuiteError(f"{file} holds a pattern that is no regular expression ({error})") from error
        for pattern in compiled[options]:
            match = pattern.search(text)
            named = next((option for option in options if match and option in match[0]), "")
            if named:
                return named
        return ""

    return parse


def _pieces(element: ast.expr, file: Path) -> tuple[str | None, ...]:
    """A pattern as its literal pieces, None where the options stand."""
    match element:
        case ast.Constant(value=str(text)):
            return (text,)
        case ast.JoinedStr(values=values):
            pieces: list[str | None] = []
            for value in values:
                match value:
                    case ast.Constant(value=str(text)):
                        pieces.append(text)
                    case ast.FormattedValue(value=ast.Name(id="options"), conversion=-1, format_spec=None):
                        pieces.append(None)
                    case _:
                        raise SuiteError(f"{file}:{element.lineno}: a pattern with another field than `options` is not read")
            return tuple(pieces)
    raise SuiteError(f"{file}:{element.lineno}: a pattern that is no text is not read")
