"""Proxy runs for real, tiny ones: what they learn, that they are the same again, and that a killed or torn search goes on."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.curation.documents import CurationError
from training.curation.regmix import nano, worker
from training.curation.regmix.files import Losses, read_losses, read_mixtures
from training.curation.regmix.mixtures import Mixtures
from training.curation.regmix.proxies import HEAP, LOG, PLAN, ROOT, RUNS, ProxyCorpora, ProxySettings, run_proxies, variant
from training.pretraining.packing import Corpus, Row
from training.recipe import Architecture

LANGUAGES = ("ind", "tha", "vie")
MIXTURES = Mixtures(
    runs=tuple(f"proxy-{number:03d}" for number in range(5)),
    domains=LANGUAGES,
    weights_ND=np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.25, 0.25], [0.75, 0.125, 0.125]]),
)
SETTINGS = ProxySettings(
    architecture=Architecture(vocabulary=400, hidden=32, intermediate=64, layers=1, heads=2, kv_heads=2, context=64),
    steps=12,
    batch=4,
    sequence=64,
)


@pytest.fixture(scope="module")
def corpora() -> ProxyCorpora:
    """Three languages of the small world."""
    return nano.corpora(LANGUAGES, documents=40, held_out=6, tokenizer_documents=20, vocabulary=400)


@dataclasses.dataclass
class Done:
    """A search's directory, table, and what was told of it."""

    directory: Path
    losses: Losses
    told: list[tuple[str, int, int]]


