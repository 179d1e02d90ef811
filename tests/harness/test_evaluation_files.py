"""Suites that judge what a stage wrote and ask no model: they run on a directory that holds no checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import profiles
from harness.evaluation import Order, read_rows, run
from harness.profiles import Profile, StageEntry
from harness.suites import Metric, Request, Row, Sample, SuiteContext, SuiteError, SuiteSpec


@dataclasses.dataclass(kw_only=True)
class Lengths:
    """A row a text file of the artifact: its size."""

    name: str
    languages: Sequence[str]
    asks: bool
    version: int = 1
    needs_model: bool = False
    metrics: Sequence[Metric] = (Metric(name="size", numerator="size", direction="higher"),)

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        assert context.artifact is not None
        for path in sorted(context.artifact.glob("*.txt")):
            requests = (Request(kind="rolling", context="a"),) if self.asks else ()
            yield Sample(sample=path.name, cluster=path.name, language="ind", requests=requests, data=path.stat().st_size)

    def row(self, sample: Sample, answers: Sequence[Mapping[str, Any]]) -> Row:
        assert not answers
        return Row(sample=sample.sample, cluster=sample.cluster, language=sample.language, values={"size": float(sample.data)})


def build(name: str, languages: Sequence[str], asks: bool = False) -> Lengths:
    return Lengths(name=name, languages=languages, asks=asks)


def order(tmp_path: Path, **options: object) -> Order:
    made = tmp_path / "made"
    made.mkdir()
    (made / "a.txt").write_text("satu")
    (made / "b.txt").write_text("dua")
    spec = SuiteSpec(suite="tests.harness.test_evaluation_files:build", languages=("ind",), options=options)
    return Order(
        checkpoint=made,
        model_digest="0" * 64,
        tokenizer_digest="0" * 64,
        suites={"sizes": spec},
        store=tmp_path / "store",
        output=tmp_path / "rows",
        profile_dir=str(tmp_path),
    )


def test_files_are_judged_where_there_is_no_checkpoint(tmp_path: Path) -> None:
    summary = run(order(tmp_path))
    assert summary["sizes"]["rows"] == 2
    assert (summary["sizes"]["computed"], summary["sizes"]["cached"]) == (0, 0)
    assert "backend" not in summary["sizes"]["facts"]
    assert [row.values["size"] for row in read_rows(tmp_path / "rows/sizes.parquet")] == [4.0, 3.0]


def test_a_suite_that_asks_a_model_after_all_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"needs_model = False, and its sample a\.txt asks a model"):
        run(order(tmp_path, asks=True))


def test_a_suite_that_names_no_stage_runs_on_checkpoints_alone() -> None:
    nano = profiles.load("nano")
    suites = {
        "everywhere": SuiteSpec(suite="perplexity", languages=("eng",)),
        "there": SuiteSpec(suite="x", languages=("eng",), stages=("curation",)),
    }
    stages = {"base": nano.stages["base"], "curation": StageEntry(recipe=nano.stages["base"].recipe)}
    profile = Profile(name="p", languages=("eng", "cmn"), stages=stages, suites=suites, gates=nano.gates, directory=nano.directory)
    assert list(profile.suites_of("base")) == ["everywhere"]
    assert list(profile.suites_of("curation")) == ["there"]
