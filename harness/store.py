"""The artifact store: a POSIX directory in which an artifact is whole or absent.

    ROOT/PROFILE/STAGE/VARIANT/FP12/      an artifact: files, and record.json, written last
    ROOT/.building/FP12-STAGE/            where a child builds; what is finished there is published from there
    ROOT/.building/leases/                who builds, evaluates, pulls what

Publication: link (or copy) the finished files aside, hash and fsync them, write record.json last, and rename the whole directory into
place. The rename is the one moment at which the artifact begins to exist; killed before it, the next run publishes again from the
workdir; killed after it, only a workdir is left over, which `prune` removes.

    python -m harness.store list|show|verify|adopt|prune|push|pull
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import math
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import durable, intake
from harness.durable import write_json
from harness.lease import STALE_AFTER, Lease, LeaseError
from harness.record import (
    RECORD,
    SHOWN_ONLY,
    Damaged,
    FileEntry,
    Parent,
    Record,
    StoreError,
    changes,
    checked_name,
    content_digest,
    differences,
    fingerprint,
    load_record,
    parse_record,
)
from harness.surroundings import environment, git_state
from training.whole import sync

__all__ = [
    "Artifact",
    "Damaged",
    "FileEntry",
    "Lease",
    "LeaseError",
    "Parent",
    "Record",
    "Store",
    "StoreError",
    "changes",
    "content_digest",
    "differences",
    "environment",
    "fingerprint",
    "git_state",
    "load_record",
    "write_json",
]

BUILDING = ".building"
RESERVED = (
    "answers",
    "certificates",
    "evaluation-text",
    "lengths",
    "overlap",
    "rows",
    "runs",
)  # directories of the root that are no profiles
STAMPS = ".verified.json"
SETTLED = 1.0  # seconds; a file changed within them of its stamp could change again unseen, so it is not stamped yet


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """What a (profile, stage, variant) leaves in the store: a directory and its record. `Store.open` before reading its files."""

    path: Path
    record: Record

    def __str__(self) -> str:
        """PROFILE/STAGE/VARIANT/FP12, as the store and messages name it."""
        return f"{self.record.profile}/{self.record.stage}/{self.record.variant}/{self.record.fingerprint[:12]}"


class Store:
    """The store below `root`. Nothing is created before something is written."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"the store {self.root} is not a directory; name one with --store, --gate-store or SEATRIALS_STORE")
        self.building = self.root / BUILDING
        self._opened: dict[Path, str] = {}  # artifacts verified by this process, with their seal's stand-in: the content digest

    # ----------------------------------------------------------------------------------------------------------- finding

    def find(self, fingerprint: str, profile: str = "*", stage: str = "*", variant: str = "*") -> Artifact | None:
        """The artifact of a fingerprint (64 hex digits), anywhere or only under the given names; None if there is none.

        Raises Damaged if there is one whose record is truncated, misshapen or altered.
        """
        if len(fingerprint) != 64:
            return None
        for path in self._directories(profile, stage, variant, fingerprint[:12]):
            record = load_record(path)
            if record.fingerprint == fingerprint:
                return Artifact(path=path, record=record)
        return None

    def artifacts(self, profile: str | None = None, stage: str | None = None, variant: str | None = None) -> list[Artifact]:
        """All artifacts, or those under the given names, oldest first. Damaged records are left out; `damaged` lists them."""
        found = []
        for path in self._directories(profile or "*", stage or "*", variant or "*", "*"):
            with contextlib.suppress(Damaged):
                found.append(Artifact(path=path, record=load_record(path)))
        return sorted(found, key=lambda artifact: (artifact.record.started, str(artifact)))

    def damaged(self) -> list[tuple[Path, Damaged]]:
        """The artifacts whose record cannot be read, with the reason."""
        found = []
        for path in self._directories("*", "*", "*", "*"):
            try:
                load_record(path)
            except Damaged as error:
                found.append((path, error))
        return found

    def _directories(self, profile: str, stage: str, variant: str, prefix: str) -> Iterator[Path]:
        """Directories with a record: glob patterns where a name is "*", plain names otherwise."""
        tops = sorted(path for path in self.root.iterdir() if path.is_dir()) if self.root.is_dir() else []
        for top in tops:
            if top.name in RESERVED or top.name.startswith(".") or profile not in ("*", top.name):
                continue
            for path in sorted(top.glob(f"*/*/*/{RECORD}")):
                directory = path.parent
                _, has_stage, has_variant, has_prefix = directory.relative_to(self.root).parts
                if stage in ("*", has_stage) and variant in ("*", has_variant) and prefix in ("*", has_prefix):
                    yield directory

    # ----------------------------------------------------------------------------------------------------------- reading

    def open(self, artifact: Artifact) -> Path:
        """The artifact's directory, its bytes verified: every file's SHA-256 on first load, by stamp if unchanged since it was hashed.

        A stamp is size, modification time, change time and inode. Raises Damaged naming each file flipped, missing or extra.
        """
        if self._opened.get(artifact.path) == artifact.record.content:
            return artifact.path
        self._check(artifact, self._stamps(artifact))
        self._opened[artifact.path] = artifact.record.content
        return artifact.path

    def verify(self, artifact: Artifact) -> None:
        """As `open`, but every byte is read and hashed again, whatever the stamps say."""
        self._opened.pop(artifact.path, None)
        self._check(Artifact(path=artifact.path, record=load_record(artifact.path)), {})

    def _check(self, artifact: Artifact, stamps: Mapping[str, Any]) -> None:
        record, directory = artifact.record, artifact.path
        faults = []
        present = _present(directory)
        faults += [f"{name} is missing" for name in record.files if name not in present]
        faults += [f"{name} is not in the record" for name in present if name not in record.files]
        todo = []
        for name, path in present.items():
            entry = record.files.get(name)
            if entry is None:
                continue
            if path.is_symlink() or not path.is_file():
                faults.append(f"{name} is not a plain file")
            elif path.stat().st_size != entry.bytes:
                faults.append(f"{name} has {path.stat().st_size:,} bytes instead of {entry.bytes:,}")
            elif stamps.get(name) != _stamp(path):
                todo.append(path)
        before = {path: _stamp(path) for path in todo}
        try:
            hashes = durable.hash_files(todo)
        except OSError as error:
            raise Damaged(f"{directory}: {error.filename} cannot be read ({error.strerror})", [str(error)]) from error
        for path in todo:
            name = path.relative_to(directory).as_posix()
            if hashes[path] != record.files[name].sha256:
                faults.append(f"{name} has changed: SHA-256 {hashes[path][:12]} instead of {record.files[name].sha256[:12]}")
        if faults:
            raise Damaged(
                f"artifact {artifact} is damaged: {'; '.join(faults)}. Delete {directory}, then pull it or have it built again",
                faults,
            )
        if todo:
            kept = {name: stamps[name] for name in present if name in stamps}
            self._write_stamps(artifact, {**kept, **{path.relative_to(directory).as_posix(): stamp for path, stamp in before.items()}})

    def _stamps(self, artifact: Artifact) -> dict[str, Any]:
        """The stamps of the files hashed before; none if they belong to another record or cannot be read."""
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            data = json.loads((artifact.path / STAMPS).read_text(encoding="utf-8"))
            if data["content"] == artifact.record.content:
                return dict(data["files"])
        return {}

    def _write_stamps(self, artifact: Artifact, stamps: Mapping[str, Sequence[int]]) -> None:
        """Keep what was hashed. Best effort: a read-only or full store is only slower."""
        with contextlib.suppress(OSError):
            path = artifact.path / STAMPS
            probe = path.with_name(f"{STAMPS}.{secrets.token_hex(4)}")
            try:
                probe.write_text("{}", encoding="utf-8")
                now = probe.stat().st_mtime_ns  # the file system's clock, not this host's
                settled = {name: stamp for name, stamp in stamps.items() if max(stamp[1], stamp[2]) < now - SETTLED * 1e9}
                probe.write_text(json.dumps({"content": artifact.record.content, "files": settled}), encoding="utf-8")
                os.replace(probe, path)
            finally:
                probe.unlink(missing_ok=True)

    # ---------------------------------------------------------------------------------------------------------- building

    def workdir(self, fingerprint: str, stage: str) -> Path:
        """The directory in which an artifact is built (made if need be); what an earlier run left there is resumed."""
        path = self.building / f"{fingerprint[:12]}-{checked_name(stage, 'stage')}"
        self._make(path)
        return path

    @contextlib.contextmanager
    def lease(
        self, name: str, waiting: Callable[[str], None] | None = None, timeout: float | None = None, stale_after: float = STALE_AFTER
    ) -> Iterator[Lease]:
        """Hold the store's lease on a name; `waiting` is called with the holder in words while somebody else does."""
        self._make(self.building / "leases")
        with Lease(self.building / "leases", checked_name(name, "lease"), stale_after=stale_after).held(waiting, timeout) as lease:
            yield lease

    def publish(
        self,
        workdir: Path,
        *,
        profile: str,
        stage: str,
        fingerprint: str,
        recipe: Mapping[str, Any],
        version: int,
        data: str,
        parents: Sequence[Artifact | tuple[str, Artifact]] = (),
        variant: str = "main",
        seed: int | None = None,
        started: float | None = None,
        lease: Lease | None = None,
    ) -> Artifact:
        """Publish what a child finished in `workdir` (result/ and done.json) and remove the workdir.

        `recipe` is encoded, `started` Unix seconds. Safe to repeat after a crash; an artifact that is there already is returned as it is.
        Raises StoreError (unfinished, unsafe files, disk full, another fingerprint than the fields give), LeaseError if `lease` was lost.
        """
        if (found := self.find(fingerprint, profile, stage, variant)) is not None:
            self._discard(workdir)
            return found
        if not (workdir / "done.json").is_file():
            raise StoreError(f"{workdir} is not finished: it has no done.json; run the stage again to resume it")
        result = workdir / "result"
        files = intake.admitted(result)
        if (workdir / "log.txt").is_file() and "log.txt" not in files:
            files["log.txt"] = workdir / "log.txt"
        build = _facts(result / "build.json")
        seconds = _figure(build, "seconds")
        begun = started if started is not None else time.time() - seconds
        surroundings = environment(threads=build.get("threads"), device=build.get("device"))
        given = [parent if isinstance(parent, Artifact) else parent[1] for parent in parents]
        fields = {
            "profile": profile,
            "stage": stage,
            "variant": variant,
            "fingerprint": fingerprint,
            "version": version,
            "recipe": dict(recipe),
            "data": data,
            "parents": tuple(parent_of(artifact.record) for artifact in given),
            "environment": {**surroundings, **(build.get("environment") or {})},
            "git": git_state(),
            "seed": seed,
            "started": _utc(begun),
            "wall_seconds": seconds or time.time() - begun,
            "tokens": int(_figure(build, "tokens")),
            "build": build,
            "adopted": False,
        }
        artifact = self.write(files, fields, aside=workdir / f"aside-{secrets.token_hex(4)}", link=True, lease=lease)
        self._discard(workdir)
        return artifact

    def write(
        self, files: Mapping[str, Path], fields: Mapping[str, Any], *, aside: Path, link: bool, lease: Lease | None = None
    ) -> Artifact:
        """Write an artifact of `files` (name -> where it lies) with a record of `fields`; `files` and `content` of it are made here.

        Raises StoreError; a full disk is named, and leaves no trace but `aside`'s absence.
        """
        try:
            aside.mkdir(parents=True)
            for name, path in files.items():
                durable.place(path, aside / name, link=link and name != "log.txt")  # a log may still be appended to
            entries = file_entries(aside, files)
            record = Record(**fields, files=entries, content=content_digest(entries))
            if record.adopted:
                record = dataclasses.replace(record, recipe={"adopted": record.content})
                record = dataclasses.replace(record, fingerprint=_fingerprint_of(record))
            if lease is not None:
                lease.check()
            return self.commit(aside, record)
        except OSError as error:
            raise StoreError(
                f"cannot write {fields['profile']}/{fields['stage']} to {self.root}: {error.strerror or error} "
                f"({error.filename or aside}); what was built is kept, mend this and run again"
            ) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def commit(self, aside: Path, record: Record) -> Artifact:
        """Turn a directory with all files of a record into its artifact: fsync, record.json last, rename. OSError is the caller's.

        If the artifact exists already, it is returned, and `aside` stays behind for the caller to remove.
        """
        for what in ("profile", "stage", "variant"):
            checked_name(getattr(record, what), what)
        if record.profile in RESERVED:
            raise StoreError(f"a profile cannot be named {record.profile!r}: the store keeps its {record.profile} under that name")
        try:
            text = json.dumps(record.to_json(), allow_nan=False)
        except ValueError as error:
            raise StoreError(f"the record of {record.stage} holds a number that is not finite ({error}): see its build.json") from None
        if parse_record(text, f"the record of {record.stage}") != record:
            raise StoreError(f"the record of {record.stage} does not survive being written and read; its fields must be plain JSON")
        final = self.root / record.profile / record.stage / record.variant / record.fingerprint[:12]
        durable.sync_tree(aside)
        write_json(aside / RECORD, record.to_json())
        durable.make_directories(final.parent)
        if final.exists() and not (final / RECORD).exists():
            durable.remove_tree(final, self.building / "trash")  # a damaged artifact whose record somebody removed
        try:
            os.rename(aside, final)
        except OSError:
            if not (final / RECORD).exists():
                raise
            found = load_record(final)
            if found.fingerprint != record.fingerprint:
                raise StoreError(f"{final} belongs to another fingerprint, {found.fingerprint}; remove it") from None
            return Artifact(path=final, record=found)
        sync(final.parent)
        self._opened[final] = record.content
        return Artifact(path=final, record=record)

    def adopt(
        self, stage: str, directory: Path, *, profile: str, variant: str = "main", parents: Sequence[Artifact] = (), link: bool = False
    ) -> Artifact:
        """Take a checkpoint made elsewhere: safetensors, no code, no links. Its identity is its content and its parents.

        `link` hard-links the files instead of copying them (the store notices if they are changed later). Raises StoreError.
        """
        directory = Path(directory)
        if not directory.is_dir():
            raise StoreError(f"{directory} is not a directory; give the directory of a Hugging Face checkpoint")
        checked_name(stage, "stage")
        files = intake.admitted(directory)
        intake.require_checkpoint(directory, files)
        fields = {
            "profile": profile,
            "stage": stage,
            "variant": variant,
            "fingerprint": "0" * 64,  # follows from the content, once it is known
            "version": 0,
            "recipe": {},
            "data": "",
            "parents": tuple(parent_of(artifact.record) for artifact in parents),
            "environment": {},
            "git": None,
            "seed": None,
            "started": _utc(time.time()),
            "wall_seconds": 0.0,
            "tokens": 0,
            "build": {},
            "adopted": True,
        }
        self._make(self.building)
        return self.write(files, fields, aside=self.building / f"adopt-{secrets.token_hex(8)}", link=link)

    def _discard(self, workdir: Path) -> None:
        with contextlib.suppress(OSError):  # the artifact stands; `prune` removes what could not be removed now
            durable.remove_tree(workdir, self.building / "trash")

    def _make(self, path: Path) -> None:
        """Make a directory of the store, and the store; a store in a checkout hides itself from git."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            ignore = self.root / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
        except OSError as error:
            raise StoreError(
                f"cannot write to the store {self.root}: {error.strerror}; name another with --gate-store, or free space"
            ) from error


def parent_of(record: Record) -> Parent:
    """How a child's record names this artifact."""
    return Parent(stage=record.stage, variant=record.variant, fingerprint=record.fingerprint, content=record.content)