@pytest.fixture(scope="module")
def done(corpora: ProxyCorpora, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The first three runs, then a torn row and two runs more: the search as it goes on."""
    directory = tmp_path_factory.mktemp("proxies")
    told: list[tuple[str, int, int]] = []
    run_proxies(MIXTURES.of(MIXTURES.runs[:3]), corpora, SETTINGS, directory, 2, lambda *said: told.append(said))
    torn = directory / RUNS / "proxy-001.json"
    torn.write_text(torn.read_text()[:50])
    kept = (directory / RUNS / "proxy-000.json").stat().st_mtime_ns
    losses = run_proxies(MIXTURES, corpora, SETTINGS, directory, 1, lambda *said: told.append(said))
    assert (directory / RUNS / "proxy-000.json").stat().st_mtime_ns == kept
    return Done(directory=directory, losses=losses, told=told)


def test_a_search_goes_on_with_the_runs_that_are_missing(done: Done) -> None:
    assert {run for run, _, _ in done.told[:3]} == set(MIXTURES.runs[:3])  # two at a time: in any order
    assert [counts for _, *counts in done.told[:3]] == [[1, 3], [2, 3], [3, 3]]
    assert done.told[3:] == [("proxy-001", 3, 5), ("proxy-003", 4, 5), ("proxy-004", 5, 5)]
    assert done.losses.runs == MIXTURES.runs
    assert done.losses.targets == LANGUAGES


def test_the_tables_are_what_the_command_reads(done: Done) -> None:
    assert np.array_equal(read_losses(done.directory / "losses.csv").values_NT, done.losses.values_NT)
    assert np.array_equal(read_mixtures(done.directory / "mixtures.csv").weights_ND, MIXTURES.weights_ND)


def test_a_language_is_learned_where_it_is_trained_on(done: Done) -> None:
    """Runs 0 to 2 see one language each: its loss is the lowest of that language in all runs of one language."""
    alone = done.losses.values_NT[:3]
    assert (np.argmin(alone, axis=0) == [0, 1, 2]).all()
    assert (done.losses.values_NT > 0).all()
    assert (done.losses.values_NT < 8 + 4).all()  # bits a byte: 8 of a blind model of bytes, and some


def test_a_row_says_what_it_is(done: Done) -> None:
    row = json.loads((done.directory / RUNS / "proxy-004.json").read_text())
    assert row["variant"] == variant("proxy-004") == "stage1@proxy-004"
    assert row["weights"] == {"ind": 0.75, "tha": 0.125, "vie": 0.125}
    assert row["tokens"] == SETTINGS.tokens == 12 * 4 * 64
    assert sum(row["drawn"].values()) == row["tokens"]
    assert row["drawn"]["ind"] / row["tokens"] == pytest.approx(0.75, abs=0.06)  # a document is drawn whole
    assert row["final_loss"] < row["first_loss"]
    assert row["cpu_seconds"] > 0


def test_runs_are_the_same_bit_for_bit_in_any_process(done: Done, corpora: ProxyCorpora) -> None:
    """Here, unforked and alone, as in the worker among others."""
    from training.run import prepare

    prepare("cpu", 1)
    made = worker.bench(SETTINGS, corpora)
    found = worker.one(made, dict(zip(LANGUAGES, MIXTURES.weights_ND[3].tolist(), strict=True)))
    row = json.loads((done.directory / RUNS / "proxy-003.json").read_text())
    assert found["losses"] == row["losses"]
    assert found["drawn"] == row["drawn"]


@pytest.mark.slow
def test_a_device_is_named_and_is_there(done: Done, corpora: ProxyCorpora, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    one = MIXTURES.of(MIXTURES.runs[:1])
    assert np.array_equal(run_proxies(one, corpora, SETTINGS, tmp_path, 1, device="auto").values_NT, done.losses.values_NT[:1])
    assert json.loads((tmp_path / RUNS / "proxy-000.json").read_text())["device"] == "cpu"
    with pytest.raises(CurationError, match="proxy-000 ended with an error"):
        run_proxies(one, corpora, SETTINGS, tmp_path / "cuda", 1, device="cuda")
    assert "this process sees no CUDA device" in (tmp_path / "cuda" / LOG).read_text()


def test_bits_per_byte_are_those_of_a_plain_loop(corpora: ProxyCorpora) -> None:
    """Document by document in float64 softmaxes of whole logits: the sum over labels, over the bytes of their text."""
    import torch

    from training.pretraining.attention import packed_forward

    made = worker.bench(SETTINGS, corpora)
    made.model.eval()
    for text in corpora.texts:
        rows = made.held_out[text.language]
        nats, size = 0.0, 0
        with torch.no_grad():
            for row in rows:
                logits_TV = packed_forward(made.model, torch.from_numpy(row.ids_T[None]), [row.lengths])[0].double()
                for place in range(len(row.ids_T) - 1):
                    label = int(row.ids_T[place + 1])
                    nats -= float(torch.log_softmax(logits_TV[place], -1)[label])
                    size += int(corpora.token_bytes_V[label])
        assert worker.bits_per_byte(made.model, rows, corpora.token_bytes_V) == pytest.approx(nats / math.log(2) / size, rel=1e-5)


def test_tokens_stand_for_exactly_the_bytes_of_the_text(corpora: ProxyCorpora) -> None:
    from training.recipe import WorldText
    from training.world import text as world

    for text in corpora.texts:
        told = world.documents(WorldText(language=text.language, documents=6, seed=nano.HELD_OUT_SEED))
        assert corpora.token_bytes_V[text.held_out.ids_N].sum() == sum(len(document.text.encode()) for document in told)
        assert text.held_out.documents == 6
        assert not set(map(bytes, _documents(text.train))) & set(map(bytes, _documents(text.held_out)))


def _documents(corpus: Corpus) -> list[np.ndarray]:
    return [corpus.ids_N[start:end] for start, end in zip(corpus.starts_D1, corpus.starts_D1[1:], strict=False)]


def test_rows_of_other_settings_or_other_text_are_run_again(done: Done, corpora: ProxyCorpora, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan that the worker would be handed; it is not started."""
    started: list[list[str]] = []

    def noted(directory: Path, *rest: object) -> None:
        started.append([ordered["run"] for ordered in json.loads((directory / PLAN).read_text())["runs"]])
        raise CurationError("not started")

    monkeypatch.setattr("training.curation.regmix.proxies._work", noted)
    other_text = ProxyCorpora(
        texts=(*corpora.texts[:2], dataclasses.replace(corpora.texts[2], train=corpora.texts[0].train)),
        token_bytes_V=corpora.token_bytes_V,
        end=corpora.end,
    )
    for text, settings in ((corpora, dataclasses.replace(SETTINGS, steps=13)), (other_text, SETTINGS)):
        with pytest.raises(CurationError, match="not started"):
            run_proxies(MIXTURES, text, settings, done.directory, 1)
    assert started == [list(MIXTURES.runs)] * 2
    moved = MIXTURES.weights_ND.copy()
    moved[4] = [0.5, 0.5, 0]
    with pytest.raises(CurationError, match="not started"):
        run_proxies(dataclasses.replace(MIXTURES, weights_ND=moved), corpora, SETTINGS, done.directory, 1)
    assert started[-1] == ["proxy-004"]


def test_a_run_that_fails_is_named_and_the_others_are_kept(corpora: ProxyCorpora, tmp_path: Path) -> None:
    wild = dataclasses.replace(SETTINGS, optimisation=dataclasses.replace(SETTINGS.optimisation, learning_rate=1e30, clip=1e30))
    with pytest.raises(CurationError, match=r"the proxies stopped \(status 1\): proxy proxy-00\d ended with an error. Those done are kept"):
        run_proxies(MIXTURES.of(MIXTURES.runs[:2]), corpora, wild, tmp_path, 1)
    assert "no update was made" in (tmp_path / LOG).read_text()


def test_what_cannot_be_run_is_refused(corpora: ProxyCorpora, tmp_path: Path) -> None:
    two = Mixtures(runs=("a",), domains=("ind", "tha"), weights_ND=np.array([[0.5, 0.5]]))
    with pytest.raises(CurationError, match="vie is not both in the mixtures and in the text"):
        run_proxies(two, corpora, SETTINGS, tmp_path, 1)
    with pytest.raises(CurationError, match="0 workers: 1 or more"):
        run_proxies(MIXTURES, corpora, SETTINGS, tmp_path, 0)
    with pytest.raises(CurationError, match="do not fit a context of 64"):
        run_proxies(MIXTURES, corpora, dataclasses.replace(SETTINGS, sequence=65), tmp_path, 1)
    short = dataclasses.replace(corpora.texts[0], held_out=Corpus.of("ind", "ind", [[5, 6]], corpora.end, 0))
    with pytest.raises(CurationError, match="the held-out text of 'ind' is 3 tokens, less than one row of 64"):
        run_proxies(MIXTURES, dataclasses.replace(corpora, texts=(short, *corpora.texts[1:])), SETTINGS, tmp_path, 1)
    empty = dataclasses.replace(corpora.texts[0], train=Corpus.of("ind", "ind", [], corpora.end, 0))
    with pytest.raises(CurationError, match="no text of 'ind' to train on"):
        run_proxies(MIXTURES, dataclasses.replace(corpora, texts=(empty, *corpora.texts[1:])), SETTINGS, tmp_path, 1)


@pytest.mark.slow
def test_a_killed_search_goes_on_and_ends_the_same(done: Done, corpora: ProxyCorpora, tmp_path: Path) -> None:
    """The caller is killed outright; its worker starts no further run, and the call made again runs what is missing."""
    program = (
        "import sys; from pathlib import Path; from tests.training.curation import test_regmix_proxies as t\n"
        "made = t.nano.corpora(t.LANGUAGES, documents=40, held_out=6, tokenizer_documents=20, vocabulary=400)\n"
        "t.run_proxies(t.MIXTURES, made, t.SETTINGS, Path(sys.argv[1]), 1)"
    )
    caller = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    rows = tmp_path / RUNS
    try:
        until = time.monotonic() + 240
        while not (rows / "proxy-000.json").is_file() and time.monotonic() < until:
            time.sleep(0.005)
    finally:
        caller.send_signal(signal.SIGKILL)
        caller.wait()
    before = {path.name: path.stat().st_mtime_ns for path in rows.glob("proxy-*.json")}
    assert "proxy-000.json" in before
    time.sleep(2)  # a run that had begun may end
    losses = run_proxies(MIXTURES, corpora, SETTINGS, tmp_path, 2)
    assert np.array_equal(losses.values_NT, done.losses.values_NT)
    assert all((rows / name).stat().st_mtime_ns == written for name, written in before.items())


@pytest.mark.slow
def test_nano_96_runs_rank_unseen_mixtures(tmp_path: Path) -> None:
    """The experiment of the README: 64 fitted, 32 unseen, most languages ranked, and a mixture that the regressors prefer to the prior."""
    assert nano.main(["--directory", str(tmp_path), "--runs", "96", "--workers", "2"]) == 0
    made = json.loads((tmp_path / "mixture.json").read_text())
    assert (made["runs"]["fitted"], made["runs"]["unseen"]) == (64, 32)
    assert np.median([rank["rho"] for rank in made["spearman"]["lightgbm"].values()]) > 0.6
    assert len(list((tmp_path / RUNS).glob("*.json"))) == 96
    assert made["found"]["better"]


def test_a_run_is_that_of_a_plain_loop(done: Done, corpora: ProxyCorpora, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents cut out one by one, whole logits, gradients by autograd alone, AdamW unfused: equal but for rounding, which 12 steps let grow to 4e-7."""
    import torch
    from transformers import AttentionInterface

    from training.pretraining.attention import packed_hidden
    from training.pretraining.schedule import learning_rate
    from training.pretraining.stream import Stream

    def cut(module: Any, query: Any, key: Any, value: Any, mask: Any, seatrials_lengths: list[int], **kwargs: Any) -> tuple[Any, None]:
        q, k, v = (states.transpose(1, 2).flatten(0, 1) for states in (query, key, value))
        parts, start = [], 0
        for length in seatrials_lengths:
            one = (states[start : start + length].transpose(0, 1)[None] for states in (q, k, v))
            parts.append(torch.nn.functional.scaled_dot_product_attention(*one, scale=kwargs["scaling"], is_causal=True)[0].transpose(0, 1))
            start += length
        return torch.cat(parts).reshape(query.shape[0], query.shape[2], *parts[0].shape[1:]), None

    made = worker.bench(SETTINGS, corpora)
    AttentionInterface.register("cut", cut)
    monkeypatch.setattr("training.pretraining.attention.IMPLEMENTATIONS", {"packed": "cut"})
    made.model.set_attn_implementation("cut")
    budgets = [round(weight * SETTINGS.tokens) for weight in MIXTURES.weights_ND[3]]
    portions = [dataclasses.replace(text.train, budget=budget) for text, budget in zip(corpora.texts, budgets, strict=True)]
    reader = Stream(portions, SETTINGS.sequence, SETTINGS.seed)
    wanted = SETTINGS.optimisation
    parameters = list(made.model.parameters())
    decayed = [{"params": [p for p in parameters if p.ndim >= 2], "weight_decay": wanted.weight_decay}]
    decayed.append({"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(decayed, betas=wanted.betas, eps=wanted.epsilon, foreach=False, fused=False)

    def nats(rows: list[Row]) -> Any:
        ids_BT = torch.from_numpy(np.stack([row.ids_T for row in rows]))
        logits_BTV = made.model.lm_head(packed_hidden(made.model, ids_BT, [row.lengths for row in rows]))
        return torch.nn.functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten(), reduction="sum")

    made.model.train()
    for step in range(SETTINGS.steps):
        (nats(reader.rows(SETTINGS.batch)) / (SETTINGS.batch * (SETTINGS.sequence - 1))).backward()
        torch.nn.utils.clip_grad_norm_(parameters, wanted.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(wanted, step, SETTINGS.steps)
        optimizer.step()
        optimizer.zero_grad()
    made.model.eval()
    with torch.no_grad():
        found = [
            sum(nats([row]).item() for row in made.held_out[language])
            / math.log(2)
            / sum(int(corpora.token_bytes_V[row.ids_T[1:]].sum()) for row in made.held_out[language])
            for language in LANGUAGES
        ]
    assert found == pytest.approx(done.losses.values_NT[3].tolist(), rel=1e-5)


def test_the_worker_keeps_its_heap_unless_the_caller_says_otherwise(
    corpora: ProxyCorpora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, str]] = []

    def noted(command: list[str], **named: Any) -> None:
        seen.append(named["env"])
        raise CurationError("not started")

    monkeypatch.setattr("training.curation.regmix.proxies.subprocess.Popen", noted)
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "4096")
    with pytest.raises(CurationError, match="not started"):
        run_proxies(MIXTURES, corpora, SETTINGS, tmp_path, 1)
    assert seen[0]["MALLOC_MMAP_THRESHOLD_"] == HEAP["MALLOC_MMAP_THRESHOLD_"]
    assert seen[0]["MALLOC_TRIM_THRESHOLD_"] == "4096"
