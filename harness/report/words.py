"""How the report says things: numbers as the terminal's gate table has them, and text that cannot act on the page or on its reader."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

COLUMNS = ("gate", "value", "line", "against", "n", "detectable", "verdict")
LONGEST = 2_000  # characters of one sample's field

# Explicit directional controls would let a sample's text reorder what stands beside it; they are shown by name instead.
_NAMED = dict(
    zip(
        "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
        ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"),
        strict=True,
    )
)
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]")


def visible(text: str) -> str:
    """Text that encodes as UTF-8 and acts on nothing: control characters are shown by name or number, lone surrogates too."""

    def named(match: re.Match[str]) -> str:
        return f"⟨{_NAMED.get(match.group(), f'U+{ord(match.group()):04X}')}⟩"

    return _UNFIT.sub(named, text.replace("\r\n", "\n"))


def shortened(text: str, limit: int = LONGEST) -> str:
    """At most `limit` characters, and how many more there were."""
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit:,} more characters)"


def number(value: float | None, form: str = ".4f") -> str:
    """A score as the gate table shows it; empty where there is none."""
    return "" if value is None else format(value, form)


def cells(row: Mapping[str, Any]) -> dict[str, str]:
    """A gate's row in words, by column: the very values that the terminal's table shows."""
    against = ""
    if row["interval"] is not None:
        low, high = row["interval"]
        middle = f"{row['difference']:+.4f} " if row["difference"] is not None else ""
        against = f"{row['against_stage'] or 'the line'} {middle}[{low:+.4f}, {high:+.4f}]"
    elif row["exact"]:
        against = f"{row['against_stage']} identical"
    count = f"{row['clusters']}" if row["clusters"] == row["samples"] else f"{row['samples']} in {row['clusters']}"
    said = (
        row["gate"],
        number(row["value"]),
        number(row["line"], "+.4f" if row["difference"] is not None else ".4f"),
        against,
        count if row["samples"] else "",
        number(row["detectable"]) + (f" > margin {number(row['margin'])}" if row.get("coarse") else ""),
        judged(row) if row["verdict"] != "not run" else f"not run: {row['reason']}",
    )
    return dict(zip(COLUMNS, said, strict=True))


def judged(row: Mapping[str, Any]) -> str:
    """A verdict, and what it is worth: `pass (ungated)` stands on an ancestor that did not pass."""
    return row["verdict"] + (" (waived)" if row["waived"] else "") + (" (ungated)" if row.get("ungated") else "")


def ungated_note(rows: Sequence[Mapping[str, Any]]) -> str:
    """What stands under the table of a run with --gate-ungated."""
    stages = ", ".join(dict.fromkeys(row["stage"] for row in rows if row.get("ungated")))
    on = f"{stages}: (ungated), built on an ancestor that did not pass" if stages else "no checkpoint of this run had to pass for the next"
    return f"UNGATED: {on}; nothing of this run is certified or can be blessed"


def margin_notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What stands under the table of margins that say little: not held against a detectable difference, or less than it turned out to be."""
    said = []
    if without := [row["gate"] for row in rows if row.get("uncalibrated")]:
        which = "all gates" if len(without) == len(rows) else f"{len(without)} of {len(rows)} gates"
        said.append(f"uncalibrated, {which}: margin not held against a detectable difference when it was loaded")
    if coarse := [row["gate"] for row in rows if row.get("coarse")]:
        said.append(
            f"margin below what these samples can detect (a pass stays a pass; a loss of the margin may go unseen): {', '.join(coarse)}"
        )
    return said


def counted(count: int, thing: str) -> str:
    """`1 gate`, `1,200 gates`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def scalar(value: Any) -> str:
    """A recipe's or a fact's value on one line."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    return shortened(str(value))


def flattened(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of plain JSON as (path, value): list items by their `name`, short plain lists on one line."""
    if isinstance(value, Mapping):
        kind = value.get("__type__")
        if kind and path:
            yield path, str(kind).rpartition(":")[2]
        for key, item in value.items():
            if key != "__type__":
                yield from flattened(item, f"{path}.{key}" if path else str(key))
        if not value and path:
            yield path, "none"
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for index, item in enumerate(value):
            name = item.get("name", index) if isinstance(item, Mapping) else index
            yield from flattened(item, f"{path}[{name}]")
    elif isinstance(value, list):
        yield path, ", ".join(scalar(item) for item in value) or "none"
    else:
        yield path, scalar(value)
