"""The record of an artifact: what it is, from what it was made, and the SHA-256 of every file; and how two records differ.

A record is written once, last, as `record.json`. It is sealed: `seal` is the digest of all other fields, so that a flipped byte in
the record itself is found as well as one in a file. `load_record` is the edge where outside text becomes a `Record`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import GenericAlias
from typing import Annotated, Any, Literal, get_type_hints

from training.recipe import RecipeError, digest

RECORD = "record.json"
SHOWN_ONLY = ("metrics.jsonl", "build.json", "log.txt", "report.json", "report.html")  # kept with an artifact, no part of its content
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+=-]*")


class StoreError(Exception):
    """Something the store refuses or finds broken; the message names the thing and the mend."""


class Damaged(StoreError):
    """An artifact that is not what its record says; `faults` has one line a fault, each naming the file."""

    def __init__(self, message: str, faults: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of an artifact. `content` is False for what is kept to be shown only (losses, log, build facts)."""

    sha256: str
    bytes: int
    content: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parent:
    """An artifact that this one was made from."""

    stage: str
    variant: str
    fingerprint: str
    content: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """What an artifact is. `fingerprint` is what it was asked to be, `content` what came out (both SHA-256, 64 hex digits)."""

    schema: Literal[1] = 1
    profile: str
    stage: str
    variant: str
    fingerprint: str
    content: str
    version: int
    recipe: dict[str, Any]
    data: str
    parents: tuple[Parent, ...]
    files: dict[str, FileEntry]
    environment: dict[str, Any]
    git: dict[str, Any] | None
    seed: int | None
    started: str  # ISO 8601, UTC, seconds
    wall_seconds: float
    tokens: int
    build: dict[str, Any]
    adopted: bool

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(entry.bytes for entry in self.files.values())

    @property
    def tokenizer_digest(self) -> str:
        """Digest over the tokenizer's files; the digest of nothing where the artifact has no tokenizer."""
        return content_digest({name: entry for name, entry in self.files.items() if name in TOKENIZER_FILES and entry.content})

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON, sealed."""
        body = dataclasses.asdict(self)
        body["parents"] = list(body["parents"])
        return {**body, "seal": digest(body)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str = RECORD) -> Record:
        """The inverse of `to_json`. Raises Damaged naming `where` and the field."""
        return parse_record(json.dumps(data), where)


# -------------------------------------------------------------------------------------------------------------- identity


def content_digest(files: Mapping[str, FileEntry]) -> str:
    """SHA-256 over the sorted (name, sha256) of the files that bear on content."""
    state = hashlib.sha256()
    for name in sorted(files):
        if files[name].content:
            state.update(f"{name}\0{files[name].sha256}\n".encode())
    return state.hexdigest()


def fingerprint(*, stage: str, recipe: Mapping[str, Any], version: int, data: str, parents: Sequence[str]) -> str:
    """The identity of an artifact before it exists: SHA-256 over recipe values (encoded), data digest, parents' contents, version."""
    return digest({"stage": stage, "recipe": dict(recipe), "version": version, "data": data, "parents": list(parents)})


def checked_name(value: str, what: str) -> str:
    """A profile, stage or variant name that can be a directory. Raises StoreError."""
    if not NAME.fullmatch(value) or len(value) > 100:
        raise StoreError(f"{what} {value!r} cannot name a directory: use letters, digits and . _ @ + = -, starting with a letter or digit")
    return value


def checked_file(name: str) -> str:
    """A file name inside an artifact: relative, POSIX, no way out, nothing hidden. Raises StoreError."""
    parts = PurePosixPath(name).parts
    odd = not parts or name != "/".join(parts) or name.startswith("/") or "\\" in name or any(part.startswith(".") for part in parts)
    if odd or any(ord(character) < 32 or character == "\x7f" for character in name) or name == RECORD:
        raise StoreError(f"file name {name!r} is not allowed in an artifact: use a relative name without .., hidden parts or backslashes")
    return name


# --------------------------------------------------------------------------------------------------------------- reading


