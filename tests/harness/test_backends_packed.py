"""The trie through the plain decoder, against brute force: every sequence alone, in float64, by transformers' own forward pass."""

from __future__ import annotations

import random

import pytest

from harness.backends.hf import HFBackend
from harness.backends.rendering import Rendered
from tests.harness.checkpoints import checkpoint, logprobs, tokenizer
from tests.harness.test_backends_hf import ask, brute_force

CONTEXT = 256


def task(seed: int = 0) -> list[Rendered]:
    """Items as a task has them: all after the same shots, two questions a passage, four choices a question; and two that share nothing."""
    rng = random.Random(seed)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(1, 400) for _ in range(count))

    shots, found = (0, *draw(60)), []
    for _ in range(3):
        passage = draw(rng.randrange(20, 40))
        for _ in range(2):
            context = shots + passage + draw(rng.randrange(3, 15))
            found += [Rendered(kind="loglikelihood", context=context, continuation=draw(rng.randrange(1, 9))) for _ in range(4)]
    found += [Rendered(kind="loglikelihood", context=(0, *draw(5)), continuation=draw(90)) for _ in range(2)]
    return found


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_whatever_the_batch_a_log_probability_is_that_of_its_sequence_alone(family: str) -> None:
    path = checkpoint(family=family, context=CONTEXT)
    requests = task()
    expected = [brute_force(path, request) for request in requests]
    found = []
    for budget in (5, 64, 5000):
        made = HFBackend(path, tokenizer(), batch_tokens=budget)
        assert made._packed is not None
        answers = ask(made, requests)
        for answer, (value, greedy) in zip(answers, expected, strict=True):
            assert answer["logprob"] == pytest.approx(value, abs=1e-4)
            assert answer["greedy"] == greedy
        found.append([answer["logprob"] for answer in answers])
    for values in zip(*found, strict=True):
        assert max(values) - min(values) < 1e-4


def test_shots_and_passages_are_read_once() -> None:
    requests = task()
    made = HFBackend(checkpoint(context=CONTEXT), tokenizer(), batch_tokens=100)
    batches = list(made.answers(requests))
    read = sum(tokens for _, tokens in batches)
    different = {(r.context + r.continuation)[:end] for r in requests for end in range(1, len(r.context) + len(r.continuation))}
    assert len(different) <= read < len(different) + 60  # what is not worth a node: a few tokens
    assert all(tokens <= 100 for _, tokens in batches)
    alone = sum(len(r.context) + len(r.continuation) - 1 for r in requests)
    assert read < 0.25 * alone


def test_answers_come_batch_by_batch() -> None:
    made = HFBackend(checkpoint(context=CONTEXT), tokenizer(), batch_tokens=100)
    counts = [len(found) for found, _ in made.answers(task())]
    assert sum(counts) == len(task())
    assert len(counts) > 4
    assert max(counts) < len(task())


def test_what_is_kept_is_one_path_of_the_trie() -> None:
    made = HFBackend(checkpoint(context=CONTEXT), tokenizer(), batch_tokens=50)
    packed = made._packed
    assert packed is not None
    inner, most = packed.states, []

    def watched(batch, kept, *rest):
        states = inner(batch, kept, *rest)
        most.append(sum(layers[0][0].shape[2] for layers in kept.values()))
        return states

    packed.states = watched  # type: ignore[method-assign]
    ask(made, task())
    assert 61 <= max(most) <= 61 + 40 + 15 + 9
    assert most[-1] == 0


def test_models_that_are_no_plain_decoder_go_the_other_way_to_the_same_numbers() -> None:
    requests = task()
    packed, rows = (HFBackend(checkpoint(context=CONTEXT), tokenizer()) for _ in range(2))
    rows.__dict__["_packed"] = None
    assert HFBackend(checkpoint(context=CONTEXT), tokenizer(), attention="eager")._packed is None
    for one, other in zip(ask(packed, requests), ask(rows, requests), strict=True):
        assert one["logprob"] == pytest.approx(other["logprob"], abs=1e-4)
        assert one["greedy"] == other["greedy"]


def test_the_models_own_weights_give_the_same_logits_before_and_after_they_lie_side_by_side() -> None:
    import torch

    made = HFBackend(checkpoint(context=CONTEXT), tokenizer())
    tokens = torch.arange(1, 30)[None]
    with torch.inference_mode():
        before = made.model(tokens, use_cache=False).logits
        assert made._packed is not None
        after = made.model(tokens, use_cache=False).logits
    assert torch.equal(before, after)
    attention = made.model.get_decoder().layers[0].self_attn
    assert attention.q_proj.weight.untyped_storage().data_ptr() == attention.v_proj.weight.untyped_storage().data_ptr()


def test_bfloat16_lies_as_near_to_float64_as_transformers_own_pass_does() -> None:
    requests = task()
    path = checkpoint(context=CONTEXT)
    gaps = []
    for way in ("packed", "rows"):
        made = HFBackend(path, tokenizer(), dtype="bfloat16")
        if way == "rows":
            made.__dict__["_packed"] = None
        answers = ask(made, requests)
        gaps.append([abs(a["logprob"] - brute_force(path, r)[0]) / len(r.continuation) for a, r in zip(answers, requests, strict=True)])
    assert sum(gaps[0]) < 1.5 * sum(gaps[1])


def test_generation_after_shared_beginnings_longer_than_a_batch() -> None:
    path = checkpoint(context=CONTEXT)
    made = HFBackend(path, tokenizer(), batch_tokens=16)
    prompts = [request.context for request in task()[::4]]
    found = dict(pair for done in made._greedy(prompts, 6, (), 8) for pair in done)
    for index, prompt in enumerate(prompts):
        row = list(prompt)
        for _ in range(6):
            best = logprobs(path, [*row, 1])[-1].topk(2)
            assert float(best.values[0] - best.values[1]) > 1e-4
            if int(best.indices[0]) == 0:
                break
            row.append(int(best.indices[0]))
        assert found[index] == tokenizer().decode(row[len(prompt) :])
