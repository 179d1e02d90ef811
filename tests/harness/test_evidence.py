"""What a certificate rests on: it moves with what a suite reads, and with nothing else."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from harness import evidence, profiles
from harness.suites import SuiteSpec
from tests.plugin.conftest import ROOT, TOY


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


def test_whatever_of_the_code_stands_behind_rows_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Identification, evaluation-text windows and checkpoint loading are `training`'s, and rows depend on them."""
    for directory in evidence.CODE:
        shutil.copytree(ROOT / directory, tmp_path / directory, ignore=shutil.ignore_patterns("__pycache__", "_goldens"))
    monkeypatch.setattr(evidence, "__file__", str(tmp_path / "harness" / "evidence.py"))
    first = evidence.code_digest.__wrapped__()
    for name in ("training/identification.py", "training/windows.py", "training/curation/decontaminate.py", "harness/rules.py"):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text + "\n# moved\n")
        assert evidence.code_digest.__wrapped__() != first, name
        (tmp_path / name).write_text(text)
    assert evidence.code_digest.__wrapped__() == first


def test_the_code_of_a_suite_of_ones_own_counts(toy: profiles.Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The factory, what options name, and the modules beside them; another's package does not."""
    package = tmp_path / "their_suites"
    package.mkdir()
    for name in ("__init__.py", "trait.py", "words.py"):
        (package / name).write_text("WORDS = ['a']\n")
    (tmp_path / "their_items.py").write_text("def items(language): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    specs = {
        "trait": SuiteSpec(suite="their_suites.trait:build", languages=("eng",)),
        "asked": SuiteSpec(suite="choice", languages=("eng",), options={"items": "their_items:items"}),
        "theirs": SuiteSpec(suite="lm_eval:their_items", languages=("eng",)),
    }
    profile = dataclasses.replace(toy, suites={**toy.suites, **specs})
    first = evidence.suites_digest(profile, None, (), None)
    seen = {first}
    for path in (package / "words.py", tmp_path / "their_items.py"):
        path.write_text(path.read_text() + "# moved\n")
        seen.add(evidence.suites_digest(profile, None, (), None))
    assert len(seen) == 3
    assert set(evidence._theirs(specs["theirs"], {})) == set()
    assert set(evidence._theirs(toy.suites["choice"], {})) == set()
