"""`--gate-backend`: who answers reaches the order, the rows' place, the certificate's key and the replay; what only hf can stays with hf."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import children, evaluation, evidence, profiles
from harness.gates import GatesError
from harness.pipeline import Pipeline
from harness.settings import Replay, Settings
from harness.suites import SuiteSpec
from tests.harness.checkpoints import TEXTS, checkpoint
from tests.harness.fake_server import Fake, serve
from training.recipe import TextFiles, encode

TOY = str(Path(__file__).parents[1] / "plugin" / "toy_profile.py")


def pipeline(tmp_path: Path, **settings: Any) -> Pipeline:
    return Pipeline(Settings(profile=profiles.load(TOY), store=tmp_path / "store", **settings))


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The orders that the pipeline gives; nothing is started."""
    seen: list[dict[str, Any]] = []

    def start(module: str, directory: Path, order: dict[str, Any], launcher: Any, detach: bool = False) -> Any:
        seen.append({"module": module, "launcher": launcher, **order})
        return SimpleNamespace(pid=1)

    monkeypatch.setattr(children, "start", start)
    monkeypatch.setattr(children, "watch", lambda *_: 0.0)
    return seen


def asked(line: Pipeline, monkeypatch: pytest.MonkeyPatch, stage: str = "base") -> None:
    record = SimpleNamespace(content="c" * 64, tokenizer_digest="t" * 64, adopted=False)
    line._artifacts[stage] = SimpleNamespace(path=Path("/checkpoint"), record=record)  # type: ignore[assignment]
    monkeypatch.setattr(line.store, "open", lambda artifact: artifact.path)
    line.rows(stage)


def test_the_order_names_who_answers(tmp_path: Path, orders: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in ("hf", "vllm", "http://host:8000/v1#{stage}"):
        asked(pipeline(tmp_path, backend=backend, launcher="torchrun"), monkeypatch)
    hf, _vllm, _served = orders
    assert [order["backend"] for order in orders] == ["hf", "vllm", "http://host:8000/v1#base"]
    assert hf["attention"] == "sdpa"
    assert len({order["output"] for order in orders}) == 3
    assert [order["launcher"].alone for order in orders] == [False, True, True]
    for order in orders:  # each is an order that the child reads
        evaluation.Order.parse({key: value for key, value in order.items() if key not in ("module", "launcher")})


def test_a_certificate_of_one_backend_is_not_another_s(tmp_path: Path) -> None:
    record = SimpleNamespace(content="c" * 64)
    keys = {
        pipeline(tmp_path, backend=backend)._certificate_key("base", SimpleNamespace(record=record), {})  # type: ignore[arg-type]
        for backend in ("hf", "vllm", "http://a/v1#{stage}", "http://b/v1#{stage}")
    }
    assert len(keys) == 4


@pytest.mark.parametrize(("backend", "said"), [("tgi", "use hf, vllm, or the URL"), ("http://host/v1#model", r"write \{stage\}")])
def test_a_backend_that_cannot_answer_for_stages(tmp_path: Path, backend: str, said: str) -> None:
    with pytest.raises(GatesError, match=said):
        pipeline(tmp_path, backend=backend)


def test_a_replay_asks_for_the_answers_as_they_were_filed(
    tmp_path: Path, orders: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = {"base": {"fingerprint": "f", "answered_by": {"vllm": "0.9", "hf": "5.0"}}, "expand": {"fingerprint": "g"}}
    record = {"profile_name": "toy", "samples": "full", "backend": "vllm", "backend_version": "4.9", "stages": stages}
    path = tmp_path / "run.json"
    path.write_text(json.dumps(record))
    line = pipeline(tmp_path, replay=path)
    assert line.settings.backend == "vllm"
    asked(line, monkeypatch)
    assert (orders[0]["backend"], orders[0]["backend_version"], orders[0]["hf_version"]) == ("vllm", "0.9", "5.0")
    assert Replay.read(path).versions["expand"] == {"hf": "4.9"}, "a record of before says what hf's answers are filed under"


def test_what_answered_is_read_from_the_rows(tmp_path: Path) -> None:
    assert evidence.answered_by(tmp_path) == {}
    facts = {"a": {"facts": {"backend": "hf", "backend_version": "1"}}, "b": {"facts": {"backend": "vllm", "backend_version": "2"}}}
    (tmp_path / "summary.json").write_text(json.dumps(facts))
    assert evidence.answered_by(tmp_path) == {"hf": "1", "vllm": "2"}


def test_identity_is_answered_by_hf_whoever_answers_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps({"text": f"{i} {TEXTS[0]}"}) for i in range(3)]
    (tmp_path / "eng.jsonl").write_text("\n".join(lines))
    item = {"id": "0", "language": "eng", "cluster": "0", "context": TEXTS[0][:20], "choices": [" a", " bc"], "gold": 0}
    (tmp_path / "items.jsonl").write_text(json.dumps(item))
    path = checkpoint()
    sources = {"eng": [encode(TextFiles(path="eng.jsonl", language="eng"))]}
    suites = {
        "choice": SuiteSpec(suite="choice", languages=("eng",), options={"items": "items.jsonl"}),
        "identity": SuiteSpec(suite="identity", languages=("eng",), options={"sources": sources}, reference="parent"),
    }
    with serve(Fake(path)) as fake:
        summary = evaluation.run(
            {
                "schema": 1,
                "checkpoint": str(path),
                "model_digest": "a" * 64,
                "tokenizer_digest": "b" * 64,
                "reference": str(path),
                "reference_digest": "a" * 64,
                "suites": {name: encode(spec) for name, spec in suites.items()},
                "profile_dir": str(tmp_path),
                "store": str(tmp_path / "store"),
                "output": str(tmp_path / "out"),
                "backend": fake.url,
            }
        )
    assert {name: entry["facts"]["backend"] for name, entry in summary.items()} == {"choice": "server", "identity": "hf"}
    assert "answered by hf" in capsys.readouterr().err
    values = [row.values["max_abs"] for row in evaluation.read_rows(tmp_path / "out" / "identity.parquet")]
    assert values == [0.0, 0.0, 0.0]
