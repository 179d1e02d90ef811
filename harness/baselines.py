"""Blessing: what a checkpoint once reached is kept in `goldens/blessed/PROFILE/(blessed|release)/STAGE.json`, and nothing else moves it.

A baseline holds sample ids and the sums of their statistics a (cluster, language, stratum), which is all that a paired comparison needs.
`blessed` follows each act of blessing; `release` only moves where HEAD carries a tag, so that many small losses, each within its margin,
cannot creep in unseen: `retains` checks both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import goldens
from harness.durable import write_json

if TYPE_CHECKING:
    from harness.gates import Metrics
    from harness.pipeline import Pipeline
    from harness.profiles import Profile
    from harness.rows import Rows

KINDS = ("blessed", "release")
STALE_LOCK_SECONDS = 60.0


class BaselineError(Exception):
    """A baseline that cannot be read, or a blessing that is refused; the message says why and what would mend it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline:
    """What a stage reached when it was blessed.

    `suites` maps a suite to {"columns": [name], "rows": [[cluster, language, stratum, [sample id], [sum a column]]]}.
    """

    profile: str
    stage: str
    content: str  # digest of the checkpoint's content files
    gates: str  # digest of the gates file that it passed
    reason: str
    who: str
    when: str  # UTC, ISO 8601
    commit: str
    tags: tuple[str, ...] = ()
    suites: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def rows(self, suite: str) -> Rows | None:
        """The pooled rows of a suite, or None where it was not run."""
        import numpy as np

        from harness.rows import JOIN, Rows

        if suite not in self.suites:
            return None
        columns, table = self.suites[suite]["columns"], self.suites[suite]["rows"]

        def texts(place: int) -> Any:
            column = np.empty(len(table), dtype=object)
            column[:] = [JOIN.join(entry[3]) if place == 3 else entry[place] for entry in table]
            return column

        sums = np.array([entry[4] for entry in table], dtype=np.float64).reshape(len(table), len(columns))
        return Rows(
            sample=texts(3),
            cluster=texts(0),
            language=texts(1),
            stratum=texts(2),
            count=np.array([len(entry[3]) for entry in table], dtype=np.float64),
            values={name: sums[:, i] for i, name in enumerate(columns)},
        )

    def encode(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"schema": 1, **dataclasses.asdict(self)}


def compact(rows: Rows) -> dict[str, Any]:
    """Pool a suite's rows into what a baseline keeps of them. Raises BaselineError for a number that is not finite."""
    from harness.rows import JOIN

    pooled = rows.pooled()
    names = sorted(pooled.values)
    table = []
    for i, ids in enumerate(pooled.sample):
        numbers = [float(pooled.values[name][i]) for name in names]
        if not all(abs(number) < float("inf") for number in numbers):
            raise BaselineError(f"cluster {pooled.cluster[i]} in {pooled.language[i]} holds a number that is not finite")
        table.append([pooled.cluster[i], pooled.language[i], pooled.stratum[i], ids.split(JOIN), numbers])
    return {"columns": names, "rows": table}


# --------------------------------------------------------------------------------------------------------------- reading


def directory(profile: Profile) -> Path:
    """Where a profile's baselines lie: `goldens/blessed/STEM` for `goldens/gates/STEM.toml`."""
    return goldens.beside(profile.gates) / "blessed" / profile.gates.stem


def path_of(profile: Profile, kind: str, stage: str) -> Path:
    """The file of one baseline."""
    return directory(profile) / kind / f"{stage}.json"


def load(path: Path) -> Baseline | None:
    """Read a baseline; None where there is none. Raises BaselineError for a file that is not one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("schema") != 1:
            raise ValueError("its schema is not 1")
        return Baseline(**{**data, "tags": tuple(data["tags"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaselineError(f"{path} is not a baseline ({error}); restore it from git, or remove it and bless again") from error


def of(profile: Profile, stage: str) -> dict[str, Baseline]:
    """The baselines that a stage has, by kind."""
    return {kind: found for kind in KINDS if (found := load(path_of(profile, kind, stage))) is not None}


def digests(profile: Profile, stage: str) -> dict[str, str]:
    """The digest of each kind's file, "" where there is none: what a certificate names."""
    return {kind: file_digest(path_of(profile, kind, stage)) for kind in KINDS}


def seen(profile: Profile, stage: str) -> tuple[dict[str, Baseline], dict[str, str]]:
    """The baselines of a stage and the digests of these very files, though somebody blesses meanwhile. Raises BaselineError."""
    while True:
        before = digests(profile, stage)
        found = of(profile, stage)
        if before == digests(profile, stage):
            return found, before


