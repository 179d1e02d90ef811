"""The evaluation child: rows from answers, answers from the journal where they are known, resume after any death, clear errors."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import evaluation
from harness.answers import Journal
from harness.backends.rendering import BackendError
from harness.evaluation import EvaluationError, read_rows, write_rows
from harness.suites import Row, Sample, SuiteError, SuiteSpec, load, spread
from tests.harness.checkpoints import TEXTS, checkpoint
from training.models.load import ModelError
from training.recipe import TextFiles, encode

ROOT = Path(__file__).resolve().parents[2]
ITEMS = [
    {
        "id": f"{language}-{i}",
        "language": language,
        "cluster": f"{i // 2}",
        "context": text[: 20 + i],
        "choices": [" a", " bc", " rice"],
        "gold": i % 3,
    }
    for language, text in (("eng", TEXTS[0]), ("vie", TEXTS[1]))
    for i in range(4)
]


@pytest.fixture
def profile(tmp_path) -> Path:
    """A profile's directory with texts of two languages and a file of items."""
    directory = tmp_path / "profile"
    directory.mkdir()
    for language, text in (("eng", TEXTS[0]), ("vie", TEXTS[1])):
        lines = [json.dumps({"text": f"{i} {text * (1 + i % 3)}"}, ensure_ascii=False) for i in range(5)]
        (directory / f"{language}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (directory / "items.jsonl").write_text("\n".join(json.dumps(item) for item in ITEMS), encoding="utf-8")
    return directory


def sources(*languages: str) -> dict:
    return {language: [encode(TextFiles(path=f"{language}.jsonl", language=language))] for language in languages}


def suites() -> dict[str, SuiteSpec]:
    both = ("eng", "vie")
    return {
        "perplexity": SuiteSpec(suite="perplexity", languages=both, options={"sources": sources(*both), "trigram": sources("eng")}),
        "choice": SuiteSpec(suite="choice", languages=both, options={"items": "items.jsonl", "chance": 1 / 3}),
    }


def order(tmp_path: Path, profile: Path, path: Path | None = None, **changed) -> dict:
    path = path or checkpoint()
    told = {
        "schema": 1,
        "checkpoint": str(path),
        "model_digest": f"{path.name:x<64}",
        "tokenizer_digest": "b" * 64,
        "reference": None,
        "reference_digest": None,
        "suites": {name: encode(spec) for name, spec in suites().items()},
        "hub": None,
        "profile_dir": str(profile),
        "samples": "full",
        "store": str(tmp_path / "store"),
        "output": str(tmp_path / "out"),
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "backend": "hf",
        "offline_answers": False,
    }
    return {**told, **changed}


def outputs(told: dict) -> dict[str, list[Row]]:
    return {name: read_rows(Path(told["output"]) / f"{name}.parquet") for name in told["suites"]}


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    """Every load of a model, so that a test can say that there was none."""
    import training.models.load as loading

    real, seen = loading.load_model, []
    monkeypatch.setattr(loading, "load_model", lambda path, **options: (seen.append(str(path)), real(path, **options))[1])
    return seen


# ----------------------------------------------------------------------------------------------------------- from end to end


def test_a_run_writes_rows_and_a_summary(tmp_path, profile):
    told = order(tmp_path, profile)
    events: list[dict] = []
    summary = evaluation.run(told, lambda **event: events.append(event))
    rows = outputs(told)
    assert [len(rows[name]) for name in ("perplexity", "choice")] == [10, 8]
    assert summary["perplexity"]["rows"] == 10
    assert summary["choice"] | {"seconds": 0} == summary["choice"] | {"rows": 8, "seconds": 0, "cached": 0, "computed": 24}
    assert 50e6 < summary["perplexity"]["host_memory_peak_bytes"] < 50e9
    facts = summary["perplexity"]["facts"]
    assert facts["languages"] == {"eng": 5, "vie": 5}
    assert (facts["prefix"], facts["prefix_id"], facts["window"], facts["dtype"], facts["attention"]) == (
        "<|endoftext|>",
        0,
        64,
        "float32",
        "sdpa",
    )
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert {event["phase"] for event in events} == {"starting", "perplexity", "choice"}
    last = events[-1]
    assert last["step"] == last["steps"] == 24
    assert last["eta_seconds"] == 0
    assert not list((tmp_path / "out").glob(".*"))


def test_a_second_run_computes_nothing_and_gives_the_same_bytes(tmp_path, profile, loads):
    told = order(tmp_path, profile)
    evaluation.run(told)
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.parquet")}
    loads.clear()
    summary = evaluation.run(told)
    assert loads == []
    assert all(facts["computed"] == 0 for facts in summary.values())
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.parquet")} == first


def test_a_run_that_died_anywhere_goes_on_with_what_is_missing(tmp_path, profile):
    whole = order(tmp_path, profile, batch_tokens=100)
    evaluation.run(whole)
    expected = outputs(whole)
    (journal,) = (tmp_path / "store" / "answers").rglob("*.jsonl")
    lines = journal.read_bytes().split(b"\n")[:-1]
    assert len(lines) == 34
    for kept in (0, 1, 17, 33):
        place = tmp_path / f"after-{kept}"
        told = {**whole, "store": str(place / "store"), "output": str(place / "out")}
        copy = place / journal.relative_to(tmp_path)
        copy.parent.mkdir(parents=True)
        copy.write_bytes(b"\n".join(lines[:kept]) + b"\n" + lines[kept][:25])  # the next line is torn
        summary = evaluation.run(told)
        assert sum(facts["computed"] for facts in summary.values()) == 34 - kept
        for name, rows in outputs(told).items():
            for mine, other in zip(rows, expected[name], strict=True):
                assert mine.sample == other.sample
                assert mine.values == pytest.approx(other.values, abs=1e-3, rel=1e-5, nan_ok=True)


# ------------------------------------------------------------------------------------------------------- a cache never lies


def changed_weight(tmp_path: Path) -> Path:
    """The checkpoint with one weight moved."""
    from safetensors.torch import load_file, save_file

    path = tmp_path / "changed"
    shutil.copytree(checkpoint(), path)
    weights = load_file(path / "model.safetensors")
    next(iter(weights.values())).view(-1)[7] += 0.5
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    return path


def computed(told: dict) -> int:
    return sum(facts["computed"] for facts in evaluation.run(told).values())


def test_two_checkpoints_never_share_an_answer(tmp_path, profile):
    one, other = order(tmp_path, profile), order(tmp_path, profile, changed_weight(tmp_path), output=str(tmp_path / "other"))
    assert computed(one) == computed(other) == 34
    mine, theirs = outputs(one), outputs(other)
    assert all(row.values["bits"] != twin.values["bits"] for row, twin in zip(mine["perplexity"], theirs["perplexity"], strict=True))
    # Even in one journal directory (16 digits of a digest could collide) the keys differ.
    same_directory = order(tmp_path, profile, changed_weight(tmp_path / "again"), model_digest=one["model_digest"][:16] + "f" * 48)
    assert computed(same_directory) == 34


@pytest.mark.parametrize(
    "changed",
    [{"tokenizer_digest": "c" * 64}, {"dtype": "bfloat16"}, {"attention": "eager"}, {"backend_version": "2"}],
    ids=lambda c: next(iter(c)),
)
def test_another_setting_misses(tmp_path, profile, changed):
    told = order(tmp_path, profile)
    assert computed(told) == 34
    assert computed({**told, **changed}) == 34
    assert computed(told) == 0


def test_one_changed_character_misses_its_own_answers_only(tmp_path, profile):
    told = order(tmp_path, profile)
    computed(told)
    path = profile / "items.jsonl"
    path.write_text(path.read_text().replace(json.dumps(ITEMS[0]["context"]), json.dumps(ITEMS[0]["context"] + "!")))
    assert computed(told) == 3


def test_the_device_and_the_batch_are_not_part_of_an_answer(tmp_path, profile):
    told = order(tmp_path, profile)
    assert computed(told) == 34
    assert computed({**told, "batch_tokens": 64, "device": "auto", "threads": 2}) == 0


# -------------------------------------------------------------------------------------------------------------------- replay


def test_a_replay_never_loads_the_model(tmp_path, profile, loads):
    told = order(tmp_path, profile)
    evaluation.run(told)
    expected = outputs(told)
    loads.clear()
    weightless = tmp_path / "weightless"
    shutil.copytree(checkpoint(), weightless, ignore=shutil.ignore_patterns("*.safetensors"))
    replay = {**told, "checkpoint": str(weightless), "offline_answers": True, "output": str(tmp_path / "replayed")}
    evaluation.run(replay)
    assert loads == []
    assert repr(outputs(replay)) == repr(expected)  # repr, because NaN equals nothing


def test_a_replay_names_what_is_missing(tmp_path, profile):
    told = order(tmp_path, profile, offline_answers=True)
    with pytest.raises(EvaluationError, match=r"replay of suite perplexity: 10 of 10 answers .*samples eng/eng.jsonl#0, .* and 7 more"):
        evaluation.run(told)


# ----------------------------------------------------------------------------------------------------------------- the child


def child(told: dict, tmp_path: Path, *style: str) -> subprocess.Popen:
    path = tmp_path / "order.json"
    path.write_text(json.dumps(told))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "harness.evaluation", *style, str(path)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def answered(told: dict) -> int:
    return len(Journal(told["store"], told["model_digest"]))


def test_killed_at_any_moment_and_started_again_the_rows_are_the_same(tmp_path, profile):
    lines = [json.dumps({"text": f"{i} {TEXTS[0] * 4}"}) for i in range(1500)]
    (profile / "eng.jsonl").write_text("\n".join(lines), encoding="utf-8")
    told = order(tmp_path, profile, batch_tokens=64)
    process = child(told, tmp_path, "--order")
    deadline = time.monotonic() + 90
    while answered(told) < 20 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    known = answered(told)
    assert 20 <= known < 1505
    events = [json.loads(line) for line in (tmp_path / "out" / "progress.jsonl").read_text().splitlines()]
    assert {"time", "phase", "step", "steps"} <= events[-1].keys()
    summary = evaluation.run(told)
    assert summary["perplexity"]["cached"] == known
    untouched = {**told, "store": str(tmp_path / "other"), "output": str(tmp_path / "whole")}
    evaluation.run(untouched)
    mine, theirs = outputs(told), outputs(untouched)
    assert [row.sample for row in mine["perplexity"]] == [row.sample for row in theirs["perplexity"]]
    for row, twin in zip(mine["perplexity"], theirs["perplexity"], strict=True):
        assert row.values == pytest.approx(twin.values, rel=1e-6, nan_ok=True)


def test_an_error_is_one_clear_message(tmp_path, profile, monkeypatch, capsys):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    path = tmp_path / "order.json"
    path.write_text(json.dumps(order(tmp_path, profile, checkpoint=str(tmp_path / "nowhere"))))
    assert evaluation.main([str(path)]) == 1
    error = json.loads((tmp_path / "out" / "error.json").read_text())
    assert error["type"] == "ModelError"
    assert str(tmp_path / "nowhere") in error["message"]
    assert "Traceback" not in error["message"]
    assert "Traceback" in capsys.readouterr().err
    path.write_text(json.dumps(order(tmp_path, profile)))
    assert evaluation.main(["--order", str(path)]) == 0
    assert not (tmp_path / "out" / "error.json").exists()


@pytest.mark.slow
def test_an_interrupted_child_says_so_and_keeps_its_answers(tmp_path, profile):
    lines = [json.dumps({"text": f"{i} {TEXTS[0] * 4}"}) for i in range(2000)]
    (profile / "eng.jsonl").write_text("\n".join(lines), encoding="utf-8")
    told = order(tmp_path, profile, batch_tokens=64)
    process = child(told, tmp_path)
    deadline = time.monotonic() + 90
    while answered(told) < 5 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not (tmp_path / "out" / "error.json").exists()
    assert answered(told) >= 5


@pytest.mark.slow
def test_two_evaluations_of_one_model_at_once(tmp_path, profile):
    both = [order(tmp_path, profile, output=str(tmp_path / name)) for name in ("one", "two")]
    for name in ("one", "two"):
        (tmp_path / f"start-{name}").mkdir()
    processes = [child(told, tmp_path / f"start-{name}") for told, name in zip(both, ("one", "two"), strict=True)]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert repr(outputs(both[0])) == repr(outputs(both[1]))
    assert answered(both[0]) == 34


# --------------------------------------------------------------------------------------------------------------- bad orders


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"schema": 2}, EvaluationError, "schema"),
        ({"surprise": 1}, EvaluationError, "surprise"),
        ({"samples": "some"}, EvaluationError, "quick or full"),
        ({"dtype": "int8"}, EvaluationError, "float32 or bfloat16"),
        ({"backend": "magic"}, BackendError, "no backend 'magic'"),
        ({"model_digest": ""}, Exception, "weights"),
        ({"suites": {"p": encode(SuiteSpec(suite="perplexitty", languages=("eng",)))}}, SuiteError, "did you mean perplexity"),
        ({"suites": {"p": encode(SuiteSpec(suite="no.such:thing", languages=("eng",)))}}, SuiteError, "cannot be imported"),
        ({"suites": {"p": encode(SuiteSpec(suite="perplexity", languages=("eng",), options={"colour": 1}))}}, SuiteError, "options"),
        (
            {"suites": {"p": encode(SuiteSpec(suite="perplexity", languages=("eng", "lao"), options={"sources": sources("eng")}))}},
            SuiteError,
            "lao",
        ),
        (
            {"suites": {"c": encode(SuiteSpec(suite="choice", languages=("eng", "lao"), options={"items": "items.jsonl"}))}},
            SuiteError,
            "no sample for lao",
        ),
        (
            {
                "suites": {
                    "i": encode(SuiteSpec(suite="identity", languages=("eng",), options={"sources": sources("eng")}, reference="parent"))
                }
            },
            EvaluationError,
            "no reference",
        ),
    ],
)
def test_a_bad_order_names_what_is_wrong(tmp_path, profile, changed, error, message):
    with pytest.raises(error, match=message):
        evaluation.run(order(tmp_path, profile, **changed))


