"""Greedy decoding against a slow loop: argmax of a full forward in float64, no cache, one sequence at a time."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.backends.decoding import Greedy, by_transformers, cut
from harness.backends.hf import HFBackend
from harness.backends.lean import lean
from harness.backends.readers import CHUNK, SHARED, Masked, Plain, common, forward_of, runs
from tests.harness.checkpoints import checkpoint, logprobs, tokenizer

END = 0


def backend(**options: Any) -> HFBackend:
    family = options.pop("family", "qwen2")
    return HFBackend(checkpoint(family=family, context=256), tokenizer(), **options)


def prompts(count: int, seed: int) -> list[tuple[int, ...]]:
    """Prompts of very different lengths; half of them begin alike, some of those go on alike."""
    rng = random.Random(seed)
    shots = tuple(rng.randrange(1, 400) for _ in range(SHARED + 9))
    passage = tuple(rng.randrange(1, 400) for _ in range(SHARED))
    made = []
    for index in range(count):
        own = tuple(rng.randrange(1, 400) for _ in range(rng.randrange(1, 30)))
        made.append((END, *((), shots, (*shots, *passage))[index % 3], *own))
    return made


def by_hand(prompt: tuple[int, ...], limit: int, stop: tuple[str, ...], family: str) -> tuple[str, float]:
    """The text, and by how much the nearest runner-up lost (a tie could go either way)."""
    row, nearest = list(prompt), 9.0
    for _ in range(limit):
        best = logprobs(checkpoint(family=family, context=256), [*row, 1])[-1].topk(2)
        nearest = min(nearest, float(best.values[0] - best.values[1]))
        if int(best.indices[0]) == END:
            break
        row.append(int(best.indices[0]))
        if any(word in tokenizer().decode(row[len(prompt) :]) for word in stop):
            break
    return cut(tokenizer().decode(row[len(prompt) :]), stop), nearest


@pytest.mark.parametrize(("family", "attention"), [("qwen2", "sdpa"), ("llama", "sdpa"), ("qwen2", "eager")])
@pytest.mark.parametrize("slots", [1, 3, 32])
def test_texts_are_those_of_a_loop_without_cache(family: str, attention: str, slots: int) -> None:
    made = backend(family=family, attention=attention)
    asked = prompts(10, 1)
    plain = [by_hand(prompt, 9, (), family) for prompt in asked]
    stop = (plain[0][0][2:4], plain[4][0][-2:], "never there")
    for words in ((), stop):
        expected = [by_hand(prompt, 9, words, family) for prompt in asked]
        sure = [index for index, (_, gap) in enumerate(expected) if gap > 1e-3]
        assert len(sure) > 7
        found = dict(pair for done in made._greedy(asked, 9, words, slots) for pair in done)
        assert sorted(found) == list(range(10))
        assert [found[index] for index in sure] == [expected[index][0] for index in sure]


def test_the_plain_function_is_used_where_it_can_be_and_only_there() -> None:
    assert isinstance(backend()._greedy.reader, Plain)  # type: ignore[attr-defined]
    assert isinstance(backend(attention="eager")._greedy.reader, Masked)  # type: ignore[attr-defined]
    assert lean(backend(attention="eager").model) is None
    broken = backend().model
    broken.get_decoder().layers[0].mlp.act_fn.forward = lambda x: x.relu()  # numbers differ though the configuration says silu
    assert lean(broken) is None


def test_nothing_is_computed_for_a_text_that_has_ended_and_a_free_slot_is_taken() -> None:
    made = backend()
    asked = prompts(9, 2)
    greedy = made._greedy
    assert isinstance(greedy, Greedy)
    alone = [next(greedy([prompt], 12, (), 1))[0][1] for prompt in asked]
    stop = (alone[0][1],)
    rows: list[int] = []
    inner = greedy.reader.step

    def counted(cache: Any, tokens: Any, lengths: Any) -> Any:
        rows.append(len(tokens))
        return inner(cache, tokens, lengths)

    greedy.reader.step = counted  # type: ignore[method-assign]
    ends = {prompt: len(by_steps(made, prompt, stop)) for prompt in asked}
    rows.clear()
    found = dict(pair for done in greedy(asked, 12, stop, 3) for pair in done)
    assert sorted(found) == list(range(9))
    assert min(ends.values()) < max(ends.values())
    assert sum(rows) == sum(steps - 1 for steps in ends.values())  # the first token of a text comes from reading the prompt
    assert max(rows) == 3


def by_steps(made: HFBackend, prompt: tuple[int, ...], stop: tuple[str, ...]) -> list[int]:
    """The tokens chosen until the end, the stop or the limit of 12, that of the end included."""
    row = list(prompt)
    while len(row) < len(prompt) + 12:
        row.append(int(logprobs(checkpoint(context=256), [*row, 1])[-1].argmax()))
        if row[-1] == END or any(word in made.tokenizer.decode(row[len(prompt) :]) for word in stop):
            break
    return row[len(prompt) :]


def test_the_cache_grows_past_its_first_chunk() -> None:
    made = backend()
    prompt = (END, *range(1, CHUNK - 3))
    made.model.generation_config.eos_token_id = None
    for reader in (made._greedy.reader, Masked(forward_of(made.model, False), lambda logits: logits, "cpu", 64)):  # type: ignore[attr-defined]
        ((_, text),) = next(Greedy(reader, made.tokenizer, [END])([prompt], 12, (), 4))
        assert text == by_hand(prompt, 12, (), "qwen2")[0]


def test_transformers_own_loop_gives_the_same_texts() -> None:
    made = backend()
    asked = prompts(8, 3)
    theirs = dict(pair for done in by_transformers(made.model, made.tokenizer, [END], asked, 8, (), 4) for pair in done)
    ours = dict(pair for done in made._greedy(asked, 8, (), 4) for pair in done)
    assert ours == theirs


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=90), min_size=1, max_size=9), st.integers(1, 300), st.booleans())
def test_runs_cover_all_prompts_and_share_only_what_is_the_same(texts: list[list[int]], budget: int, alike: bool) -> None:
    rows = sorted([1] * 60 * alike + text for text in texts)
    found = list(runs(rows, budget))
    assert [start for start, _, _ in found] == [0] + [end for _, end, _ in found[:-1]]
    assert found[-1][1] == len(rows)
    for start, end, shared in found:
        width = max(map(len, rows[start:end]))
        assert shared == 0 or (end - start > 1 and shared >= SHARED)
        assert all(row[:shared] == rows[start][:shared] and len(row) > shared for row in rows[start:end])
        assert end == start + 1 or shared + (end - start) * (width - shared) <= max(budget, width)


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_the_common_beginning_is_the_longest(one: list[int], other: list[int]) -> None:
    at = common(one, other)
    assert one[:at] == other[:at]
    assert at in (len(one), len(other)) or one[at] != other[at]
