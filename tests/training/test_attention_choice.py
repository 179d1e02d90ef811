"""Which attention a build takes: by device and what is installed, by the order, never by the recipe; and it is checked before training."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.training import small
from training.models import load
from training.pretraining import continual, loop, scratch
from training.pretraining.attention import AttentionError, choose
from training.pretraining.sources import file_digest


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("base")
    small.write_text(root)
    scratch.build(small.scratch(), small.job(root / "base", root))
    return root


def train(base: Path, directory: Path, **changes: Any) -> Path:
    job = small.job(directory, base, parents={"base": base / "base" / "result"}, **changes)
    continual.build(small.continual(), job)
    return job.result


def facts(result: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((result / "build.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(
    ("device", "precision", "installed", "chosen"),
    [
        ("cpu", "float32", ("flash_attn", "triton"), "packed"),
        ("cpu", "bfloat16", ("flash_attn", "triton"), "packed"),
        ("cuda", "bfloat16", ("flash_attn", "triton"), "flash"),
        ("cuda", "bfloat16", ("triton",), "flex"),
        ("cuda", "float32", ("flash_attn", "triton"), "flex"),  # flash-attn has no float32
        ("cuda", "bfloat16", (), "packed"),
    ],
)
def test_auto_is_by_device_and_package(
    monkeypatch: pytest.MonkeyPatch, device: str, precision: str, installed: tuple[str, ...], chosen: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in installed else None)
    assert choose("auto", device, precision) == chosen
    assert choose("sdpa", device, precision) == "sdpa", "what is named is taken"


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_another_attention_is_the_same_stage(base: Path, tmp_path: Path, attention: str) -> None:
    """The same losses within rounding, isolated documents, and nothing of the choice in the checkpoint's configuration."""
    usual, other = train(base, tmp_path / "packed"), train(base, tmp_path / attention, attention=attention)
    assert (facts(usual)["attention"], facts(other)["attention"]) == ("packed", attention)
    assert small.losses(other) == pytest.approx(small.losses(usual), abs=2e-5)
    assert max(facts(other)["leaked_share"]) < 1e-3
    assert file_digest(usual / "config.json") == file_digest(other / "config.json")


@pytest.mark.parametrize(("attention", "said"), [("rope", "no attention 'rope'; there are auto, packed"), ("flash", "needs a CUDA device")])
def test_an_attention_that_cannot_be_had(base: Path, tmp_path: Path, attention: str, said: str) -> None:
    with pytest.raises(AttentionError, match=said):
        train(base, tmp_path, attention=attention)


def test_documents_that_see_each_other_stop_the_build(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers' own mask where it is handed a cache-like mask and forgets the documents: no step is made."""
    from training.pretraining import attention as module

    real = module.packed_hidden
    monkeypatch.setattr(module, "packed_hidden", lambda model, ids, lengths, isolation=True: real(model, ids, lengths, False))
    stepped: list[int] = []
    monkeypatch.setattr(loop, "_step", lambda *_: stepped.append(1))
    with pytest.raises(AttentionError, match="not isolated under attention 'sdpa'"):
        train(base, tmp_path, attention="sdpa")
    assert not stepped
    assert load.state_digest(load.load_model(base / "base" / "result"))
