"""Documents of a packed row do not see each other, under any implementation, and where they would, training stops (topic 2)."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.tiny_models import ids, make, packed_rows, reference_logits
from training.pretraining import attention
from training.pretraining.attention import (
    IMPLEMENTATIONS,
    AttentionError,
    assert_isolated,
    attended_pairs,
    packed_forward,
    packed_hidden,
    use_attention,
    varlen_arguments,
)

ON_CPU = ("packed", "sdpa", "eager")
families = st.sampled_from(["qwen2", "llama"])
shapes = st.sampled_from([(4, 4), (4, 2), (6, 2), (3, 1)])


def run(model: Any, ids_BT: Any, lengths: Any, **options: Any) -> Any:
    import torch

    with torch.no_grad():
        return packed_forward(model, ids_BT, lengths, **options)


@pytest.mark.parametrize("implementation", ON_CPU)
@settings(max_examples=12, deadline=None)
@given(rows=packed_rows(), family=families, heads=shapes, biases=st.booleans(), seed=st.integers(0, 99))
def test_every_implementation_computes_the_dense_block_diagonal_mask(implementation, rows, family, heads, biases, seed) -> None:
    model = make(family, heads=heads[0], kv_heads=heads[1], biases=biases, seed=seed, dtype="float64")
    use_attention(model, implementation)
    ids_BT = ids(rows, seed=seed)
    logits = run(model, ids_BT, rows).numpy()
    for row, lengths in enumerate(rows):
        expected = reference_logits(model, ids_BT[row].tolist(), lengths)
        # (The models' RMSNorm and softmax compute in float32 whatever the weights' dtype.)
        assert np.abs(logits[row] - expected).max() < 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("implementation", ON_CPU)
@settings(max_examples=12, deadline=None)
@given(rows=packed_rows(), family=families, seed=st.integers(0, 99))
def test_a_document_in_a_pack_is_the_document_alone(implementation, rows, family, seed) -> None:
    import torch

    model = make(family, seed=seed)
    use_attention(model, implementation)
    ids_BT = ids(rows, seed=seed)
    logits = run(model, ids_BT, rows)
    for row, lengths in enumerate(rows):
        start = 0
        for length in lengths:
            with torch.no_grad():
                alone = model(ids_BT[row : row + 1, start : start + length], use_cache=False).logits[0]
            torch.testing.assert_close(logits[row, start : start + length], alone, rtol=1e-4, atol=2e-5)
            start += length


@settings(max_examples=20, deadline=None)
@given(rows=packed_rows(), implementation=st.sampled_from(ON_CPU), data=st.data())
def test_changing_a_document_changes_no_other(rows, implementation, data) -> None:
    import torch

    model = make()
    use_attention(model, implementation)
    ids_BT = ids(rows)
    row = data.draw(st.integers(0, len(rows) - 1))
    number = data.draw(st.integers(0, len(rows[row]) - 1))
    start = sum(rows[row][:number])
    place = data.draw(st.integers(start, start + rows[row][number] - 1))
    changed_BT = ids_BT.clone()
    changed_BT[row, place] = (changed_BT[row, place] + 1) % 61
    moved = (run(model, ids_BT, rows) - run(model, changed_BT, rows)).abs().amax(-1)
    own = torch.zeros_like(moved, dtype=torch.bool)
    own[row, place : start + rows[row][number]] = True
    assert moved[row, place] > 1e-3
    assert (moved[~own] < 1e-6).all()


@pytest.mark.parametrize("implementation", ON_CPU)
def test_no_gradient_reaches_another_document(implementation: str) -> None:
    import torch

    model = make()
    use_attention(model, implementation)
    rows = [[3, 5, 1], [9]]
    ids_BT = ids(rows)
    embedded = []
    model.get_input_embeddings().register_forward_hook(lambda module, given, output: embedded.append(output) or None)
    logits = packed_forward(model, ids_BT, rows)
    (gradient,) = torch.autograd.grad(logits[0, 3:8].square().sum(), embedded)
    reached = gradient.abs().sum(-1) > 0
    assert reached.tolist() == [[False] * 3 + [True] * 5 + [False], [False] * 9]


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_bfloat16_stays_within_its_rounding(family: str) -> None:
    import torch

    model = make(family)
    rows = [[7, 2, 15], [24]]
    ids_BT = ids(rows)
    with torch.autocast("cpu", torch.bfloat16):
        logits = run(model, ids_BT, rows).float()
    exact = np.stack([reference_logits(model, ids_BT[row].tolist(), rows[row]) for row in (0, 1)])
    assert np.abs(logits.numpy() - exact).max() < 5e-2 * np.abs(exact).max()


# ------------------------------------------------------------------------------------------------- what a packed row costs


@settings(max_examples=25, deadline=None)
@given(rows=packed_rows())
def test_packed_computes_no_pair_of_two_documents(rows) -> None:
    import torch

    computed: list[tuple[int, int]] = []
    plain = torch.nn.functional.scaled_dot_product_attention

    def spy(query: Any, key: Any, value: Any, **options: Any) -> Any:
        assert options.get("attn_mask") is None
        assert options["is_causal"]
        computed.append((query.shape[0] * query.shape[2], key.shape[2]))
        return plain(query, key, value, **options)

    model = make(layers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
        run(model, ids(rows), rows)
    assert sum(queries * keys for queries, keys in computed) == sum(length**2 for row in rows for length in row)


@given(rows=packed_rows())
def test_attended_pairs_counts_the_mask(rows) -> None:
    total = 0
    for lengths in rows:
        document = np.repeat(np.arange(len(lengths)), lengths)
        total += int(np.tril(document[:, None] == document[None, :]).sum())
    assert attended_pairs(rows) == total
    width = sum(rows[0])
    full = len(rows) * width * (width + 1) // 2
    assert attended_pairs(rows) <= full
    assert (attended_pairs(rows) < full) == any(len(row) > 1 for row in rows)


def test_packed_builds_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers.masking_utils as masking

    built: list[int] = []
    real = masking.sdpa_mask
    monkeypatch.setattr(masking, "sdpa_mask", lambda *given, **named: built.append(1) or real(*given, **named))
    model = make()
    use_attention(model, "packed")  # registers the spy
    run(model, ids([[3, 4]]), [[3, 4]])
    assert built == []
    model(ids([[3, 4]]))
    assert built  # without lengths it is sdpa with sdpa's mask
    monkeypatch.undo()
    use_attention(model, "packed")


# ------------------------------------------------------------------------------------------- packed as an ordinary model


def test_padding_and_generation_are_those_of_sdpa() -> None:
    import torch

    model = make()
    ids_BT = ids([[6], [6]])
    mask = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]])
    found = {}
    for implementation in ("packed", "sdpa"):
        use_attention(model, implementation)
        with torch.no_grad():
            logits = model(ids_BT, attention_mask=mask).logits
            text = model.generate(ids_BT, attention_mask=mask, max_new_tokens=6, do_sample=False, pad_token_id=0)
        found[implementation] = (logits, text)
    assert torch.equal(found["packed"][0], found["sdpa"][0])
    assert torch.equal(found["packed"][1], found["sdpa"][1])


def test_gradient_checkpointing_keeps_documents_apart() -> None:
    import torch

    model = make()
    rows = [[3, 5], [8]]
    ids_BT = ids(rows)

    def gradients() -> list[Any]:
        model.zero_grad()
        packed_forward(model, ids_BT, rows).square().sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    plain = gradients()
    model.gradient_checkpointing_enable()
    model.train()
    for a, b in zip(plain, gradients(), strict=True):
        torch.testing.assert_close(a, b)


# --------------------------------------------------------------------------------------------------------------- the guard


@pytest.mark.parametrize("implementation", ON_CPU)
@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_the_guard_passes_an_honest_model(family: str, implementation: str) -> None:
    model = make(family, tied=family == "llama").train()
    use_attention(model, implementation)
    assert_isolated(model, implementation)
    assert model.training


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_the_guard_passes_a_fresh_model_in_any_dtype(dtype: str) -> None:
    import torch

    from training.models.load import new_model
    from training.recipe import Architecture

    model = new_model(Architecture(hidden=32, intermediate=48, layers=2, heads=4, kv_heads=2), 97, 0).to(getattr(torch, dtype))
    assert_isolated(model, "packed")


def test_the_guard_stops_attention_that_ignores_the_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    real = attention._packed_attention

    def leaky(*given: Any, seatrials_lengths: Any = None, **named: Any) -> Any:
        return real(*given, seatrials_lengths=seatrials_lengths and [16, 16], **named)

    monkeypatch.setattr(attention, "_packed_attention", leaky)
    model = make()
    use_attention(model, "packed")
    with pytest.raises(AttentionError, match="not isolated under attention 'packed'"):
        assert_isolated(model, "packed")
    monkeypatch.undo()
    use_attention(model, "packed")
    assert_isolated(model, "packed")


@pytest.mark.parametrize("implementation", ["packed", "sdpa"])
def test_every_probe_sees_a_model_that_was_not_isolated_and_none_sees_another(implementation: str) -> None:
    """A probe that cannot see, and one that outweighs the rest, would cost the gate on them its power."""
    model = make()
    use_attention(model, implementation)
    assert attention.leakage(model, isolation=True) == [0.0] * 24
    leaked = attention.leakage(model, isolation=False)
    assert len(leaked) == 24
    assert all(0.0 < share < 1.0 for share in leaked), leaked


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_the_guard_stops_a_transformers_whose_packed_masks_fail(implementation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # What transformers 5.23 does without a word when a cache is used or a mask of ones is given.
    monkeypatch.setattr("transformers.masking_utils.find_packed_sequence_indices", lambda position_ids: None)
    model = make()
    use_attention(model, implementation)
    with pytest.raises(AttentionError, match=f"not isolated under attention '{implementation}'"):
        assert_isolated(model, implementation)


def test_the_guard_stops_another_implementation_and_broken_weights() -> None:
    import torch

    model = make()
    with pytest.raises(AttentionError, match="call use_attention first"):
        assert_isolated(model, "sdpa")
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
    with pytest.raises(AttentionError, match="broken"):
        assert_isolated(model, "packed")


def test_the_guard_stops_a_family_that_scales_its_logits() -> None:
    from transformers import AutoModelForCausalLM, GraniteConfig

    config = GraniteConfig(
        vocab_size=61, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, logits_scaling=4.0
    )
    model = AutoModelForCausalLM.from_config(config)
    use_attention(model, "packed")
    with pytest.raises(AttentionError, match="family is not supported"):
        assert_isolated(model, "packed")


def test_the_planted_defect_lets_documents_see_each_other() -> None:
    model = make()
    rows = [[4, 4]]
    ids_BT = ids(rows)
    leaky = run(model, ids_BT, rows, isolation=False)
    plain = model(ids_BT, use_cache=False).logits.detach()
    assert (leaky - plain).abs().max() < 1e-5
    assert (leaky - run(model, ids_BT, rows))[0, 4:].abs().max() > 1e-2


# ---------------------------------------------------------------------------------------------------------- flash and flex


@given(rows=packed_rows())
def test_varlen_arguments(rows) -> None:
    import torch

    found = varlen_arguments(rows)
    bounds = found["cu_seq_lens_q"]
    assert bounds.dtype == torch.int32
    assert torch.equal(bounds, found["cu_seq_lens_k"])
    total, width = sum(map(sum, rows)), sum(rows[0])
    assert bounds[0] == 0
    assert bounds[-1] == total
    assert (bounds.diff() > 0).all()
    assert set(range(0, total + 1, width)) <= set(bounds.tolist())
    assert found["max_length_q"] == found["max_length_k"] == bounds.diff().max()


@settings(max_examples=10, deadline=None)
@given(rows=packed_rows())
def test_flash_path_hands_the_kernel_each_document(rows) -> None:
    """transformers' own flash path up to the kernel, with a CPU kernel of flash_attn_varlen_func's contract in its place."""
    import torch
    import transformers.modeling_flash_attention_utils as flash

    def kernel(
        q: Any, k: Any, v: Any, *, cu_seqlens_q: Any, cu_seqlens_k: Any, max_seqlen_q: int, max_seqlen_k: int, causal: bool, **named: Any
    ):
        assert causal
        assert max_seqlen_q == max_seqlen_k == cu_seqlens_q.diff().max()
        out = torch.empty_like(q)
        for a, b in zip(cu_seqlens_q[:-1].tolist(), cu_seqlens_q[1:].tolist(), strict=True):
            part = (x[a:b].transpose(0, 1)[None] for x in (q, k, v))
            out[a:b] = torch.nn.functional.scaled_dot_product_attention(
                *part, is_causal=True, enable_gqa=True, scale=named["softmax_scale"]
            )[0].transpose(0, 1)
        return out

    supports: Any = defaultdict(bool, max_seqlen_q=True, max_seqlen_k=True)

    def arguments(**named: Any) -> Any:
        return flash._process_flash_attention_kwargs(**named, supports_mapping=supports)

    model = make()
    expected = run(model, ids(rows), rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flash, "lazy_import_flash_attention", lambda *given, **named: ((None, kernel, None, None, None), (arguments, None)))
        model.config._attn_implementation = IMPLEMENTATIONS["flash"]
        found = run(model, ids(rows), rows)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_flash_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    model = make()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(AttentionError, match="CUDA device and the flash-attn package"):
        use_attention(model, "flash")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AttentionError, match="flash-attn"):
        use_attention(model, "flash")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(AttentionError, match="bfloat16 or float16"):
        use_attention(model, "flash")
    assert model.config._attn_implementation == IMPLEMENTATIONS["packed"]


def test_flex_does_not_train_on_a_cpu() -> None:
    model = make()
    use_attention(model, "flex")
    with pytest.raises(AttentionError, match="no backward on CPU"):
        packed_forward(model, ids([[3, 2]]), [[3, 2]])


@pytest.mark.slow
def test_flex_isolates_on_a_cpu() -> None:  # compiles a kernel: half a minute
    model = make()
    rows = [[3, 5], [8]]
    expected = run(model, ids(rows), rows)
    use_attention(model, "flex")
    assert (run(model, ids(rows), rows) - expected).abs().max() < 1e-4


# ------------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("lengths", [[[3, 4]], [[3, 4], [7]], [[8, 0], [8]], [[9, -1], [8]], []])
def test_lengths_that_do_not_fit_are_refused(lengths: Any) -> None:
    with pytest.raises(AttentionError, match="sum to 8 in each of 2 rows"):
        packed_hidden(make(), ids([[8], [8]]), lengths)


def test_unknown_implementation() -> None:
    with pytest.raises(AttentionError, match="no attention 'sage'; there are packed, sdpa"):
        use_attention(make(), "sage")


def test_lengths_that_got_lost_are_noticed() -> None:
    import torch

    q = torch.zeros(1, 2, 4, 8)
    with pytest.raises(AttentionError, match="did not hand the document lengths on"):
        attention._packed_attention(torch.nn.Identity(), q, q, q, torch.empty(1, 1, 0, 0))


def test_a_sliding_window_shorter_than_a_document_is_refused() -> None:
    import torch

    q = torch.zeros(1, 2, 4, 8)
    mask = torch.empty(1, 1, 0, 0)
    attention._packed_attention(torch.nn.Identity(), q, q, q, mask, [4], sliding_window=4)
    with pytest.raises(AttentionError, match="no sliding window"):
        attention._packed_attention(torch.nn.Identity(), q, q, q, mask, [4], sliding_window=3)