def _fingerprint_of(record: Record) -> str:
    contents = [parent.content for parent in record.parents]
    return fingerprint(stage=record.stage, recipe=record.recipe, version=record.version, data=record.data, parents=contents)


def file_entries(directory: Path, names: Iterable[str]) -> dict[str, FileEntry]:
    """Files of a directory, by name, as a record lists them."""
    names = sorted(names)
    hashes = durable.hash_files(directory / name for name in names)
    return {
        name: FileEntry(sha256=hashes[directory / name], bytes=(directory / name).stat().st_size, content=name not in SHOWN_ONLY)
        for name in names
    }


def _present(directory: Path) -> dict[str, Path]:
    """What lies in an artifact's directory by relative name, but for the record, the stamps and NFS's own placeholders."""
    found = {}
    for parent, folders, names in os.walk(directory):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in [*names, *links]:
            path = Path(parent, name)
            relative = path.relative_to(directory).as_posix()
            if relative != RECORD and not relative.startswith(STAMPS) and not name.startswith(".nfs"):
                found[relative] = path
    return found


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _facts(path: Path) -> dict[str, Any]:
    """What the child says about its build; {} if it says nothing."""
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{path} is not JSON ({error}); remove the workdir {path.parent.parent} and build again") from error
    if not isinstance(facts, dict):
        raise StoreError(f"{path} is not a JSON object; remove the workdir {path.parent.parent} and build again")
    return facts


def _figure(facts: Mapping[str, Any], name: str) -> float:
    """A number among the facts of a build, 0 where the child does not give it. Raises StoreError for NaN and what is no number."""
    value = facts.get(name) or 0
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise StoreError(f"build.json: {name} is {value!r}, not a finite number")
    return float(value)


def _utc(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    from harness.store_cli import main

    sys.exit(main())
