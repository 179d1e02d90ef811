"""The loss curves of small recipes are those in goldens/losses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training import loss_goldens

# Other CPUs and thread counts sum in another order; bfloat16 rounds more coarsely.
TOLERANCE = {"small-base": 0.01, "small-stage1": 0.01, "small-stage2": 0.04}


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    return loss_goldens.curves(tmp_path_factory.mktemp("curves"), "cpu")


@pytest.mark.parametrize("name", TOLERANCE)
def test_the_curve_is_the_golden_one(curves: dict[str, list[float]], name: str) -> None:
    golden = loss_goldens.read(loss_goldens.path_of(name, "cpu"))
    assert curves[name] == pytest.approx(golden, abs=TOLERANCE[name])
    assert curves[name][-1] < curves[name][0] - 5 * TOLERANCE[name]  # the tolerance is small beside what is learned


@pytest.mark.slow
def test_nano_begins_as_its_golden(tmp_path: Path) -> None:
    """A shipped recipe, tokenizer and text and all: what moves here moves every figure of nano."""
    found = loss_goldens.beginning(tmp_path)["nano-base"]
    golden = loss_goldens.read(loss_goldens.path_of("nano-base", "cpu"))
    assert len(found) == len(golden) == 40
    assert found == pytest.approx(golden, abs=0.02)
    assert found[-1] < found[0] - 1


def test_a_golden_is_written_as_it_is_read(curves: dict[str, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_goldens, "DIRECTORY", tmp_path)
    loss_goldens.write(curves, "cpu", say=lambda text: None)
    for name, losses in curves.items():
        assert loss_goldens.read(tmp_path / f"{name}.cpu.txt") == pytest.approx(losses, abs=1e-4)


def test_no_golden_is_left_over() -> None:
    assert {path.name.split(".")[0] for path in loss_goldens.DIRECTORY.glob("*.txt")} == {*TOLERANCE, "nano-base"}
