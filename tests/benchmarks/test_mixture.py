"""The suite `mixture`: its figures are what a plain count of the trained rows gives; a language that was left out has a share of nought."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest

from harness import evaluation
from harness.statistics import estimate
from harness.suites import SuiteSpec, load
from tests.harness.rows_kit import rows_of
from tests.training import small
from training.models import load as models
from training.pretraining import continual, corpus, loop, scratch
from training.pretraining.stream import Stream

STEPS = 50  # not a multiple of the slices


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on a quarter of English and three of Indonesian."""
    root = tmp_path_factory.mktemp("mixture")
    small.write_text(root)
    scratch.build(small.scratch(), small.job(root / "base", root))
    job = small.job(root / "stage1", root, parents={"base": root / "base" / "result"})
    continual.build(small.continual(steps=STEPS), job)
    return job.result


def judged(checkpoint: Path, tmp_path: Path, *languages: str) -> list[Any]:
    order = evaluation.Order(
        checkpoint=checkpoint,
        model_digest="a" * 64,
        tokenizer_digest="b" * 64,
        suites={"mixture": SuiteSpec(suite="mixture", languages=languages)},
        store=tmp_path / "store",
        output=tmp_path / "out",
        profile_dir=str(tmp_path),
        threads=1,
    )
    evaluation.run(order)
    return list(evaluation.read_rows(tmp_path / "out" / "mixture.parquet"))


def test_the_slices_are_what_the_stream_gives(checkpoint: Path) -> None:
    """Beside a count of our own, row by row, in another reading of the same text."""
    root = checkpoint.parents[1]
    built = json.loads((checkpoint / "build.json").read_text(encoding="utf-8"))
    recipe = small.continual(steps=STEPS)
    corpora, _ = corpus.of_job(
        recipe.portions, models.load_tokenizer(root / "base" / "result"), small.job(root / "again", root, parents={"base": root / "base"})
    )
    reader = Stream(corpora, recipe.sequence, recipe.seed)
    drawn: dict[str, list[int]] = {"eng": [], "ind": []}
    before = dict.fromkeys(drawn, 0)
    ends = [math.ceil(slice_ * STEPS / loop.SLICES) for slice_ in range(loop.SLICES + 1)]
    for begin, end in itertools.pairwise(ends):
        reader.rows((end - begin) * recipe.batch)
        now = {portion: facts["tokens"] for portion, facts in reader.facts().items()}
        for language in drawn:
            drawn[language].append(now[language] - before[language])
        before = now
    assert built["drawn_by_slice"] == drawn
    assert built["tokens_by_slice"] == [(end - begin) * recipe.batch * recipe.sequence for begin, end in itertools.pairwise(ends)]


def test_a_run_that_was_killed_has_the_slices_of_one_that_was_not(checkpoint: Path, tmp_path: Path) -> None:
    root = checkpoint.parents[1]

    def stop_at(phase: str, **values: Any) -> None:
        if values.get("step") == 31:
            job.interruption.wanted = True

    job = small.job(tmp_path / "stage1", root, stop_at, parents={"base": root / "base" / "result"})
    with pytest.raises(loop.Interrupted):
        continual.build(small.continual(steps=STEPS), job)
    again = small.job(tmp_path / "stage1", root, parents={"base": root / "base" / "result"})
    continual.build(small.continual(steps=STEPS), again)
    ours, theirs = (json.loads((path / "build.json").read_text(encoding="utf-8")) for path in (again.result, checkpoint))
    assert ours["resumed_at"] == [31]
    assert ours["drawn_by_slice"] == theirs["drawn_by_slice"]


def test_share_and_epochs(checkpoint: Path, tmp_path: Path) -> None:
    rows = judged(checkpoint, tmp_path, "eng", "ind", "tha")
    built = json.loads((checkpoint / "build.json").read_text(encoding="utf-8"))
    assert len(rows) == 3 * loop.SLICES

    def mean(language: str, over: str, under: str) -> float:
        of = [row.values for row in rows if row.language == language]
        return float(sum(values[over] for values in of) / sum(values[under] for values in of))

    for language, share in (("eng", 0.25), ("ind", 0.75)):
        assert mean(language, "drawn", "tokens") == pytest.approx(share, abs=0.01)
        assert mean(language, "read", "text") == pytest.approx(built["languages"][language]["epochs"], abs=1e-4)
    assert mean("tha", "drawn", "tokens") == 0.0  # and not NaN: the figures are there, Thai is in none of them


def test_a_checkpoint_without_the_figures_never_passes(checkpoint: Path, tmp_path: Path) -> None:
    """NaN, and not nought: nothing is known of its mixture."""
    suite = load(SuiteSpec(suite="mixture", languages=("eng",)), "mixture")
    for sample in suite.samples(None):  # type: ignore[arg-type]
        row = suite.row(sample, [{"value": math.nan}] * 3)
        assert math.isnan(row.values["drawn"])


def told(drawn: list[float]) -> Any:
    """The suite's estimate of the share, of slices of 100 tokens."""
    suite = load(SuiteSpec(suite="mixture", languages=("eng",)), "mixture")
    rows = [
        suite.row(sample, [{"value": one}, {"value": 100.0}, {"value": 1000.0}])
        for sample, one in zip(suite.samples(None), drawn, strict=True)  # type: ignore[arg-type]
    ]
    columns = {name: [row.values[name] for row in rows] for name in ("drawn", "tokens")}
    share = next(metric for metric in suite.metrics if metric.name == "share")
    return estimate(rows_of(columns["drawn"], columns["tokens"], names=("drawn", "tokens"), languages=["eng"] * 24), share, ["eng"])


def test_one_language_after_the_other_shows() -> None:
    """A share that is right in sum and wrong on the way is not sure to be above a line that an even one is far from."""
    even = told([48.0, 52.0] * 12)
    turns = told([100.0] * 12 + [0.0] * 12)
    assert even.score == turns.score == 0.5
    assert even.p_above(0.4) < 1e-6
    assert turns.p_above(0.4) > 0.1


def test_slices_without_the_language_count_as_such() -> None:
    """Of a language that twelve slices have and twelve lack, the run reads what it reads: `epochs` is not that of the twelve alone."""
    suite = load(SuiteSpec(suite="mixture", languages=("eng",)), "mixture")
    values = [
        suite.row(sample, [{"value": 50.0 * (place % 2)}, {"value": 100.0}, {"value": 300.0}]).values
        for place, sample in enumerate(suite.samples(None))  # type: ignore[arg-type]
    ]
    assert sum(one["read"] for one in values) / sum(one["text"] for one in values) == 12 * 50 / 300


def test_a_language_that_was_left_out_is_surely_below() -> None:
    assert told([0.0] * 24).p_below(0.01) < 0.05
