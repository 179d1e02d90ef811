"""Conversations for instruction tuning: the malformed are put aside, of duplicates the first is kept (5.1).

    python -m training.curation messages --input chat.jsonl --output out/ [--set near.bands=16 near.rows=8]

A row has `messages`, a list of {"role", "content"}, and may have `id`, `language` and `category`; all its columns are carried through as they are.
It is a conversation when a system message, if there is one, is the first and the only one; then user and assistant take turns, the user first and
the assistant last; every content shows something: white space and what Unicode draws nothing for (zero-width spaces, joiners, marks) do not count.

Duplicates are found by the layer `near` with the paper's settings: 128 permutations, threshold .8, no two languages compared (rows without a
language are one), the first row of a cluster kept. It hashes the contents of user and assistant, joined by line ends: not the system message, or
short conversations under one long instruction would all be alike. Equal conversations always go, near ones with the probability that near.py
states: with these settings 9 bands of 13 catch .40 of the pairs at .8 and .93 of those at .9; --set asks for more bands.

    OUTPUT/shards/NNNNN.jsonl or .parquet   the rows kept, in their order; JSONL line by line as it stood (not compressed), Parquet with its types
    OUTPUT/quarantine.jsonl                 file, row, offset and reason of what is no conversation or cannot be read
    OUTPUT/dropped.jsonl                    the duplicates, each with the row that is kept for it
    OUTPUT/report.json                      the settings, and counts by reason, language and category
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.curation import documents as shards_of
from training.curation import near_bands, settings
from training.curation.documents import CurationError, Document, Quarantine, Quarantined
from training.curation.engine import Engine
from training.curation.near import Near
from training.curation.output import whole_directory
from training.curation.sources import EMPTY
from training.pretraining.sources import UNWRITABLE
from training.recipe import encode

ROLES = ("system", "user", "assistant")
PAPER = {"permutations": 128, "threshold": 0.8, "per_language": True, "keep": "first"}
EXACT, NEAR = "exact duplicate", "near duplicate"
UNREADABLE = "unreadable"
EXCERPT = 300  # characters of a dropped conversation kept beside its reason
OUTCOMES = ("rows", "invalid", "exact", "near", "kept")
# Not white space, no control character, and not among what Unicode calls default ignorable: something is drawn.
_SHOWN = re.compile(
    "[^\\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)


class Invalid(ValueError):
    """Why a row is no conversation: `reason`, one of a few that are counted, and what is seen there."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


def check(messages: Any) -> None:
    """Raise Invalid unless this is a conversation."""
    if not isinstance(messages, (list, tuple)) or not messages:
        raise Invalid("no messages", "`messages` is missing" if messages is None else f"`messages` is {_named(messages)}")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, Mapping):
            raise Invalid("not a message", f"message {number} is {_named(message)}, not an object with role and content")
        if (role := message.get("role")) not in ROLES:
            raise Invalid("unknown role", f"message {number} is by {role!r}; roles are {', '.join(ROLES)}")
        if not isinstance(content := message.get("content"), str):
            raise Invalid("no content", f"the content of message {number} is {_named(content)}, not a string")
        if not _SHOWN.search(content):
            raise Invalid("blank content", f"message {number}, by the {role}, shows nothing")
        if bad := UNWRITABLE.search(content):
            raise Invalid("no valid text", f"message {number} holds U+{ord(bad.group()):04X} at character {bad.start()}")
    roles = [message["role"] for message in messages]
    if "system" in roles[1:]:
        raise Invalid("system not first", f"message {roles.index('system', 1) + 1} is a system message")
    turns = roles[1:] if roles[0] == "system" else roles
    before = len(roles) - len(turns)
    if not turns:
        raise Invalid("no exchange", "there is only a system message")
    if turns[0] != "user":
        raise Invalid("user not first", "the assistant has the first turn")
    for number, (one, following) in enumerate(itertools.pairwise(turns), before + 2):
        if one == following:
            raise Invalid("no alternation", f"messages {number - 1} and {number} are both by the {one}")
    if turns[-1] != "assistant":
        raise Invalid("assistant not last", "the user has the last turn")


def text_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """What is compared of a conversation: the contents of user and assistant, joined by line ends."""
    return "\n".join(message["content"] for message in messages if message["role"] != "system")


