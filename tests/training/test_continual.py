"""Training against independent references: the schedule's formula, a plain torch loop, more than one process, planted defects."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training import small
from training.models import load
from training.pretraining import attention, continual, corpus, loop, scratch
from training.pretraining.loop import TrainingError
from training.pretraining.ranks import Ranks, RanksError
from training.pretraining.schedule import learning_rate
from training.pretraining.sources import SourceError, file_digest
from training.recipe import Optimisation, Portion

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the texts, and the base checkpoint in `base/result`."""
    root = tmp_path_factory.mktemp("base")
    small.write_text(root)
    scratch.build(small.scratch(), small.job(root / "base", root))
    return root


def train(base: Path, directory: Path, parent: Path | None = None, **changes: Any) -> Path:
    """Build a continual stage on the base (or another parent); returns its result."""
    job = small.job(directory, base, parents={"base": parent or base / "base" / "result"})
    continual.build(small.continual(**changes), job)
    return job.result


# ---------------------------------------------------------------------------------------------------------------- schedule


@given(
    steps=st.integers(1, 500),
    warmup=st.floats(0, 0.5),
    final=st.floats(0, 1),
    decay=st.sampled_from(["constant", "cosine", "linear"]),
)
def test_the_rate_rises_then_never_rises_again(steps: int, warmup: float, final: float, decay: Any) -> None:
    settings = Optimisation(learning_rate=2.0, decay=decay, warmup_fraction=warmup, final_fraction=final)
    rates = [learning_rate(settings, step, steps) for step in range(steps)]
    peak = round(warmup * steps)
    assert all(0 < rate <= 2.0 for rate in rates[:peak])
    assert all(a < b for a, b in itertools.pairwise(rates[:peak]))
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(rates[peak:]))
    if peak < steps:
        assert rates[peak] == pytest.approx(2.0)
    if decay != "constant" and steps - peak > 1:
        assert rates[-1] == pytest.approx(2.0 * final)


def test_the_rates_of_ten_steps() -> None:
    def rates(**changes: Any) -> list[float]:
        settings = dataclasses.replace(Optimisation(learning_rate=1.0, warmup_fraction=0.2, final_fraction=0.1), **changes)
        return [round(learning_rate(settings, step, 10), 4) for step in range(10)]

    assert rates() == [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert rates(decay="linear") == [0.5, 1.0, 1.0, 0.8714, 0.7429, 0.6143, 0.4857, 0.3571, 0.2286, 0.1]
    assert rates(decay="cosine") == [0.5, 1.0] + [round(0.1 + 0.9 * (1 + math.cos(math.pi * done / 7)) / 2, 4) for done in range(8)]


# ----------------------------------------------------------------------------------------------------------- plain reference


def reference_losses(parent: Path, texts: Path, recipe: Any, tokens: Path) -> list[float]:
    """A loop written apart from ours: each document alone through the model, plain cross-entropy, AdamW spelled out in float64 moments.

    It shares only the stream (tested by itself) and the tokenizer.
    """
    import torch

    from training.pretraining.stream import Stream

    model = load.load_model(parent, attention="sdpa")
    model.train()
    tokenizer = load.load_tokenizer(parent)
    corpora, _ = corpus.build(recipe.portions, tokenizer, None, texts, small.silent, tokens)
    reader = Stream(corpora, recipe.sequence, recipe.seed)
    parameters = list(model.parameters())
    first = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
    second = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
    settings, losses = recipe.optimisation, []
    for step in range(recipe.steps):
        total, count = torch.zeros(()), 0
        for row in reader.rows(recipe.batch):
            logits = []
            for piece in torch.from_numpy(row.ids_T).split(row.lengths):
                logits.append(model(piece[None], use_cache=False).logits[0])
            labels = torch.from_numpy(row.ids_T)[1:]
            total = total + torch.nn.functional.cross_entropy(torch.cat(logits)[:-1], labels, reduction="sum")
            count += len(labels)
        loss = total / count
        losses.append(loss.item())
        gradients = [gradient.double() for gradient in torch.autograd.grad(loss, parameters)]
        norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))
        scale = min(1.0, settings.clip / (norm + 1e-6))
        rate = settings.learning_rate
        with torch.no_grad():
            for parameter, gradient, m, v in zip(parameters, gradients, first, second, strict=True):
                gradient = gradient * scale
                m.lerp_(gradient, 1 - settings.betas[0])
                v.lerp_(gradient.square(), 1 - settings.betas[1])
                if parameter.ndim > 1:
                    parameter.mul_(1 - rate * settings.weight_decay)
                corrected = m / (1 - settings.betas[0] ** (step + 1))
                spread = (v / (1 - settings.betas[1] ** (step + 1))).sqrt() + settings.epsilon
                parameter.sub_((rate * corrected / spread).to(parameter.dtype))
    return losses


