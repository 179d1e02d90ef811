"""Blessing is an act: what it refuses, what it keeps, what it shows, and what happens when two do it at once."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness import baselines
from harness.baselines import (
    Baseline,
    BaselineError,
    bless,
    bless_run,
    compact,
    difference,
    file_digest,
    load,
    of,
    path_of,
    refuse,
    replace,
)
from harness.gates import gates_digest, load_gates
from harness.profiles import Profile, StageEntry
from harness.rows import Rows
from harness.statistics import compare, score
from harness.suites import Metric, Row, SuiteSpec
from training.recipe import ExpandBlocks

BITS = Metric(name="bits_per_byte", numerator="bits", denominator="bytes", direction="lower")
METRICS = {"perplexity": {"bits_per_byte": BITS}}
CLEAN = {"commit": "c" * 40, "dirty": False}
PASS = {"gate": "base.g.ind", "verdict": "pass", "reason": "fine"}


def documents(level: float, seed: int = 0, n: int = 24) -> Rows:
    rng = np.random.default_rng(seed)
    return Rows.of(
        Row(
            sample=f"{language}{i}",
            cluster=f"d{i // 2}",
            language=language,
            stratum=("combos", "patterns")[i % 2],
            values={"bits": float(100 * level + rng.normal()), "bytes": 100.0},
        )
        for i in range(n)
        for language in ("ind", "tha")
    )


def profile_in(directory: Path) -> Profile:
    """A profile whose goldens lie in `directory/goldens`, with one gate a language at `base`."""
    path = directory / "goldens" / "gates" / "toy.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        'schema = 1\n[[gate]]\nname = "g"\nstage = "base"\nsuite = "perplexity"\nmetric = "bits_per_byte"\n'
        'rule = "at_most"\nline = 3.0\nlanguages = "all"\nreason = "a test"\n',
        encoding="utf-8",
    )
    return Profile(
        name="toy",
        languages=("ind", "tha"),
        stages={"base": StageEntry(recipe=ExpandBlocks(new_blocks=1), adds=("ind", "tha"))},
        suites={"perplexity": SuiteSpec(suite="perplexity", languages=("ind", "tha"))},
        gates=path,
        directory=directory,
    )


def blessed(profile: Profile, rows: Rows, *, tags: tuple[str, ...] = (), seen: dict | None = None, reason: str = "a better recipe") -> str:
    found = {kind: file_digest(path_of(profile, kind, "base")) for kind in baselines.KINDS}
    return bless(
        profile,
        "base",
        rows={"perplexity": rows},
        content="ab" * 32,
        gates="cd" * 32,
        reason=reason,
        commit="c" * 40,
        tags=tags,
        metrics=METRICS,
        seen=found if seen is None else seen,
    )


# ---------------------------------------------------------------------------------------------------------- what is kept


def test_a_baseline_comes_back_as_rows_that_compare_the_same(tmp_path: Path) -> None:
    """Ids and sums, through JSON, give the interval that the full rows give."""
    profile, rows = profile_in(tmp_path), documents(2.0)
    blessed(profile, rows)
    kept = of(profile, "base")["blessed"].rows("perplexity")
    candidate = documents(2.1, seed=1)
    for languages in (["ind"], ["ind", "tha"]):
        assert score(kept, BITS, languages) == pytest.approx(score(rows, BITS, languages), rel=1e-14)
        full, short = compare(candidate, rows, BITS, languages), compare(candidate, kept, BITS, languages)
        assert short.interval() == pytest.approx(full.interval())
        assert (short.samples, short.clusters) == (full.samples, full.clusters)
    patterns = compare(candidate.select(None, "patterns"), kept.select(None, "patterns"), BITS, ["ind"])
    assert patterns.samples == 12


def test_it_says_what_it_is(tmp_path: Path) -> None:
    """Checkpoint, gates, reason, who, when and commit stand in the file, and every sample's id."""
    profile = profile_in(tmp_path)
    blessed(profile, documents(2.0))
    data = json.loads(path_of(profile, "blessed", "base").read_text(encoding="utf-8"))
    assert data["content"] == "ab" * 32
    assert data["gates"] == "cd" * 32
    assert data["reason"] == "a better recipe"
    assert data["commit"] == "c" * 40
    assert data["who"]
    assert data["when"].endswith("Z")
    ids = [name for entry in data["suites"]["perplexity"]["rows"] for name in entry[3]]
    assert sorted(ids) == sorted(documents(2.0).sample)
    assert of(profile, "base")["blessed"].rows("choice") is None