def conversation(row: Mapping[str, Any], path: Path, number: int) -> Document:
    """A row as what the layer `near` reads; its id says file and row, since ids of chat data need not be unique. Raises Invalid."""
    told = {}
    for name in ("id", "language", "category"):
        value = row.get(name)
        if not isinstance(value, (str, int, type(None))) or UNWRITABLE.search(str(value)):
            raise Invalid(f"no valid {name}", f"`{name}` is {_named(value)}" if not isinstance(value, str) else f"{value!r}")
        told[name] = "" if value is None else str(value)
    messages = row.get("messages")
    check(messages)
    same = json.dumps([told["language"], [[message["role"], message["content"]] for message in messages]]).encode()  # type: ignore[union-attr]
    key = int.from_bytes(hashlib.blake2b(same, digest_size=8).digest(), "little", signed=True)
    file = shards_of.writable(str(path))
    extra = {"file": file, "row": number, "name": told["id"], "category": told["category"], "key": key}
    return Document(id=f"{file}, row {number}", text=text_of(messages), language=told["language"], extra=extra)  # type: ignore[arg-type]


def _named(value: Any) -> str:
    return "empty" if isinstance(value, (list, str)) and not value else "null" if value is None else f"a {type(value).__name__}"


# ------------------------------------------------------------------------------------------------------------------- run


