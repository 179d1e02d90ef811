"""What a certificate rests on: it moves with what a suite reads, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import evidence, profiles
from tests.plugin.conftest import TOY


@pytest.fixture(scope="module")
def toy() -> profiles.Profile:
    return profiles.load(str(TOY))


def test_a_checkout_of_originals_counts_by_its_text(toy: profiles.Profile, tmp_path: Path) -> None:
    checkout = tmp_path / "original"
    (checkout / ".git").mkdir(parents=True)
    (checkout / "prompts.py").write_text("shots = ['a']")
    none, first = (evidence.suites_digest(toy, None, found, None) for found in ((), (checkout,)))
    assert none != first
    (checkout / ".git" / "index.txt").write_text("moved")
    (checkout / "figure.png").write_bytes(b"\x89PNG")
    assert evidence.suites_digest(toy, None, (checkout,), None) == first
    (checkout / "prompts.py").write_text("shots = ['b']")
    assert evidence.suites_digest(toy, None, (checkout,), None) != first


def test_a_mirror_counts_by_its_manifest(toy: profiles.Profile, tmp_path: Path) -> None:
    without = evidence.suites_digest(toy, tmp_path, (), None)
    (tmp_path / "MANIFEST.json").write_text("{}")
    assert evidence.suites_digest(toy, tmp_path, (), None) != without


def test_a_corpus_by_its_path_counts_by_its_text(tmp_path: Path) -> None:
    options = {"sources": {"ind": ["texts.jsonl"]}}
    (tmp_path / "texts.jsonl").write_text('{"text": "a"}')
    first = evidence._data(options, tmp_path, None, None)
    (tmp_path / "texts.jsonl").write_text('{"text": "b"}')
    assert evidence._data(options, tmp_path, None, None) != first
