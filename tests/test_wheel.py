"""The wheel as a user has it: goldens are inside, the plugin works from any directory, suites and profiles of others are found by their entry points."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Somebody's distribution: a profile with nano's stages, and a suite of their own that it shows.
THEIRS = """
import dataclasses

from benchmarks.suites.choice import build as choice
from harness.builtin import nano
from harness.suites import SuiteSpec


def build(name, languages):
    return choice(name=name, languages=languages, items="training.world.items:choice_items", count=40)


profile = dataclasses.replace(
    nano.profile,
    name="theirs",
    suites={**nano.profile.suites, "riddles": SuiteSpec(suite="riddles", languages=("eng",))},
)
"""
ENTRY_POINTS = "[seatrials.profiles]\ntheirs = their_harbour:profile\n\n[seatrials.suites]\nriddles = their_harbour:build\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's content, with another's distribution beside it."""
    directory = tmp_path_factory.mktemp("wheel")
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        pytest.skip("uv is not installed: pip install uv")
    subprocess.run([uv, "build", "--wheel", "-q", "-o", str(directory), str(ROOT)], check=True, timeout=300)
    (wheel,) = directory.glob("*.whl")
    found = directory / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(found)
    (found / "their_harbour.py").write_text(THEIRS)
    info = found / "their_harbour-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-harbour\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return found


def run(site: Path, directory: Path, *arguments: str) -> str:
    """What a command says, from a directory without a checkout, on the wheel's packages."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "SEATRIALS_"))}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**plain, "PYTHONPATH": str(site), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_goldens_are_inside_and_nothing_of_the_checkout_is_read(site: Path, tmp_path: Path) -> None:
    code = "import harness, training, benchmarks; from harness import goldens; print(harness.__file__, training.__file__, goldens.root())"
    places = run(site, tmp_path, "-c", code).split()
    assert all(Path(place).is_relative_to(site) for place in places), places
    for golden in sorted((ROOT / "goldens").rglob("*.*")):
        assert (site / "harness" / "_goldens" / golden.relative_to(ROOT / "goldens")).read_bytes() == golden.read_bytes()


@pytest.mark.slow
def test_the_plan_is_shown_from_any_directory(site: Path, tmp_path: Path) -> None:
    said = run(site, tmp_path, "-m", "pytest", "-m", "stage2", "--collect-only")
    assert "stage2.learns.jav" in said
    assert "stage2   build" in said
    assert not [path for path in tmp_path.iterdir() if path.name != ".pytest_cache"], "showing a plan makes nothing"


@pytest.mark.slow
def test_a_profile_and_a_suite_of_others_are_found_by_their_names(site: Path, tmp_path: Path) -> None:
    said = run(site, tmp_path, "-m", "pytest", "-m", "base", "--gate-profile=theirs", "--collect-only")
    assert "profile theirs" in said
    code = (
        "from harness import profiles, suites\n"
        "profile = profiles.load('theirs')\n"
        "suite = suites.load(profile.suites['riddles'], 'riddles', profile.directory)\n"
        "context = suites.SuiteContext(hub=None, profile_dir=str(profile.directory), samples='full')\n"
        "print(type(suite).__name__, len(list(suite.samples(context))))"
    )
    assert run(site, tmp_path, "-c", code).split() == ["Choice", "40"]