def run(inputs: Sequence[str], output: Path, near: Near, engine: Engine) -> dict[str, Any]:
    """Validate and deduplicate; writes the files that the module names and returns the report. Raises CurationError."""
    files = shards_of.files_of(inputs)
    cells: dict[tuple[str, str], Counter[str]] = {}
    reasons: Counter[str] = Counter()
    with whole_directory(output) as aside:
        work = aside / "work"
        for name in ("rows", "texts", "plan"):
            (work / name).mkdir(parents=True)
        (aside / "shards").mkdir()
        with (aside / "quarantine.jsonl").open("w", encoding="utf-8", errors="backslashreplace") as file:

            def quarantine(amiss: Quarantined) -> None:
                file.write(_json(dataclasses.asdict(amiss)))

            parts = list(_parts(files, work, quarantine, cells, reasons))
        plan = work / "plan"
        texts = [text for _, text, _ in parts]
        near.prepare(texts, plan, engine)
        keys = np.concatenate([np.empty(0, np.int64), *(part for _, _, part in parts)])
        again = np.ones(len(keys), dtype=bool)
        again[np.unique(keys, return_index=True)[1]] = False
        judge = near.judge(plan)
        first = 0
        with (aside / "dropped.jsonl").open("w", encoding="utf-8", errors="backslashreplace") as file:
            for number, (rows, text, _) in enumerate(parts):
                made = list(shards_of.read(text, _refuse))
                kept = []
                for at, (one, decision) in enumerate(zip(made, judge(made, number, 0), strict=True)):
                    reason = "" if not decision.reason else EXACT if again[first + at] else NEAR
                    cells[one.language, one.extra["category"]][{"": "kept", EXACT: "exact", NEAR: "near"}[reason]] += 1
                    if reason:
                        file.write(_json(_dropped(one, reason, decision.detail)))
                    else:
                        kept.append(at)
                if kept:
                    _filter(rows, aside / "shards" / f"{number:05d}{rows.suffix}", kept)
                first += len(made)
        report = _report(near, json.loads((plan / "plan.json").read_text())["counts"], cells, reasons)
        shutil.rmtree(work)
        (aside / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return report


Part = tuple[Path, Path, np.ndarray[Any, np.dtype[np.int64]]]  # rows as they stood, their texts, their keys


def _parts(
    files: Sequence[Path], work: Path, quarantine: Quarantine, cells: dict[tuple[str, str], Counter[str]], reasons: Counter[str]
) -> Iterator[Part]:
    """The conversations of the files in parts that fit memory, each as its rows and its texts in `work`; the others to `quarantine`."""

    lost: list[Quarantined] = []

    def unreadable(amiss: Quarantined) -> None:
        reasons[UNREADABLE] += 1
        quarantine(amiss)
        lost.extend([] if lost else [amiss])  # the first alone is told

    def valid(path: Path) -> Iterator[tuple[Document, Any]]:
        met = sum(reasons.values()) + sum(counts["rows"] for counts in cells.values())
        try:
            yield from rows_of(path)
        except CurationError as error:  # a file of which nothing can be had is no reason to lose the others
            unreadable(Quarantined(file=str(path), row=0, offset=-1, reason=str(error).removeprefix(f"{path} ")))
        if met == sum(reasons.values()) + sum(counts["rows"] for counts in cells.values()):
            unreadable(Quarantined(file=str(path), row=0, offset=0, reason=EMPTY))

    def rows_of(path: Path) -> Iterator[tuple[Document, Any]]:
        for number, offset, found, payload in _rows(path, unreadable):
            reason: Invalid | None = None
            try:
                made = conversation(found, path, number)
            except Invalid as error:
                reason = error
                reasons[error.reason] += 1
                quarantine(Quarantined(file=str(path), row=number, offset=offset, reason=str(error)))
            language, category = (_label(found.get(name)) for name in ("language", "category"))
            cells.setdefault((language, category), Counter()).update(["rows", *(["invalid"] if reason else [])])
            if reason is None:
                yield made, payload

    count = 0
    for path in files:
        suffix = ".parquet" if shards_of.suffix_of(path) == ".parquet" else ".jsonl"
        stream = valid(path)
        for first in stream:
            part, size = [first], len(first[0].text)
            while len(part) < shards_of.SHARD_DOCUMENTS and size < shards_of.SHARD_BYTES and (more := next(stream, None)) is not None:
                part.append(more)
                size += len(more[0].text)
            rows, texts = work / "rows" / f"{count:05d}{suffix}", work / "texts" / f"{count:05d}.parquet"
            _write_rows(rows, [payload for _, payload in part])
            shards_of.write(texts, [made for made, _ in part])
            yield rows, texts, np.array([made.extra["key"] for made, _ in part], dtype=np.int64)
            count += 1
    if not cells and lost and lost[0].reason != EMPTY:
        raise CurationError(
            f"no row can be read in {len(files)} files, the first of them {lost[0].file}, row {lost[0].row}: {lost[0].reason}; "
            "give JSONL or Parquet with a column `messages`"
        )


def _label(value: Any) -> str:
    """A language or category to count under; "" for what is none."""
    return str(value) if isinstance(value, (str, int)) and not UNWRITABLE.search(str(value)) else ""


def _rows(path: Path, quarantine: Quarantine) -> Iterator[tuple[int, int, dict[str, Any], Any]]:
    """(row, offset, its columns, the row as it stands: a line, or batch and place) of what can be read."""

    def readable(find: Callable[[], dict[str, Any]], number: int, offset: int) -> dict[str, Any] | None:
        try:
            return find()
        except (ValueError, RecursionError) as error:
            reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            quarantine(Quarantined(file=str(path), row=number, offset=offset, reason=reason))
            return None

    match shards_of.suffix_of(path):
        case ".parquet":
            for first, batch in shards_of.batches(path, "messages", quarantine):
                for at, find in enumerate(shards_of.rows_of(batch)):
                    if (found := readable(find, first + at, -1)) is not None:
                        yield first + at, -1, found, (batch, at)
        case "":
            raise CurationError(f"{path} holds no rows: its name ends in none of {', '.join(shards_of.SUFFIXES)}")
        case _:
            for number, offset, line in shards_of.lines(path, quarantine):
                if (found := readable(lambda line=line: shards_of.row_of(line), number, offset)) is not None:  # type: ignore[misc]
                    yield number, offset, found, line


def _write_rows(path: Path, payloads: Sequence[Any]) -> None:
    """Rows as they stood in one file, types and all."""
    if path.suffix == ".jsonl":
        path.write_bytes(b"".join(line.rstrip(b"\r\n") + b"\n" for line in payloads))
        return
    import pyarrow
    import pyarrow.parquet

    batches = {id(batch): batch for batch, _ in payloads}
    places: dict[int, list[int]] = {}
    for batch, at in payloads:
        places.setdefault(id(batch), []).append(at)
    taken = [batches[which].take(pyarrow.array(found)) for which, found in places.items()]
    pyarrow.parquet.write_table(pyarrow.Table.from_batches(taken), path, row_group_size=shards_of.ROW_GROUP, compression="zstd")


def _filter(rows: Path, path: Path, kept: Sequence[int]) -> None:
    """The kept rows of a part."""
    if rows.suffix == ".jsonl":
        wanted = set(kept)
        with rows.open("rb") as source, path.open("wb") as file:
            file.writelines(line for at, line in enumerate(source) if at in wanted)
        return
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(rows)
    pyarrow.parquet.write_table(table.take(list(kept)), path, row_group_size=shards_of.ROW_GROUP, compression="zstd")


def _refuse(amiss: Quarantined) -> None:
    raise CurationError(f"{amiss.file}, row {amiss.row}: {amiss.reason}; the files were changed while this ran: run it again")


def _dropped(made: Document, reason: str, detail: str) -> dict[str, Any]:
    told = {"file": made.extra["file"], "row": made.extra["row"], "id": made.extra["name"], "language": made.language}
    return {**told, "category": made.extra["category"], "reason": reason, "detail": detail, "excerpt": made.text[:EXCERPT]}


def _json(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


# ---------------------------------------------------------------------------------------------------------------- report


def _report(near: Near, counts: Mapping[str, int], cells: Mapping[tuple[str, str], Counter[str]], reasons: Counter[str]) -> dict[str, Any]:
    bands, rows = near.banding()
    caught = {str(jaccard): round(float(near_bands.caught(jaccard, bands, rows)), 4) for jaccard in (0.7, 0.8, 0.9)}
    told = [{"language": name, "category": category, **{what: cell[what] for what in OUTCOMES}} for (name, category), cell in sorted(cells.items())]  # fmt: skip
    return {
        "near": {**encode(near), "bands": bands, "rows": rows, "caught": caught, "compared": counts["pairs compared"]},
        "counts": {"unreadable": reasons[UNREADABLE], **{what: sum(cell[what] for cell in cells.values()) for what in OUTCOMES}},
        "reasons": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        "cells": told,
    }


def text(report: Mapping[str, Any]) -> str:
    """The report for people: a line for each language and category, the reasons, and what the duplicates were looked for with."""
    lines = [f"{'language':<12} {'category':<24}" + "".join(f"{what:>10}" for what in OUTCOMES)]
    every = [*report["cells"], {"language": "all", "category": "", **report["counts"]}]
    for cell in every:
        lines.append(
            f"{cell['language'] or '(none)':<12} {cell['category'] or ('' if cell is every[-1] else '(none)'):<24}"
            + "".join(f"{cell[what]:>10,}" for what in OUTCOMES)
        )
    lines += ["", *(f"{reason:<24} {count:>10,}" for reason, count in report["reasons"].items())]
    near = report["near"]
    caught = ", ".join(f"{share:.2f} at {jaccard}" for jaccard, share in near["caught"].items())
    lines.append(f"near duplicates: Jaccard {near['threshold']} of shingles of {near['shingle']}, {near['bands']} bands of {near['rows']}: {caught}")  # fmt: skip
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status (2 for input that it cannot work with)."""
    parser = argparse.ArgumentParser(
        prog="python -m training.curation messages", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", nargs="+", required=True, help="files, directories or patterns: JSONL (.gz, .zst) or Parquet")
    parser.add_argument("--output", type=Path, required=True, help="a directory that is not there yet")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="near.SETTING=VALUE", help="lay settings over the paper's")
    parser.add_argument("--workers", type=int, default=0, help="processes (default: one a core)")
    options = parser.parse_args(list(argv))
    try:
        laid = [settings.parse_override(one) for one in options.set]
        if stray := next((layer for layer, _, _ in laid if layer != "near"), None):
            raise CurationError(f"--set {stray}: messages has the settings of near alone, e.g. near.bands=16")
        near = settings.made(Near, {**PAPER, **{key: value for _, key, value in laid}}, "--set: near")
        if options.workers < 0:
            raise CurationError(f"--workers {options.workers}: 1 or more, or 0 for one a core")
        engine = Engine(**({"workers": options.workers} if options.workers else {}))
        print(text(run(options.input, options.output, near, engine)))
    except (CurationError, OSError) as error:  # a full disk
        print(f"curation: {error}", file=sys.stderr)
        return 2
    print(f"\n{options.output}")
    return 0