def test_it_is_compact() -> None:
    """Samples of a cluster share one entry, and no text is kept."""
    kept = compact(documents(2.0, n=200))
    assert len(kept["rows"]) == 400
    assert kept["columns"] == ["bits", "bytes"]
    single = dataclasses.replace(documents(2.0, n=200), stratum=np.array([""] * 400, dtype=object))
    assert len(compact(single)["rows"]) == 200


def test_what_is_not_finite_is_not_kept() -> None:
    """A NaN would hide in a sum."""
    rows = documents(2.0)
    bits = rows.values["bits"].copy()
    bits[3] = np.nan
    with pytest.raises(BaselineError, match="not finite"):
        compact(dataclasses.replace(rows, values={**rows.values, "bits": bits}))


def test_a_file_that_is_no_baseline_is_an_error(tmp_path: Path) -> None:
    """Cut, of another schema, or with other fields: never taken for "no baseline"."""
    profile = profile_in(tmp_path)
    blessed(profile, documents(2.0))
    path = path_of(profile, "blessed", "base")
    whole = path.read_text(encoding="utf-8")
    for text in (whole[:-30], whole.replace('"schema": 1', '"schema": 7'), "{}", "[]", whole.replace('"content"', '"contents"')):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(BaselineError, match="restore it from git"):
            of(profile, "base")
    assert load(tmp_path / "none.json") is None


def test_the_digest_moves_with_either_baseline(tmp_path: Path) -> None:
    """A certificate that names it is derived again when one moves; without any it is empty."""
    profile = profile_in(tmp_path)
    assert baselines.digests(profile, "base") == {"blessed": "", "release": ""}
    blessed(profile, documents(2.0))
    first = baselines.digests(profile, "base")
    blessed(profile, documents(2.0), tags=("v1",))
    second = baselines.digests(profile, "base")
    blessed(profile, documents(1.9))
    third = baselines.digests(profile, "base")
    assert len({str(found) for found in (first, second, third)}) == 3
    assert first["release"] == ""


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reason": "  "}, "needs a reason: --gate-reason"),
        ({"ungated": True}, "the run was ungated"),
        ({"git": None}, "not a git checkout"),
        ({"git": {"commit": "c", "dirty": True}}, "the git tree is dirty"),
        ({"expected": []}, "has no gates"),
        ({"expected": ["base.g.ind", "base.g.tha"]}, r"1 of 2 gates were not selected, e\.g\. base\.g\.tha"),
        ({"verdicts": [{**PASS, "verdict": "fail"}]}, r"1 gates do not pass, e\.g\. base\.g\.ind: fail, fine"),
        ({"verdicts": [{**PASS, "verdict": "inconclusive"}]}, "do not pass"),
        ({"verdicts": [{**PASS, "verdict": "not run"}]}, "do not pass"),
        ({"verdicts": [{**PASS, "verdict": "fail", "waived": True}]}, "do not pass"),
    ],
)
def test_what_may_not_be_blessed(changes: dict, message: str) -> None:
    """Not all pass, waived, partly selected, ungated, dirty, without reason."""
    fields = {"expected": ["base.g.ind"], "ungated": False, "git": CLEAN, "reason": "better"}
    refuse([PASS], **fields)
    verdicts = changes.pop("verdicts", [PASS])
    with pytest.raises(BaselineError, match=message):
        refuse(verdicts, **fields | changes)


def test_the_first_blessing_is_possible() -> None:
    """A gate that only waits for its baseline does not stand in the way of making one; anything else not run does."""
    waiting = {"gate": "base.h.ind", "verdict": "not run", "reason": "nothing blessed", "awaits_baseline": True}
    refuse([PASS, waiting], expected=["base.g.ind", "base.h.ind"], ungated=False, git=CLEAN, reason="the first")
    with pytest.raises(BaselineError):
        refuse([PASS, {**waiting, "verdict": "fail"}], expected=["base.g.ind", "base.h.ind"], ungated=False, git=CLEAN, reason="the first")


# --------------------------------------------------------------------------------------------------- moving and showing


def test_release_moves_with_a_tag_only(tmp_path: Path) -> None:
    """Blessing follows each act; the release stays where the last tag left it."""
    profile = profile_in(tmp_path)
    assert "release stays: HEAD carries no tag" in blessed(profile, documents(2.0))
    assert set(of(profile, "base")) == {"blessed"}
    said = blessed(profile, documents(1.9), tags=("v1.0",))
    assert "release base: nothing -> abababababab" in said
    blessed(profile, documents(1.8))
    found = of(profile, "base")
    assert score(found["release"].rows("perplexity"), BITS, ["ind"]) == pytest.approx(1.9, abs=0.01)
    assert score(found["blessed"].rows("perplexity"), BITS, ["ind"]) == pytest.approx(1.8, abs=0.01)
    assert found["release"].tags == ("v1.0",)