@functools.cache
def _reader() -> Any:
    """The model of a record's text. pydantic is loaded here, not with the module: a plan over an empty store needs none."""
    from pydantic import ConfigDict, Field, create_model

    hexadecimal = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    def model(kind: type, **narrowed: Any) -> Any:
        """The fields of a dataclass, all required, none beside them, checked strictly; the named ones narrowed."""
        fields: dict[str, Any] = {name: (hint, ...) for name, hint in {**get_type_hints(kind), **narrowed}.items()}
        return create_model(kind.__name__, __config__=ConfigDict(extra="forbid", strict=True), **fields)

    entry = model(FileEntry, sha256=hexadecimal, bytes=Annotated[int, Field(ge=0)])
    parent = model(Parent, fingerprint=hexadecimal, content=hexadecimal)
    shapes = {"files": GenericAlias(dict, (str, entry)), "parents": GenericAlias(list, parent)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # our field `schema` shadows a deprecated method
        return model(Record, fingerprint=hexadecimal, content=hexadecimal, seal=hexadecimal, **shapes)


def parse_record(text: str | bytes, where: str) -> Record:
    """A record from its JSON text. Raises Damaged with one message that names `where` and the field."""
    from pydantic import ValidationError

    try:
        body = _reader().model_validate_json(text).model_dump()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise Damaged(f"{where} is truncated or not JSON ({first['msg']})") from None
        field = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise Damaged(f"{where}: field {field}: {first['msg']}") from None
    seal = body.pop("seal")
    try:
        sealed = digest(body) == seal
    except (RecipeError, ValueError):
        sealed = False
    if not sealed:
        raise Damaged(f"{where}: field seal does not match the rest: the record was altered after it was written")
    record = Record(
        **{
            **body,
            "parents": tuple(Parent(**parent) for parent in body["parents"]),
            "files": {name: FileEntry(**entry) for name, entry in body["files"].items()},
        }
    )
    _check_consistent(record, where)
    return record


def _check_consistent(record: Record, where: str) -> None:
    """What the seal cannot say: names that stay inside the store, and digests that follow from the fields."""
    try:
        for what in ("profile", "stage", "variant"):
            checked_name(getattr(record, what), what)
        for name in record.files:
            checked_file(name)
    except StoreError as error:
        raise Damaged(f"{where}: {error}") from None
    if content_digest(record.files) != record.content:
        raise Damaged(f"{where}: field content does not follow from the files")
    parents = [parent.content for parent in record.parents]
    asked = fingerprint(stage=record.stage, recipe=record.recipe, version=record.version, data=record.data, parents=parents)
    if asked != record.fingerprint:
        raise Damaged(f"{where}: field fingerprint does not follow from recipe, version, data and parents")


def load_record(directory: Path) -> Record:
    """The record of an artifact's directory. Raises Damaged: missing, truncated, misshapen or altered, naming file and field."""
    path = directory / RECORD
    mend = f"delete {directory} to have it built again, or pull it from a mirror"
    try:
        text = path.read_bytes()
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error.strerror}); {mend}") from error
    try:
        return parse_record(text, str(path))
    except Damaged as error:
        raise Damaged(f"{error}; {mend}") from error.__cause__


# ------------------------------------------------------------------------------------------------------------ differences


def changes(record: Record, *, recipe: Mapping[str, Any], version: int, data: str, parents: Sequence[str]) -> list[str]:
    """What distinguishes an identity from a record's, in words, one a field: "recipe.seed: 0 -> 1", "data: other rows"."""
    if record.adopted != ("adopted" in recipe):
        found = ["adopted, not built from a recipe" if record.adopted else "built from a recipe, not adopted"]
    else:
        found = [f"recipe{path}: {_shown(old)} -> {_shown(new)}" for path, old, new in _walk(record.recipe, dict(recipe))]
    if record.version != version:
        found.append(f"version: {record.version} -> {version}")
    if record.data != data:
        found.append(f"data: other rows ({record.data[:12] or 'none'} -> {data[:12] or 'none'})")
    before = [parent.content for parent in record.parents]
    for index, (old, new) in enumerate(zip(before, parents, strict=False)):
        if old != new:
            found.append(f"parent {record.parents[index].stage}: {old[:12]} -> {new[:12]}")
    if len(before) != len(parents):
        found.append(f"parents: {len(before)} -> {len(parents)}")
    return found


def differences(record_a: Record, record_b: Record) -> list[str]:
    """What distinguishes the second record's identity from the first's: recipe fields, version, data, parents."""
    contents = [parent.content for parent in record_b.parents]
    return changes(record_a, recipe=record_b.recipe, version=record_b.version, data=record_b.data, parents=contents)


class _Absent:
    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()


def _walk(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The leaves where two encoded values differ. List items are matched by their `name` where they have one."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _walk(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{path}.{key}" if not key.startswith("[") else f"{path}{key}")
    elif isinstance(old, list) and isinstance(new, list):
        yield from _walk(_keyed(old, new), _keyed(new, old), path)
    elif repr(old) != repr(new):  # as the digest sees it: 1 is not True, 0.0 is not -0.0
        yield path, old, new


def _keyed(items: list[Any], others: Iterable[Any]) -> dict[str, Any]:
    """A list as a mapping: by name where every item of both lists has its own, else by position."""
    for group in (items, others):
        names = [item.get("name") if isinstance(item, dict) else None for item in group]
        if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
            return {f"[{index}]": item for index, item in enumerate(items)}
    return {f"[{item['name']}]": item for item in items}


def _shown(value: Any, width: int = 60) -> str:
    if isinstance(value, dict) and "__type__" in value:
        inner = ", ".join(f"{key}={_shown(item, 20)}" for key, item in value.items() if key != "__type__")
        value = f"{value['__type__'].rpartition(':')[2]}({inner})"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= width else text[: width - 1] + "…"
