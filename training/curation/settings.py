"""A curation recipe: which layers, in which order, with which settings; from TOML, or from a layer's name and `--set`.

    layers = ["url", "lines", "language", "rules", "near", "exact", "pii"]
    [near]
    permutations = 256

A layer may stand twice (`rules` before and after deduplication, as in SailCraft); both take the settings of its table.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from training.curation.documents import CurationError
from training.curation.layer import LAYERS, Layer
from training.curation.sources import Sources

# What a run does when it is not told: cheap and narrow layers first, what needs a model or two passes over the text after them.
DEFAULT_LAYERS = ("url", "lines", "language", "rules", "near", "exact", "pii")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curation:
    """The recipe of a corpus: how files become documents, and the layers they pass, in order."""

    version: ClassVar[int] = 1
    layers: tuple[Layer, ...]
    sources: Sources = dataclasses.field(default_factory=Sources)


def layer_class(name: str) -> type[Layer]:
    """The layer of a name. Raises CurationError with the closest one."""
    if name not in LAYERS:
        close = difflib.get_close_matches(name, LAYERS, 1)
        raise CurationError(f"no layer {name!r}; there are {', '.join(LAYERS)}" + (f"; did you mean {close[0]}?" if close else ""))
    module, _, attribute = LAYERS[name].partition(":")
    found: type[Layer] = getattr(importlib.import_module(module), attribute)
    return found


def read(path: Path, overrides: Sequence[str] = ()) -> Curation:
    """The recipe of a TOML file, with `layer.setting=value` laid over it. Raises CurationError naming file and key."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CurationError(f"the recipe {path} cannot be read: {error}") from error
    return of(data, overrides, where=str(path))


def of(data: Mapping[str, Any], overrides: Sequence[str] = (), where: str = "the recipe") -> Curation:
    """The recipe that `data` (a parsed TOML) tells. Raises CurationError."""
    tables: dict[str, dict[str, Any]] = {name: dict(table) for name, table in data.items() if isinstance(table, dict)}
    for override in overrides:
        table, key, value = parse_override(override)
        tables.setdefault(table, {})[key] = value
    names = data.get("layers", list(DEFAULT_LAYERS))
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise CurationError(f"{where}: `layers` is a list of names")
    if stray := [key for key in data if key != "layers" and key not in tables]:
        raise CurationError(f"{where}: nothing is called {stray[0]!r} here; settings stand in a table of their layer")
    if stray := [name for name in tables if name != "sources" and name not in names]:
        raise CurationError(f"{where}: settings for {stray[0]!r}, which is not among its layers ({', '.join(names)})")
    layers = tuple(made(layer_class(name), tables.get(name, {}), f"{where}: {name}") for name in names)
    return Curation(layers=layers, sources=made(Sources, tables.get("sources", {}), f"{where}: sources"))


def parse_override(text: str) -> tuple[str, str, Any]:
    """`near.permutations=256` -> ("near", "permutations", 256); a value that is no TOML is a string. Raises CurationError."""
    name, equals, value = text.partition("=")
    table, dot, key = name.strip().partition(".")
    if not (equals and dot and key):
        raise CurationError(f"--set {text}: write LAYER.SETTING=VALUE, e.g. near.permutations=256")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    return table, key, parsed


Made = typing.TypeVar("Made")


def made(kind: type[Made], values: Mapping[str, Any], where: str) -> Made:
    """A settings dataclass of plain values: lists become tuples, whole numbers floats where a float stands. Raises CurationError."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    given = {}
    for key, value in values.items():
        if key not in fields:
            close = difflib.get_close_matches(key, fields, 1)
            raise CurationError(
                f"{where} has no setting {key!r}; it has {', '.join(fields)}" + (f"; did you mean {close[0]}?" if close else "")
            )
        given[key] = _fit(value, hints[key], f"{where}.{key}")
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        raise CurationError(f"{where}: {error}") from error


def _fit(value: Any, hint: Any, where: str) -> Any:
    """The value in the type that the field declares. Raises CurationError."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        if value not in arguments:
            raise CurationError(f"{where} is {value!r}; it is one of {', '.join(map(repr, arguments))}")
        return value
    if origin in (typing.Union, types.UnionType):
        return value if any(isinstance(value, typing.get_origin(one) or one) for one in arguments) else _fit(value, arguments[0], where)
    if origin is tuple:
        return tuple(value) if isinstance(value, (list, tuple)) else tuple(str(value).split(","))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise CurationError(f"{where} is {value!r}, a {type(value).__name__}; it is a {hint.__name__}")
    return value