def test_the_difference_shows_every_score_that_moved(tmp_path: Path) -> None:
    """Suite, metric and language, before and after; new and gone are named; nothing moved says so."""
    profile = profile_in(tmp_path)
    blessed(profile, documents(2.0))
    said = blessed(profile, documents(1.5))
    assert "perplexity.bits_per_byte.ind" in said
    assert "-0.5000" in said
    assert "a better recipe" in said
    old = of(profile, "base")["blessed"]
    assert "no score moved" in difference(old, old, METRICS)
    other = dataclasses.replace(old, suites={"perplexity": compact(documents(1.5).select(["ind"]))})
    assert "gone" in difference(old, other, METRICS)
    assert "new" in difference(other, old, METRICS)


def test_a_baseline_that_moved_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """Compare and swap: changed, appeared and vanished are each told, and the file stays as the other left it."""
    profile = profile_in(tmp_path)
    path = path_of(profile, "blessed", "base")
    blessed(profile, documents(2.0))
    seen = {"blessed": file_digest(path)}
    blessed(profile, documents(1.9), reason="the other")
    with pytest.raises(BaselineError, match="changed while this run judged"):
        blessed(profile, documents(1.8), seen=seen)
    assert load(path).reason == "the other"
    with pytest.raises(BaselineError, match="appeared while"):
        blessed(profile, documents(1.8), seen={})
    path.unlink()
    with pytest.raises(BaselineError, match="vanished while"):
        blessed(profile, documents(1.8), seen=seen)
    assert not list(path.parent.glob("*.lock"))


def test_of_many_at_once_one_wins(tmp_path: Path) -> None:
    """Eight threads that saw the same state: one moves it, seven are told."""
    profile = profile_in(tmp_path)
    new = Baseline(profile="toy", stage="base", content="a", gates="b", reason="r", who="w", when="t", commit="c")
    path, outcomes = path_of(profile, "blessed", "base"), []

    def act(name: str) -> None:
        try:
            replace(path, dataclasses.replace(new, reason=name), "")
            outcomes.append(name)
        except BaselineError:
            outcomes.append("")

    threads = [threading.Thread(target=act, args=(f"thread {i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [name for name in outcomes if name]
    assert len(outcomes) == 8
    assert len(winners) == 1
    assert load(path).reason == winners[0]


def test_the_lock_of_the_dead_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock older than a minute is removed; a young one is respected."""
    profile = profile_in(tmp_path)
    path = path_of(profile, "blessed", "base")
    path.parent.mkdir(parents=True)
    lock = path.with_name("base.json.lock")
    lock.touch()
    os.utime(lock, (time.time() - 120,) * 2)
    blessed(profile, documents(2.0))
    assert path.is_file()
    lock.touch()
    monkeypatch.setattr(baselines.time, "sleep", lambda seconds: None)
    with pytest.raises(BaselineError, match="held by another process"):
        blessed(profile, documents(1.9))
    assert lock.exists()


def test_a_full_disk_leaves_the_old_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write fails, the file and its digest stay, the lock is gone."""
    profile = profile_in(tmp_path)
    blessed(profile, documents(2.0))
    before = baselines.digests(profile, "base")

    def full(path: Path, value: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(baselines, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        blessed(profile, documents(1.5))
    assert baselines.digests(profile, "base") == before
    assert not list(path_of(profile, "blessed", "base").parent.glob("*.lock"))


# ------------------------------------------------------------------------------------------------------------ a whole run


def git(directory: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


def run_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SimpleNamespace, dict[str, dict]]:
    """A checkout with a committed gates file, a pipeline's face, and the rows of a run that passed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from harness import rules

    checkout = tmp_path / "checkout"
    checkout.mkdir()
    profile = profile_in(checkout)
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "start")
    rows, written = documents(2.0), tmp_path / "rows"
    written.mkdir()
    columns = {name: list(getattr(rows, name)) for name in ("sample", "cluster", "language", "stratum")}
    pq.write_table(pa.table(columns | {f"v.{name}": values for name, values in rows.values.items()}), written / "perplexity.parquet")
    monkeypatch.setattr(rules, "suite_metrics", lambda profile, suite: METRICS[suite])
    pipeline = SimpleNamespace(
        profile=profile,
        gates=load_gates(profile.gates, profile),
        settings=SimpleNamespace(ungated=False, variants=(), replay=None),
        samples="full",
        lineage=lambda selected: ("base",),
    )
    common = {"stage": "base", "content": "ab" * 32, "rows": str(written), "verdict": "pass", "reason": "fine"}
    common |= {"gates_digest": gates_digest(profile.gates), "baselines": baselines.digests(profile, "base")}
    return pipeline, {name: {"gate": name, **common} for name in ("base.g.ind", "base.g.tha")}


def test_a_run_is_blessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a clean tagged checkout both baselines move, and name the commit and the gates file."""
    pipeline, rows = run_in(tmp_path, monkeypatch)
    git(tmp_path / "checkout", "tag", "v1")
    said = bless_run(pipeline, rows, "first", ("base",))
    assert "blessed base: nothing" in said
    found = of(pipeline.profile, "base")
    assert set(found) == {"blessed", "release"}
    assert found["release"].tags == ("v1",)
    assert found["blessed"].gates == gates_digest(pipeline.profile.gates)
    assert found["blessed"].rows("perplexity") is not None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda pipeline: setattr(pipeline.settings, "variants", ("base@other",)), "--gate-variant"),
        (lambda pipeline: setattr(pipeline.settings, "replay", Path("r.json")), "--gate-replay"),
        (lambda pipeline: setattr(pipeline, "samples", "quick"), "--gate-samples quick"),
    ],
)
def test_only_a_plain_run_is_blessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None], said: str) -> None:
    pipeline, rows = run_in(tmp_path, monkeypatch)
    change(pipeline)
    with pytest.raises(BaselineError, match=said):
        bless_run(pipeline, rows, "x", ("base",))