def test_an_order_without_a_field_names_it(tmp_path, profile):
    told = order(tmp_path, profile)
    del told["model_digest"]
    with pytest.raises(EvaluationError, match="model_digest"):
        evaluation.run(told)


def test_pickled_weights_are_refused(tmp_path, profile):
    path = tmp_path / "pickled"
    shutil.copytree(checkpoint(), path, ignore=shutil.ignore_patterns("*.safetensors"))
    (path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match="pickled"):
        evaluation.run(order(tmp_path, profile, path))


def test_two_samples_of_one_name_are_refused(tmp_path, profile):
    (profile / "items.jsonl").write_text("\n".join(json.dumps(item) for item in [*ITEMS, ITEMS[0]]), encoding="utf-8")
    with pytest.raises(SuiteError, match="two samples are called eng-0"):
        evaluation.run(order(tmp_path, profile))


# --------------------------------------------------------------------------------------------------------------------- rows


def test_rows_survive_the_file(tmp_path):
    rows = [
        Row(sample="a", cluster="1", language="tha", stratum="s", values={"x": 0.1, "y": math.inf}, shown={"text": "ตลาด\x00\n\ud800"}),
        Row(sample="b", cluster="1", language="tha", values={"x": -0.0, "y": 2.0}),
    ]
    write_rows(tmp_path / "suite.parquet", rows)
    assert read_rows(tmp_path / "suite.parquet") == rows
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(tmp_path / "suite.parquet").column_names == [
        "sample",
        "cluster",
        "language",
        "stratum",
        "v.x",
        "v.y",
        "shown",
    ]


