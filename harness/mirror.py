"""Push and pull: a mirror of the store at any fsspec URL, laid out as the store is, the record last in both directions.

Every file is hashed after its transfer. A transfer that was cut short goes on where it stopped: files that arrived are hashed, not
sent again, and a half-pulled file is continued. What lacks its record is not there for any reader, so nothing half is ever seen as whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from harness import durable, intake
from harness.record import RECORD, Damaged, FileEntry, Record, StoreError, parse_record
from harness.selection import chosen, with_ancestors
from harness.store import Artifact, Store
from training.whole import sync

CHUNK = 8 << 20
Say = Callable[[str], None]


class MirrorError(StoreError):
    """A mirror that cannot be reached, or does not hold what it says; the message names the file and the mend."""


class Mirror:
    """The mirror at an fsspec URL (s3://, gs://, hf://, file://, memory://, or a path)."""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self.shown = re.sub(r"://[^/@]*@", "://", url)  # a URL may carry credentials; messages do not
        try:
            self.files, root = url_to_fs(url)
        except ImportError as error:
            raise MirrorError(f"{self.shown}: {error}; install the package that serves this kind of URL") from error
        except ValueError as error:
            raise MirrorError(f"{self.shown} is no URL that fsspec knows: {error}") from error
        self.root = root.rstrip("/")

    def push(self, store: Store, selectors: Iterable[str] = (), say: Say = print) -> list[Record]:
        """Send the selected artifacts (all if none is named) and their ancestors. Returns those sent; complete ones are skipped.

        Raises MirrorError, Damaged (a broken artifact is never pushed), UnknownSelector.
        """
        artifacts = {id(artifact.record): artifact for artifact in store.artifacts()}
        records = [artifact.record for artifact in artifacts.values()]
        sent = []
        for record in with_ancestors(records, chosen(records, selectors)):
            with self._named(f"push {artifacts[id(record)]}"):
                if self._push(store, artifacts[id(record)], say):
                    sent.append(record)
        return sent

    def pull(self, store: Store, selectors: Iterable[str] = (), say: Say = print) -> list[Record]:
        """Fetch the selected artifacts (all if none is named) and their ancestors. Returns those fetched; present ones are skipped.

        Raises MirrorError, UnknownSelector. A damaged record on the mirror is named after all sound ones were fetched.
        """
        with self._named("list"):
            records, broken = self.records()
        for line in broken:
            say(f"damaged: {line}")
        fetched = []
        for record in with_ancestors(records, chosen(records, selectors)):
            with self._named(f"pull {_place(record)}"):
                if self._pull(store, record, say):
                    fetched.append(record)
        if broken:
            raise MirrorError("; ".join(broken))
        return fetched

    def records(self) -> tuple[list[Record], list[str]]:
        """The records on the mirror, and a line for each that cannot be read or stands in another's place."""
        self.files.invalidate_cache()
        found, broken = [], []
        for path in sorted(self.files.glob(f"{self.root}/*/*/*/*/{RECORD}")):
            try:
                record = parse_record(self.files.cat_file(path), f"{self.shown}: {path}")
            except Damaged as error:
                broken.append(f"{error}; push it again")
                continue
            if not path.endswith(f"/{_place(record)}/{RECORD}"):
                broken.append(f"{self.shown}: {path} is the record of {_place(record)}; it was moved by hand, remove it")
                continue
            found.append(record)
        return found, broken

    # ------------------------------------------------------------------------------------------------------------ pushing

    def _push(self, store: Store, artifact: Artifact, say: Say) -> bool:
        record, there = artifact.record, f"{self.root}/{_place(artifact.record)}"
        directory = store.open(artifact)
        self.files.invalidate_cache()
        if (standing := self._standing(there)) is not None:
            if standing.content != record.content:
                raise MirrorError(
                    f"{self.shown} holds another build of {artifact}: content {standing.content[:12]}, ours {record.content[:12]}; "
                    "pull that one, or remove it from the mirror"
                )
            say(f"{artifact} is there already")
            return False
        say(f"pushing {artifact}, {record.bytes / 1e6:,.1f} MB")
        for name, entry in record.files.items():
            self._send(directory / name, f"{there}/{name}", entry)
        aside = f"{there}/{RECORD}.{secrets.token_hex(4)}"
        self.files.pipe_file(aside, json.dumps(record.to_json(), indent=1).encode("ascii"))
        self._settle(aside)
        self.files.mv(aside, f"{there}/{RECORD}")
        self._settle(f"{there}/{RECORD}")
        if self._standing(there) != record:
            raise MirrorError(f"{there}/{RECORD} did not arrive as it was sent; push again")
        return True

    def _standing(self, there: str) -> Record | None:
        """The record on the mirror; None if there is none or a broken one, which a push replaces."""
        try:
            return parse_record(self.files.cat_file(f"{there}/{RECORD}"), f"{there}/{RECORD}")
        except (FileNotFoundError, Damaged):
            return None

    def _send(self, path: Path, there: str, entry: FileEntry) -> None:
        for attempt in range(2):
            if self._arrived(there, entry):
                return
            self.files.makedirs(there.rpartition("/")[0], exist_ok=True)
            self.files.put_file(str(path), there)
            self._settle(there)
            self.files.invalidate_cache()
            if attempt and not self._arrived(there, entry):
                break
        if not self._arrived(there, entry):
            raise MirrorError(f"{there} on {self.shown} differs from {path} after two transfers; look at the mirror's storage")

    def _arrived(self, there: str, entry: FileEntry) -> bool:
        try:
            if self.files.info(there)["size"] != entry.bytes:
                return False
        except FileNotFoundError:
            return False
        state = hashlib.sha256()
        with self.files.open(there, "rb") as file:
            while chunk := file.read(CHUNK):
                state.update(chunk)
        return state.hexdigest() == entry.sha256

    def _settle(self, there: str) -> None:
        """On a mirror that is a directory, what must be there before the record must be on its disk before it."""
        if self.files.protocol in ("file", "local", ("file", "local")):
            sync(Path(there))
            sync(Path(there).parent)

    # ------------------------------------------------------------------------------------------------------------ pulling

    def _pull(self, store: Store, record: Record, say: Say) -> bool:
        place = _place(record)
        with store.lease(f"pull-{record.fingerprint[:12]}", waiting=lambda who: say(f"{place}: {who} pulls it")):
            standing = store.find(record.fingerprint, record.profile, record.stage, record.variant)
            if standing is not None:
                if standing.record.content != record.content:
                    raise MirrorError(
                        f"the store holds another build of {place}: content {standing.record.content[:12]}, the mirror's "
                        f"{record.content[:12]}; remove {standing.path} to take the mirror's"
                    )
                say(f"{place} is here already")
                return False
            say(f"pulling {place}, {record.bytes / 1e6:,.1f} MB")
            aside = store.building / f"pull-{record.fingerprint[:12]}-{record.content[:12]}"
            for name, entry in record.files.items():
                self._fetch(f"{self.root}/{place}/{name}", aside / name, entry)
            for name in set(intake.admitted(aside)) - set(record.files):
                (aside / name).unlink()
            store.commit(aside, record)
            shutil.rmtree(aside, ignore_errors=True)
            return True

    def _fetch(self, there: str, path: Path, entry: FileEntry) -> None:
        if path.is_file() and path.stat().st_size == entry.bytes and durable.hash_file(path) == entry.sha256:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        for _ in range(2):
            begun = part.stat().st_size if part.is_file() else 0
            if begun < entry.bytes or not part.is_file():
                try:
                    self._copy(there, part, begun)
                except FileNotFoundError:
                    raise MirrorError(f"{there} is missing on {self.shown}, though its record names it; push it again") from None
            if part.stat().st_size == entry.bytes and durable.hash_file(part) == entry.sha256:
                os.replace(part, path)
                return
            part.unlink()
            if not begun:
                break
        raise MirrorError(f"{there} on {self.shown} is not what its record says (SHA-256); remove it there and push it again")

    def _copy(self, there: str, part: Path, begun: int) -> None:
        with self.files.open(there, "rb") as source, part.open("ab") as target:
            source.seek(begun)
            shutil.copyfileobj(source, target, CHUNK)

    @contextlib.contextmanager
    def _named(self, what: str) -> Any:
        """Every error of a transfer says what was being done, and that it can be done again."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # each file system has errors of its own
            reason = re.sub(r"://[^/@\s]*@", "://", str(error))
            raise MirrorError(f"{what} ({self.shown}): {type(error).__name__}: {reason}; run the same command again to go on") from error


def _place(record: Record) -> str:
    return f"{record.profile}/{record.stage}/{record.variant}/{record.fingerprint[:12]}"
