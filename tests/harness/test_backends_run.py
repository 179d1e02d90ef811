"""An evaluation on a server from end to end: the rows of the model itself; SIGKILLed, it resumes and pays for no answer twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import evaluation
from harness.evaluation import read_rows
from harness.suites import SuiteSpec
from tests.harness.checkpoints import TEXTS, checkpoint
from tests.harness.fake_server import Fake, serve
from training.recipe import encode

ROOT = Path(__file__).resolve().parents[2]
ENDS = (" a", " bc", " rice")
CONCURRENCY = 2


@pytest.fixture
def profile(tmp_path) -> Path:
    items = [
        {"id": f"{i}", "language": "eng", "cluster": f"{i}", "context": TEXTS[0][: 20 + i], "choices": ENDS, "gold": i % 3}
        for i in range(20)
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(json.dumps(item) for item in items))
    return tmp_path


def order(profile: Path, backend: str, name: str) -> dict:
    path = checkpoint()
    spec = SuiteSpec(suite="choice", languages=("eng",), options={"items": "items.jsonl"})
    return {
        "schema": 1,
        "checkpoint": str(path),
        "model_digest": f"{path.name:x<64}",
        "tokenizer_digest": "b" * 64,
        "suites": {"choice": encode(spec)},
        "profile_dir": str(profile),
        "store": str(profile / name),
        "output": str(profile / name / "out"),
        "backend": backend,
        "concurrency": CONCURRENCY,
    }


def rows(told: dict) -> list:
    return read_rows(Path(told["output"]) / "choice.parquet")


def assert_rows_of_the_model(told: dict, profile: Path) -> None:
    mine = order(profile, "hf", "hf")
    evaluation.run(mine)
    for one, other in zip(rows(told), rows(mine), strict=True):
        assert one.sample == other.sample
        assert one.values == pytest.approx(other.values, abs=2e-4)


def test_the_rows_are_those_of_the_model(profile):
    with serve(Fake(checkpoint())) as fake:
        told = order(profile, fake.url, "server")
        summary = evaluation.run(told)
        assert fake.most <= CONCURRENCY
    assert summary["choice"]["computed"] == 60
    facts = summary["choice"]["facts"]
    assert (facts["backend"], facts["dtype"], facts["window"]) == ("server", "as served", 62)
    assert fake.url in facts["backend_version"]
    assert_rows_of_the_model(told, profile)


def test_killed_it_resumes_and_asks_for_nothing_twice(profile):
    with serve(Fake(checkpoint())) as fake:
        told = order(profile, fake.url, "killed")

        def slow(*_):
            time.sleep(0.05)
            return False

        fake.trouble = slow
        (profile / "order.json").write_text(json.dumps(told))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        child = subprocess.Popen([sys.executable, "-m", "harness.evaluation", "--order", str(profile / "order.json")], env=environment)
        try:
            deadline = time.monotonic() + 120
            while len(fake.asked) < 12 and child.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            assert child.poll() is None, "it ended before it could be killed"
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        time.sleep(0.3)  # what was under way
        asked = len(fake.asked)
        assert 12 <= asked < 60
        fake.trouble = lambda *_: False
        summary = evaluation.run(told)
        kept = summary["choice"]["cached"]
        # All but the probe and what was under way, sent or on its way to the journal, had been kept.
        assert asked - 1 - 2 * CONCURRENCY <= kept <= asked - 1
        assert len(fake.asked) == asked + 1 + (60 - kept)
        assert_rows_of_the_model(told, profile)
