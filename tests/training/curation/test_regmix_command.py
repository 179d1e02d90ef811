"""The command: from two CSV files to mixture.csv and the JSON of how it was made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.training.curation.regmix_kit import PRIOR, runs
from training.curation.regmix import files
from training.curation.regmix.command import main

QUICK = ("--simulated", "2000", "--top", "20")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mixtures.csv, losses.csv of 96 runs, prior.csv."""
    directory = tmp_path_factory.mktemp("inputs")
    mixtures, losses = runs(96)
    files.write_table(directory / "mixtures.csv", mixtures.runs, mixtures.domains, mixtures.weights_ND)
    files.write_table(directory / "losses.csv", losses.runs, losses.targets, losses.values_NT)
    (directory / "prior.csv").write_text("language,tokens\n" + "".join(f"{name},{tokens}e9\n" for name, tokens in PRIOR.items()))
    return directory


def options(inputs: Path, output: Path, *more: str) -> list[str]:
    return ["--mixtures", f"{inputs}/mixtures.csv", "--losses", f"{inputs}/losses.csv", "--output", str(output), *QUICK, *more]


def test_a_mixture_and_how_it_was_made(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "mixture.csv"
    assert main(options(inputs, output, "--prior", f"{inputs}/prior.csv")) == 0
    mixture = files.read_mixture(output)
    assert set(mixture) == set(PRIOR)
    assert sum(mixture.values()) == 1.0
    made = json.loads((tmp_path / "mixture.json").read_text())
    assert made["found"]["weights"] == mixture
    assert made["found"]["better"] is True
    assert made["runs"]["fitted"] == 64
    assert made["runs"]["unseen"] == 32
    assert set(made["spearman"]) == {"lightgbm", "ridge"}
    assert {rank["n"] for each in made["spearman"].values() for rank in each.values()} == {32}
    assert made["search"]["objective"] == "log-sum"
    assert made["regressor"]["kind"] == "lightgbm"
    assert set(made["inputs"]) == {"mixtures", "losses", "prior"}
    said = capsys.readouterr().out
    assert "Spearman on 32 unseen runs, lightgbm" in said
    assert "of the prior" in said
    first = output.read_bytes()
    assert main(options(inputs, output, "--prior", f"{inputs}/prior.csv")) == 0
    assert output.read_bytes() == first


def test_without_a_prior_the_runs_mean_stands_in_and_that_is_said(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "mixture.csv"
    assert main(options(inputs, output, "--regressor", "ridge", "--objective", "mean", "--target", "tha", "--target", "mya")) == 0
    assert "no --prior: the mean of the runs stands in" in capsys.readouterr().out
    assert all(line.endswith(",") for line in output.read_text().splitlines()[1:])
    made = json.loads((tmp_path / "mixture.json").read_text())
    assert made["prior"]["stands for"] == "the mean of the runs"
    assert set(made["found"]["losses"]) == {"tha", "mya"}


def test_other_runs_may_judge(inputs: Path, tmp_path: Path) -> None:
    """Runs of the same names in other files, as RegMix's test sets are."""
    mixtures, losses = runs(130)
    mixtures, losses = mixtures.of(mixtures.runs[96:]), losses.of(losses.runs[96:])
    names = [f"proxy-{number:03d}" for number in range(34)]
    files.write_table(tmp_path / "m.csv", names, mixtures.domains, mixtures.weights_ND)
    files.write_table(tmp_path / "l.csv", names, losses.targets, losses.values_NT)
    unseen = ("--unseen-mixtures", f"{tmp_path}/m.csv", "--unseen-losses", f"{tmp_path}/l.csv")
    assert main(options(inputs, tmp_path / "out.csv", "--regressor", "ridge", *unseen)) == 0
    made = json.loads((tmp_path / "out.json").read_text())
    assert (made["runs"]["fitted"], made["runs"]["unseen"]) == (96, 34)


@pytest.mark.parametrize(("more", "message"), [
    (["--unseen", "40"], "56 runs are too few to fit, 64 are needed"),
    (["--unseen-mixtures", "x.csv"], "--unseen-mixtures and --unseen-losses go together"),
    (["--budget", "1e9"], "give the raw tokens of each language there"),
    (["--target", "xyz"], "has no column 'xyz'"),
    (["--epochs", "0.5"], "no mixture keeps the bounds"),
])  # fmt: skip
def test_what_it_cannot_work_with_is_one_line_and_status_2(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main(options(inputs, tmp_path / "mixture.csv", "--regressor", "ridge", *more)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert not (tmp_path / "mixture.csv").exists()
