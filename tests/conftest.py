"""Fixtures of the unit suite: the local mirror, where there is one, and a thread limit so that tests do not fight for cores."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Two cores are shared with other work: a slow example is no defect.
settings.register_profile("seatrials", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True)
settings.load_profile("seatrials")

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

pytest_plugins = ["pytester"]

# Workers of xdist keep to a core each, and so does what they start: two processes of two threads on two cores wait for each other's threads.
if (worker := os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")).isdigit() and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker) % len(cores)]})

ROOT = Path(__file__).resolve().parent.parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A gate run (`pytest -m stage2` in the repository) judges checkpoints; the unit suite is not part of it."""
    from harness.plugin.options import PIPELINE

    return True if PIPELINE in config.stash and collection_path.is_relative_to(ROOT / "tests") else None


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """What a test sets is gone after it: an order that is carried out in this process sets how many threads tokenise, for instance."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


@pytest.fixture(autouse=True, scope="module")
def constants() -> Iterator[None]:
    """No test file leaves a constant of ours changed: the files after it, whichever they are, would run with another product."""
    before = _constants()
    yield
    changed = {name: (value, now) for name, now in _constants().items() if (value := before.get(name, now)) != now}
    for name, (value, _) in changed.items():
        module, _, constant = name.rpartition(".")
        setattr(sys.modules[module], constant, value)
    assert not changed, f"constants that this file leaves changed (was, is): {changed}; set them with monkeypatch"


def _constants() -> dict[str, object]:
    """Numbers and texts by an upper-case name in the modules of ours that are loaded."""
    return {
        f"{module.__name__}.{name}": value
        for module in list(sys.modules.values())
        if getattr(module, "__name__", "").partition(".")[0] in ("harness", "training", "benchmarks")
        for name, value in list(vars(module).items())
        if name.isupper() and isinstance(value, int | float | str | tuple)
    }


@pytest.fixture(scope="session")
def hub() -> Path:
    """The local mirror of Hub data sets: SEATRIALS_HUB, or `shared/data/hub` beside the checkout."""
    for candidate in (os.environ.get("SEATRIALS_HUB"), ROOT.parent / "shared" / "data" / "hub"):
        if candidate and (Path(candidate) / "MANIFEST.json").is_file():
            return Path(candidate)
    pytest.skip("no local mirror of the data sets: set SEATRIALS_HUB to a directory that holds DATASET/CONFIG/SPLIT.jsonl")