def test_rows_of_unlike_values_are_refused(tmp_path):
    rows = [Row(sample=name, cluster="1", language="eng", values={name: 1.0}) for name in ("a", "b")]
    with pytest.raises(SuiteError, match="sample b"):
        write_rows(tmp_path / "suite.parquet", rows)


def test_a_broken_file_of_rows_is_named(tmp_path):
    (tmp_path / "suite.parquet").write_bytes(b"PAR1")
    with pytest.raises(EvaluationError, match=r"suite\.parquet"):
        read_rows(tmp_path / "suite.parquet")


def test_quick_samples_are_the_same_clusters_in_every_language():
    made = [
        Sample(sample=f"{language}/{i}", cluster=f"{i}", language=language, requests=()) for language in ("eng", "vie") for i in range(30)
    ]
    kept = spread(made, 7)
    assert len(kept) == 14
    assert {one.cluster for one in kept if one.language == "eng"} == {one.cluster for one in kept if one.language == "vie"}
    assert kept == [one for one in made if one in kept]  # in their order
    assert spread(made, 99) == made
    assert {one.sample for one in spread(made, 5)} <= {one.sample for one in kept}


def test_quick_samples_run_fewer(tmp_path, profile):
    few = suites()["perplexity"]
    few = SuiteSpec(suite="perplexity", languages=few.languages, options={**few.options, "quick": 2})
    told = order(tmp_path, profile, samples="quick", suites={"perplexity": encode(few)})
    assert evaluation.run(told)["perplexity"]["rows"] == 4