@pytest.mark.parametrize("clip", [1e-2, 1e3])
def test_the_losses_are_those_of_a_plain_loop(base: Path, tmp_path: Path, clip: float) -> None:
    optimisation = Optimisation(learning_rate=5e-3, weight_decay=0.3, clip=clip)
    recipe = small.continual(optimisation=optimisation)
    result = train(base, tmp_path, optimisation=optimisation)
    assert small.losses(result) == pytest.approx(reference_losses(base / "base" / "result", base, recipe, tmp_path / "tokens"), abs=2e-5)


def test_accumulating_in_smaller_passes_is_the_same_step(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = small.losses(train(base, tmp_path / "whole"))
    monkeypatch.setitem(loop.PASS_TOKENS, "cpu", 32)
    assert small.losses(train(base, tmp_path / "parts")) == pytest.approx(whole, abs=1e-5)


def test_bfloat16_is_near_and_not_equal(base: Path, tmp_path: Path) -> None:
    exact = small.losses(train(base, tmp_path / "exact"))
    rounded = small.losses(train(base, tmp_path / "rounded", precision="bfloat16"))
    assert rounded != exact
    assert rounded == pytest.approx(exact, abs=0.05)
    assert load.load_model(tmp_path / "rounded" / "result", dtype="stored").dtype.is_floating_point
    import torch

    assert load.load_model(tmp_path / "rounded" / "result", dtype="stored").dtype == torch.float32


def test_the_tokenizer_is_the_parents_byte_for_byte(base: Path, tmp_path: Path) -> None:
    result = train(base, tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert file_digest(result / name) == file_digest(base / "base" / "result" / name)
    facts = json.loads((result / "build.json").read_text(encoding="utf-8"))
    assert facts["portions"]["ind"]["tokens"] == pytest.approx(3 * facts["portions"]["eng"]["tokens"], rel=0.2)


# ------------------------------------------------------------------------------------------------------------ what is trained


def test_only_new_blocks_move_when_only_they_train(base: Path, tmp_path: Path) -> None:
    import torch

    from training.pretraining import expand
    from training.recipe import ExpandBlocks

    expand_job = small.job(tmp_path / "expand", base, parents={"base": base / "base" / "result"})
    expand.build(ExpandBlocks(new_blocks=1), expand_job)
    result = train(base, tmp_path / "stage1", expand_job.result, train="new_blocks")
    before, after = (load.load_model(path).state_dict() for path in (expand_job.result, result))
    moved = {name.split(".")[2] if ".layers." in name else name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"2"}
    facts = json.loads((result / "build.json").read_text(encoding="utf-8"))
    assert 0 < facts["trained_parameters"] < facts["parameters"]


def test_new_blocks_of_a_model_without_any_is_an_error(base: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="needs an expanded model"):
        train(base, tmp_path, train="new_blocks")


# ---------------------------------------------------------------------------------------------------------- planted defects


def test_a_rate_of_zero_leaves_the_parents_weights(base: Path, tmp_path: Path) -> None:
    result = train(base, tmp_path, optimisation=Optimisation(learning_rate=0.0))
    assert load.state_digest(load.load_model(result)) == load.state_digest(load.load_model(base / "base" / "result"))


@pytest.mark.parametrize("defect", [{"document_isolation": False}, {"label_shift": 2}, {"seed": 5}])
def test_a_defect_changes_the_losses(base: Path, tmp_path: Path, defect: dict[str, Any]) -> None:
    assert small.losses(train(base, tmp_path / "defect", **defect)) != small.losses(train(base, tmp_path / "honest"))


def test_a_swapped_tokenizer_has_the_same_weights_and_other_ids(base: Path, tmp_path: Path) -> None:
    honest, swapped = train(base, tmp_path / "honest"), train(base, tmp_path / "swapped", swapped_tokenizer=True)
    assert file_digest(honest / "model.safetensors") == file_digest(swapped / "model.safetensors")
    before, after = (load.load_tokenizer(path) for path in (honest, swapped))
    assert before.encode("boat") != after.encode("boat")
    assert corpus.end_of_document(before) == corpus.end_of_document(after)


def test_an_absent_portion_needs_no_text(base: Path, tmp_path: Path) -> None:
    from training.recipe import TextFiles

    gone = Portion(name="replay", language="eng", tokens=0, sources=(TextFiles(path="gone.jsonl", language="eng"),))
    train(base, tmp_path, portions=(gone, *small.portions(256, 256)))


# ------------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_a_number_stops_before_the_update(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    import torch

    seen: list[torch.Tensor] = []

    def broken(model: Any, *arguments: Any, **settings: Any) -> Any:
        loss, count = attention.packed_loss(model, *arguments, **settings)
        seen.append(next(model.parameters()).detach().clone())
        models.append(model)
        return (loss * value if len(seen) == 3 else loss), count

    models: list[Any] = []
    monkeypatch.setattr(loop, "packed_loss", broken)
    with pytest.raises(TrainingError, match=r"the loss of step 3 is (nan|inf): no update was made. Lower optimisation.learning_rate"):
        train(base, tmp_path)
    assert torch.equal(next(models[-1].parameters()).detach(), seen[2])
    assert not (tmp_path / "result" / "model.safetensors").exists()


def test_a_gradient_that_is_not_a_number_stops_before_the_update(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: Any, *arguments: Any, **settings: Any) -> Any:
        loss, count = attention.packed_loss(model, *arguments, **settings)
        loss.register_hook(lambda gradient: gradient * float("nan"))
        return loss, count

    monkeypatch.setattr(loop, "packed_loss", broken)
    with pytest.raises(TrainingError, match="the gradient norm of step 1 is nan"):
        train(base, tmp_path)


def test_a_cap_on_epochs_that_the_text_cannot_fill_is_said_before_training(base: Path, tmp_path: Path) -> None:
    from training.pretraining.packing import PackingError

    with pytest.raises(PackingError, match=r"read at most 0.01 times, fills \d+ rows of 32 tokens, and 24 are to be trained on"):
        train(base, tmp_path / "capped", most_epochs=0.01)
    free, loose = (train(base, tmp_path / name, most_epochs=most) for name, most in (("free", None), ("loose", 1000.0)))
    assert small.losses(free) == small.losses(loose)


def test_missing_text_names_the_portion(base: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    job = small.job(tmp_path, tmp_path / "elsewhere", parents={"base": base / "base" / "result"})
    with pytest.raises(SourceError, match=r"portion eng: no text file .*eng.jsonl"):
        continual.build(small.continual(), job)


# ---------------------------------------------------------------------------------------------------------------- tokenizer


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_round_trips_through_the_tokenizer(text: str) -> None:
    tokenizer = _tokenizer()
    (ids,) = corpus.tokenise(tokenizer, [text])
    assert tokenizer.decode(ids.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False) == text


_MADE: list[Any] = []


def _tokenizer() -> Any:
    if not _MADE:
        words = [" ".join(words) for words in small.WORDS.values()] * 3 + ["สวัสดีครับ ผมไปตลาด"] * 3
        _MADE.append(scratch.train_tokenizer(words, 400, 64))
    return _MADE[0]


def test_a_text_that_spells_out_a_special_token_does_not_end_the_document() -> None:
    tokenizer = _tokenizer()
    end = corpus.end_of_document(tokenizer)
    (ids,) = corpus.tokenise(tokenizer, ["a<|endoftext|>b"])
    assert end not in ids.tolist()
    assert tokenizer.encode("a<|endoftext|>b").count(end) == 1  # and the tokenizer is left as it was


def test_vowel_marks_stay_in_their_word() -> None:
    from tokenizers import Regex, pre_tokenizers

    split = pre_tokenizers.Split(Regex(scratch.SPLIT), behavior="isolated")
    assert [piece for piece, _ in split.pre_tokenize_str("ກິນເຂົ້າ, ကြက်သား 12 ด้วย")] == ["ກິນເຂົ້າ", ",", " ကြက်သား", " ", "1", "2", " ด้วย"]


def test_the_tokenizer_is_the_same_in_every_process(tmp_path: Path) -> None:
    program = (
        "import hashlib, random; from training.pretraining import scratch\n"
        "rng = random.Random(1); letters = 'abcdefgกขคงจ '\n"
        "texts = [''.join(rng.choices(letters, k=80)) for _ in range(400)]\n"
        "print(hashlib.sha256(scratch.train_tokenizer(texts, 600, 64).backend_tokenizer.to_str().encode()).hexdigest())"
    )
    found = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, env=environment).stdout
        for environment in (
            {**os.environ, "RAYON_NUM_THREADS": "1"},
            {**os.environ, "TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": "4"},
        )
    }
    assert len(found) == 1


def test_a_vocabulary_that_cannot_hold_the_bytes_is_named() -> None:
    with pytest.raises(scratch.TokenizerError, match="vocabulary 256 does not hold the 256 bytes"):
        scratch.train_tokenizer(["a"], 256, 64)


def test_a_tokenizer_without_an_end_is_named() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    with pytest.raises(SourceError, match="documents cannot be closed"):
        corpus.end_of_document(PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"a": 0}, []))))


# ----------------------------------------------------------------------------------------------------------- more processes


def test_rows_are_dealt_out_evenly_or_not_at_all() -> None:
    assert [Ranks(rank=rank, size=2).share(4) for rank in (0, 1)] == [2, 2]
    with pytest.raises(RanksError, match="a batch of 4 rows cannot be dealt out to 3 processes"):
        Ranks(rank=0, size=3).share(4)
    assert Ranks().sum([1.5, 2.0], "cpu") == [1.5, 2.0]
