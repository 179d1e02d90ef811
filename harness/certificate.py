"""A certificate: the verdicts on one checkpoint, and everything they rest on.

It is kept in the store under the digest of what it rests on (checkpoint, the checkpoints beside it, gates file, baseline, suites,
samples): where any of that moved, it is not found, and the verdicts are derived again from stored answers.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.durable import write_json
from harness.gates import Gate, Verdict
from harness.record import StoreError
from harness.store import Store


@dataclasses.dataclass(frozen=True, kw_only=True)
class Certificate:
    """The verdicts of a stage's gates. `cause` says what failed where there is nothing to judge."""

    stage: str
    verdicts: Mapping[str, Verdict]
    fingerprint: str = ""
    content: str = ""
    key: str = ""
    gates: str = ""  # digest of the gates file (and its calibration) that the verdicts are by
    baselines: Mapping[str, str] = dataclasses.field(default_factory=dict)  # kind -> digest of the file that was compared with, "" for none
    rows: Mapping[str, str] = dataclasses.field(default_factory=dict)  # stage or reference -> directory of its rows
    ungated: bool = False
    cause: tuple[str, str] | None = None  # (stage, message) of the build or evaluation that failed, here or in an ancestor
    why: str = ""  # why nothing was run, for a stage without gates
    made: str = ""

    @classmethod
    def not_run(cls, stage: str, gates: Sequence[Gate], why: str, cause: tuple[str, str] | None = None) -> Certificate:
        """All gates of a stage `not run`, with the reason."""
        return cls(
            stage=stage,
            verdicts={gate.name: Verdict(gate=gate.name, verdict="not run", reason=why) for gate in gates},
            why=why.removeprefix("blocked by "),
            cause=cause,
        )

    @property
    def clear(self) -> bool:
        """Whether the next stage may be built on this checkpoint: it exists, and no gate stands against it."""
        return bool(self.content) and not any(verdict.blocks for verdict in self.verdicts.values())

    def blocker(self) -> str:
        """What stops the line, in words: the failed build or gate itself, never its echo in a later stage."""
        if self.cause:
            return (
                f"{self.cause[0]}, which was not built"
                if self.cause[0] != self.stage or not self.content
                else f"{self.stage}, which was not judged"
            )
        for name, verdict in self.verdicts.items():
            if verdict.blocks:
                echo = verdict.verdict == "not run" and verdict.reason.startswith("blocked by ")
                return verdict.reason.removeprefix("blocked by ") if echo else f"{name} ({verdict.verdict})"
        return self.why or f"{self.stage}, which was not built"

    def summary(self) -> str:
        """One line for a test that asked for the checkpoint and cannot have it."""
        if self.cause:
            return f"{self.cause[0]} was not built: {self.cause[1]}"
        against = [f"{name}: {verdict.verdict}, {verdict.reason}" for name, verdict in self.verdicts.items() if verdict.blocks]
        return f"{self.stage} is not certified: " + "; ".join(against[:3]) + (f"; and {len(against) - 3} more" if len(against) > 3 else "")

    def encode(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "schema": 1,
            **{
                field.name: getattr(self, field.name)
                for field in dataclasses.fields(self)
                if field.name not in ("verdicts", "rows", "baselines")
            },
            "rows": dict(self.rows),
            "baselines": dict(self.baselines),
            "verdicts": {name: verdict.encode() for name, verdict in self.verdicts.items()},
        }

    @classmethod
    def decode(cls, data: Mapping[str, Any]) -> Certificate:
        """Rebuild what `encode` wrote."""
        fields = {key: value for key, value in data.items() if key != "schema"}
        return cls(**{**fields, "verdicts": {name: Verdict.decode(verdict) for name, verdict in data["verdicts"].items()}})


def _path(store: Store, profile: str, stage: str, key: str) -> Path:
    return store.root / "certificates" / profile / stage / f"{key[:24]}.json"


def save_certificate(store: Store, profile: str, certificate: Certificate) -> None:
    """Keep a certificate. One with gates that could not run is not kept: what was missing may come. Raises StoreError for a full disk."""
    if certificate.cause or any(verdict.verdict == "not run" for verdict in certificate.verdicts.values()):
        return
    path = _path(store, profile, certificate.stage, certificate.key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, dataclasses.replace(certificate, made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())).encode())
    except OSError as error:
        raise StoreError(
            f"the certificate cannot be written ({error}); make room for it in {store.root} and run again: nothing is built anew"
        ) from error


def find_certificate(store: Store, profile: str, stage: str, key: str) -> Certificate | None:
    """The certificate that rests on exactly this, or None. A damaged file counts as none: it is derived again."""
    try:
        data = json.loads(_path(store, profile, stage, key).read_text(encoding="utf-8"))
        certificate = Certificate.decode(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return certificate if certificate.key == key else None