def test_a_run_is_refused_before_anything_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dirty, ungated, part of the gates, rows that are gone: the stage is named and no file is written."""
    pipeline, rows = run_in(tmp_path, monkeypatch)
    pipeline.settings.ungated = True
    with pytest.raises(BaselineError, match="base: the run was ungated"):
        bless_run(pipeline, rows, "x", ("base",))
    pipeline.settings.ungated = False
    with pytest.raises(BaselineError, match="base: 1 of 2 gates were not selected"):
        bless_run(pipeline, {"base.g.ind": rows["base.g.ind"]}, "x", ("base",))
    with pytest.raises(BaselineError, match="rows of the run are gone"):
        bless_run(pipeline, {name: {**row, "rows": None} for name, row in rows.items()}, "x", ("base",))
    (tmp_path / "checkout" / "stray.txt").write_text("x", encoding="utf-8")
    with pytest.raises(BaselineError, match="base: the git tree is dirty"):
        bless_run(pipeline, rows, "x", ("base",))
    assert of(pipeline.profile, "base") == {}


@pytest.mark.parametrize("state", ["appeared", "vanished", "changed"])
def test_a_baseline_that_moved_since_the_verdicts_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """What the verdicts were held against is in their rows: another's blessing in between is refused, and stays."""
    pipeline, rows = run_in(tmp_path, monkeypatch)
    path = path_of(pipeline.profile, "release", "base")
    if state != "appeared":
        blessed(pipeline.profile, documents(1.9), tags=("v0",))
    rows = {name: {**row, "baselines": baselines.digests(pipeline.profile, "base")} for name, row in rows.items()}
    if state == "vanished":
        path.unlink()
    else:
        blessed(pipeline.profile, documents(1.8), tags=("v1",), seen=rows["base.g.ind"]["baselines"])
    before = baselines.digests(pipeline.profile, "base")
    with pytest.raises(BaselineError, match=rf"base\.json {state} while this run judged: somebody else blessed"):
        bless_run(pipeline, rows, "x", ("base",))
    assert baselines.digests(pipeline.profile, "base") == before


def test_a_gates_file_that_moved_since_the_verdicts_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, rows = run_in(tmp_path, monkeypatch)
    pipeline.profile.gates.write_text(pipeline.profile.gates.read_text().replace("line = 3.0", "line = 4.0"))
    with pytest.raises(BaselineError, match="changed while this run judged; run again by the gates of now"):
        bless_run(pipeline, rows, "x", ("base",))


def test_outside_a_checkout_nothing_is_blessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goldens of an installed package have no commit to name."""
    pipeline, rows = run_in(tmp_path, monkeypatch)
    (tmp_path / "checkout" / ".git").rename(tmp_path / "elsewhere")
    with pytest.raises(BaselineError, match="not a git checkout"):
        bless_run(pipeline, rows, "x", ("base",))
    assert baselines.head_tags(tmp_path) == ()