def test_the_registered_suites_load_without_torch():
    script = (
        "import sys; from harness.suites import BUILT_IN, SuiteSpec, load\n"
        "source = {'eng': [{'__type__': 'training.recipe:WorldText', 'language': 'eng', 'documents': 1, 'split': 'held_out', 'seed': 0}]}\n"
        "for name in BUILT_IN:\n"
        "    options = {'sources': source} if name in ('perplexity', 'identity', 'language') else {}\n"
        "    options = {'part': 'mathematics'} if name == 'retention' else options\n"
        "    options = {'task': 'xcopa'} if name == 'sailcompass' else options\n"
        "    options = {'row': 'mmlu_tha'} if name == 'table13' else options\n"
        "    languages = ('tha',) if name in ('ruler-sea', 'sailcompass', 'flores200', 'pud_mt', 'udhr_mt', 'culture', 'table13') else ('ind',) if name == 'nusax_mt' else ('eng',)\n"
        "    if name.startswith('table13'):\n"
        "        languages = (name[-3:],) if name[-4] == '_' else ('tha',)\n"
        "    assert load(SuiteSpec(suite=name, languages=languages, options=options), name).metrics\n"
        "assert load(SuiteSpec(suite='lm_eval:xcopa_th', languages=('tha',)), 'x').metrics\n"
        "heavy = [name for name in ('torch', 'transformers', 'pandas', 'lm_eval', 'datasets') if name in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_users_own_factory_is_a_suite():
    made = load(SuiteSpec(suite="benchmarks.suites.choice:build", languages=("eng",)), "mine")
    assert made.name == "mine"