def file_digest(path: Path) -> str:
    """SHA-256 of a baseline file, "" where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


# -------------------------------------------------------------------------------------------------------------- blessing


def refuse(
    verdicts: Sequence[Mapping[str, Any]], *, expected: Sequence[str], ungated: bool, git: Mapping[str, Any] | None, reason: str
) -> None:
    """Raise BaselineError unless a stage may be blessed: all its gates pass, its ancestors are gated, the tree is clean, a reason is given.

    `verdicts` are encoded verdicts (`gate`, `verdict`, `reason`, `awaits_baseline`); `expected` are the names of all gates of the stage.
    The one verdict short of a pass that is let through is a gate that waits for its first baseline.
    """
    if not reason.strip():
        raise BaselineError('a blessing needs a reason: --gate-reason "why this is the new baseline"')
    if ungated:
        raise BaselineError("the run was ungated; bless a run whose every stage stands on a certified parent")
    if git is None:
        raise BaselineError("not a git checkout: a baseline names the commit that made it")
    if git["dirty"]:
        raise BaselineError("the git tree is dirty; commit or stash first, so that the baseline names what made it")
    if not expected:
        raise BaselineError("the stage has no gates; there is nothing that it could have passed")
    judged = {verdict["gate"]: verdict for verdict in verdicts}
    if missing := [name for name in expected if name not in judged]:
        raise BaselineError(f"{len(missing)} of {len(expected)} gates were not selected, e.g. {missing[0]}; bless a run of the whole stage")
    short = [v for v in judged.values() if v["verdict"] != "pass" and not (v["verdict"] == "not run" and v.get("awaits_baseline"))]
    if short:
        raise BaselineError(f"{len(short)} gates do not pass, e.g. {short[0]['gate']}: {short[0]['verdict']}, {short[0]['reason']}")


def replace(path: Path, new: Baseline, expected: str) -> None:
    """Put a baseline in place if the file still has the digest `expected` ("" for none). Raises BaselineError where another moved it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        if (found := file_digest(path)) != expected:
            raise _moved(path, expected, found)
        write_json(path, new.encode())


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold `path`.lock; a lock older than a minute belongs to the dead (what it guards takes milliseconds)."""
    lock = path.with_name(path.name + ".lock")
    for attempt in range(100):
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                if time.time() - lock.stat().st_mtime > STALE_LOCK_SECONDS:
                    lock.unlink()
            time.sleep(0.02 if attempt < 99 else 0)
    else:
        raise BaselineError(f"{lock} is held by another process; run again")
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def difference(old: Baseline | None, new: Baseline, metrics: Metrics) -> str:
    """The scores of two baselines side by side, a line a suite, metric and language; what only one of them has says so."""
    from harness.rows import StatisticsError
    from harness.statistics import score

    def scores(baseline: Baseline | None) -> dict[tuple[str, str, str], float]:
        found = {}
        for suite in baseline.suites if baseline else ():
            rows = baseline.rows(suite) if baseline else None
            assert rows is not None
            for metric in metrics.get(suite, {}).values():
                for language in sorted(set(rows.language)):
                    with contextlib.suppress(StatisticsError):
                        found[suite, metric.name, language] = score(rows, metric, [language])
        return found

    before, after = scores(old), scores(new)
    head = f"{new.stage}: {old.content[:12] if old else 'nothing'} -> {new.content[:12]} ({new.reason})"
    lines = [head]
    for key in sorted({*before, *after}):
        was, now = before.get(key), after.get(key)
        said = "new" if was is None else "gone" if now is None else f"{now - was:+.4f}"
        if was != now:
            left, right = ("-" if number is None else f"{number:.4f}" for number in (was, now))
            lines.append(f"  {'.'.join(key):40} {left:>10} -> {right:>10}  {said}")
    if len(lines) == 1:
        lines.append("  no score moved")
    return "\n".join(lines)


def head_tags(checkout: Path) -> tuple[str, ...]:
    """The tags of HEAD; () outside a checkout."""
    try:
        command = ["git", "-C", str(checkout), "tag", "--points-at", "HEAD"]
        return tuple(subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split())
    except (OSError, subprocess.SubprocessError):
        return ()


def bless(
    profile: Profile,
    stage: str,
    *,
    rows: Mapping[str, Rows],
    content: str,
    gates: str,
    reason: str,
    commit: str,
    tags: Sequence[str],
    metrics: Metrics,
    seen: Mapping[str, str],
) -> str:
    """Move the `blessed` baseline of a stage, and `release` too where HEAD carries a tag. Returns the difference, to be shown.

    `seen` holds the digest that each kind's file had when the verdicts were made. The caller has called `refuse`.
    """
    new = Baseline(
        profile=profile.name,
        stage=stage,
        content=content,
        gates=gates,
        reason=reason,
        who=_who(),
        when=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        commit=commit,
        tags=tuple(tags),
        suites={suite: compact(found) for suite, found in sorted(rows.items())},
    )
    said = []
    for kind in KINDS if tags else KINDS[:1]:
        path = path_of(profile, kind, stage)
        old = load(path)
        replace(path, new, seen.get(kind, ""))
        said.append(f"{kind} {difference(old, new, metrics)}")
    if not tags:
        said.append("release stays: HEAD carries no tag")
    return "\n".join(said)


def _who() -> str:
    with contextlib.suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return "unknown"


def bless_run(pipeline: Pipeline, rows: Mapping[str, Mapping[str, Any]], reason: str, selected: Sequence[str]) -> str:
    """Bless every stage that a run judged (`--gate-bless`); returns what is shown. `rows` are the encoded verdicts of the run, by gate.

    All stages are checked before any baseline moves. Raises BaselineError.
    """
    from harness.gates import gates_of
    from harness.rows import Rows
    from harness.rules import suite_metrics
    from harness.surroundings import git_state

    profile, settings = pipeline.profile, pipeline.settings
    for told, wrong in (("--gate-variant", settings.variants), ("--gate-replay", settings.replay)):
        if wrong:
            raise BaselineError(f"a run with {told} is not what the profile's recipes give; bless a plain run")
    if pipeline.samples != profile.samples:
        raise BaselineError(f"a run with --gate-samples {pipeline.samples} cannot be held against full ones; bless without the option")
    stages = [stage for stage in pipeline.lineage(tuple(selected)) if gates_of(pipeline.gates, stage)]
    git = git_state(_checkout(profile))
    found: dict[str, list[Mapping[str, Any]]] = {stage: [row for row in rows.values() if row["stage"] == stage] for stage in stages}
    for stage in stages:
        names = [gate.name for gate in gates_of(pipeline.gates, stage)]
        for row in found[stage]:
            _refuse_moved(profile, stage, row)
        try:
            refuse(found[stage], expected=names, ungated=pipeline.settings.ungated, git=git, reason=reason)
        except BaselineError as error:
            raise BaselineError(f"{stage}: {error}") from error
        if not found[stage][0]["rows"] or not list(Path(found[stage][0]["rows"]).glob("*.parquet")):
            raise BaselineError(f"{stage}: the rows of the run are gone; remove the store's certificates/ and judge it again")
    assert git is not None
    metrics = {suite: suite_metrics(profile, suite) for suite in profile.suites}
    tags = head_tags(_checkout(profile))
    said = []
    for stage in stages:
        row = found[stage][0]
        files = sorted(Path(row["rows"]).glob("*.parquet"))
        said.append(
            bless(
                profile,
                stage,
                rows={path.stem: Rows.read(path) for path in files if path.stem in profile.suites},
                content=row["content"],
                gates=row["gates_digest"],
                reason=reason,
                commit=git["commit"],
                tags=tags,
                metrics=metrics,
                seen=row["baselines"],
            )
        )
    return "\n".join(said)


def _refuse_moved(profile: Profile, stage: str, row: Mapping[str, Any]) -> None:
    """Raise BaselineError where the gates file or a baseline is not the one that the row's verdict rests on."""
    from harness.gates import gates_digest

    if row["gates_digest"] != gates_digest(profile.gates):
        raise BaselineError(f"{stage}: {profile.gates} or its calibration changed while this run judged; run again by the gates of now")
    for kind, digest in digests(profile, stage).items():
        if digest != row["baselines"][kind]:
            raise _moved(path_of(profile, kind, stage), row["baselines"][kind], digest)


def _moved(path: Path, expected: str, found: str) -> BaselineError:
    state = "appeared" if not expected else "vanished" if not found else "changed"
    return BaselineError(f"{path} {state} while this run judged: somebody else blessed; run again against the new baseline")


def _checkout(profile: Profile) -> Path:
    """The top of the checkout that holds the profile's goldens (a user's own lies outside ours)."""
    for parent in profile.gates.resolve().parents:
        if (parent / ".git").exists():
            return parent
    return profile.gates.resolve().parent
