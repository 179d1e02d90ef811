"""Packed rows with intra-document attention that is really on, for every implementation offered (paper 4.2; `algorithms.md` topic 2).

A packed row holds several documents; position i attends to j iff j <= i and both lie in the same document. Implementations:
`packed` (ours, the default on a CPU) runs a causal pass a document and never computes a masked pair; `sdpa`, `eager` and `flex` go through
transformers' own packed masks; `flash` through flash-attn's varlen arguments (CUDA only). Which one runs is no part of a stage's identity.

Positions restart at 0 in every document. The reference counts on across the row; RoPE is relative, so both are the same function in
exact arithmetic, but restarting keeps bfloat16 rotations as exact as at evaluation, and is what transformers' masks are built from.

The token after a document's end is predicted from that end (which sees its own document only), as in the reference: the only positions
without a label are a row's last. That label is a target and no input, so no document's logits depend on another's; and it teaches that
after end-of-document any document may start, which is the prefix that evaluation uses.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Lengths = Sequence[Sequence[int]]

IMPLEMENTATIONS = {
    "packed": "seatrials_packed",
    "sdpa": "sdpa",
    "eager": "eager",
    "flex": "flex_attention",
    "flash": "flash_attention_2",
}
LEAK = {"float32": 1e-3, "float64": 1e-3, "bfloat16": 2e-2, "float16": 2e-2}  # tolerated share of a change that reaches another document


class AttentionError(Exception):
    """Attention that cannot be had here, lengths that do not fit their rows, or documents that see each other."""


def choose(wanted: str, device: str, precision: str) -> str:
    """The implementation that `auto` stands for: `packed` on a CPU; on CUDA `flash` where it is installed and can be had, else `flex`,
    which needs a compiler (triton), else `packed`.

    Any other name of IMPLEMENTATIONS stands for itself. Raises AttentionError for a name that is neither.
    """
    if wanted != "auto":
        if wanted not in IMPLEMENTATIONS:
            raise AttentionError(f"no attention {wanted!r}; there are auto, {', '.join(IMPLEMENTATIONS)}")
        return wanted
    if device != "cuda":
        return "packed"
    if precision == "bfloat16" and importlib.util.find_spec("flash_attn") is not None:
        return "flash"
    return "flex" if importlib.util.find_spec("triton") is not None else "packed"


def use_attention(model: PreTrainedModel, implementation: str) -> None:
    """Switch `model` to one of IMPLEMENTATIONS. Raises AttentionError where it is unknown or cannot run on this machine and model.

    With `packed` the model works as under sdpa wherever no document lengths are given (generation, padded batches).
    """
    import torch

    if implementation not in IMPLEMENTATIONS:
        raise AttentionError(f"no attention {implementation!r}; there are {', '.join(IMPLEMENTATIONS)}")
    if implementation == "flash":
        if not torch.cuda.is_available() or importlib.util.find_spec("flash_attn") is None:
            raise AttentionError("attention 'flash' needs a CUDA device and the flash-attn package (extra `flash`); use 'packed' elsewhere")
        if model.dtype not in (torch.bfloat16, torch.float16) and not torch.is_autocast_enabled("cuda"):
            raise AttentionError(
                f"attention 'flash' computes in bfloat16 or float16, the model is {model.dtype}; load it so or use 'packed'"
            )
    if implementation == "packed":
        _register()
    model.set_attn_implementation(IMPLEMENTATIONS[implementation])


def packed_forward(model: PreTrainedModel, ids_BT: torch.Tensor, lengths: Lengths, isolation: bool = True) -> torch.Tensor:
    """Return logits (B, T, V) of packed rows; `lengths[b]` are row b's document lengths, each >= 1, summing to T.

    `isolation=False` (a planted defect, never a setting) lets the documents of a row see each other.
    """
    return model.get_output_embeddings()(packed_hidden(model, ids_BT, lengths, isolation))


def packed_loss(
    model: PreTrainedModel, ids_BT: torch.Tensor, lengths: Lengths, label_shift: int = 1, isolation: bool = True, chunk: int | None = None
) -> tuple[torch.Tensor, int]:
    """Return (sum of cross-entropies in nats as a float32 scalar, number of labels) of packed rows; the mean is their quotient.

    Position i is labelled by the token at i + label_shift of the same row; a row's last `label_shift` positions have no label, a document's
    last has the next one's first token (see above). `chunk` is how many positions have logits at a time (None: what is
    fast on the device, see training/pretraining/loss.py). Call it on the bare model, not on a DistributedDataParallel wrapper.
    """
    from training.pretraining.loss import sum_cross_entropy

    if not 0 <= label_shift < ids_BT.shape[1]:
        raise AttentionError(f"label_shift {label_shift} does not fit rows of {ids_BT.shape[1]} tokens; it is 1 but for a planted defect")
    head = model.get_output_embeddings()
    kept = ids_BT.shape[1] - label_shift
    hidden_NH = packed_hidden(model, ids_BT, lengths, isolation)[:, :kept].flatten(0, 1)
    labels_N = ids_BT[:, label_shift:].flatten()
    return sum_cross_entropy(hidden_NH, head.weight, labels_N, chunk), labels_N.numel()


def packed_hidden(model: PreTrainedModel, ids_BT: torch.Tensor, lengths: Lengths, isolation: bool = True) -> torch.Tensor:
    """Return the last hidden states (B, T, H), after the final norm, of packed rows. Never uses a cache."""
    import torch

    rows, width = ids_BT.shape
    if len(lengths) != rows or any(sum(row) != width or min(row) < 1 for row in lengths):
        raise AttentionError(
            f"document lengths must be >= 1 and sum to {width} in each of {rows} rows; got {[sum(row) for row in lengths][:8]}"
        )
    if not isolation:
        lengths = [[width]] * rows
    name = model.config._attn_implementation
    if name == "flex_attention" and ids_BT.device.type == "cpu" and torch.is_grad_enabled():
        raise AttentionError("flex attention has no backward on CPU; train with 'packed', or run under torch.no_grad()")
    positions_BT = torch.tensor([[i for length in row for i in range(length)] for row in lengths], device=ids_BT.device)
    extra: dict[str, Any] = {}
    if name == IMPLEMENTATIONS["packed"]:
        # A 4D mask is handed on as it is: this empty one keeps transformers from building T x T, and fails where the lengths got lost.
        extra = {"seatrials_lengths": [length for row in lengths for length in row], "attention_mask": torch.empty(1, 1, 0, 0)}
    elif name == IMPLEMENTATIONS["flash"]:
        extra = varlen_arguments(lengths, ids_BT.device)
    return model.base_model(input_ids=ids_BT, position_ids=positions_BT, use_cache=False, **extra).last_hidden_state


def varlen_arguments(lengths: Lengths, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return transformers' varlen arguments: int32 boundaries (documents + 1,) over the rows laid end to end, and the longest length."""
    import torch

    flat = [length for row in lengths for length in row]
    boundaries = torch.tensor([0, *accumulate(flat)], dtype=torch.int32, device=device)
    return {"cu_seq_lens_q": boundaries, "cu_seq_lens_k": boundaries, "max_length_q": max(flat), "max_length_k": max(flat)}


def attended_pairs(lengths: Lengths) -> int:
    """Count the (query, key) pairs of packed rows, diagonal included: what attention pays for, against T (T + 1) / 2 a row."""
    return sum(length * (length + 1) // 2 for row in lengths for length in row)


def assert_isolated(model: PreTrainedModel, implementation: str) -> None:
    """Raise AttentionError unless, on this very model and device, documents are isolated and `packed_loss` is the model's own loss.

    Run once where training starts (milliseconds). Two rows of three documents; a token of one document is replaced: its own later logits
    must move, all others must not, but for rounding measured against that movement.
    """
    import torch

    if model.config._attn_implementation != IMPLEMENTATIONS.get(implementation):
        raise AttentionError(f"the model runs {model.config._attn_implementation}, not {implementation!r}; call use_attention first")
    lengths = [[4, 7, 5], [9, 1, 6]]
    generator = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(model.config.vocab_size, (2, 16), generator=generator).to(model.device)
    changed_BT = ids_BT.clone()
    changed_BT[0, 0] = (ids_BT[0, 0] + 1) % model.config.vocab_size
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits_BTV = packed_forward(model, ids_BT, lengths).float()
            moved_BT = (packed_forward(model, changed_BT, lengths).float() - logits_BTV).abs().amax(-1)
            loss, _ = packed_loss(model, ids_BT, lengths, chunk=5)
            output = model(input_ids=ids_BT[:1, :4], use_cache=False).logits[0].float()
    finally:
        model.train(training)
    within, across = moved_BT[0, 1:4].max().item(), max(moved_BT[0, 4:].max().item(), moved_BT[1].max().item())
    device = model.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else model.dtype
    tolerance = LEAK[str(dtype).removeprefix("torch.")]
    if not within > 0:
        raise AttentionError(
            "attention probe: a changed token does not reach later tokens of its own document; are the weights broken (all zero)?"
        )
    if not across <= tolerance * within:
        raise AttentionError(
            f"documents are not isolated under attention {implementation!r}: changing one moves another's logits by {across:.2e} "
            f"(its own by {within:.2e}); use attention 'packed', or a transformers version whose packed masks work"
        )
    expected = torch.nn.functional.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten(), reduction="sum")
    scale = logits_BTV.abs().max().item()
    if (output - logits_BTV[0, :4]).abs().max().item() > 10 * tolerance * scale or not torch.isclose(
        loss.float(), expected, rtol=tolerance
    ):
        raise AttentionError(
            f"{type(model).__name__} does more between hidden states and logits than its output embedding; its family is not supported"
        )


def leakage(model: PreTrainedModel, isolation: bool = True, probes: int = 24) -> list[float]:
    """Measure, for each probe, how much of a change in one document reaches the others of its packed row: 0.0 is isolation.

    The model's own forward pass as it trains, `isolation` as the recipe has it. A probe is a row of three documents of random lengths and
    tokens, one token of the first or the second replaced (nothing follows the third that it could reach); the largest movement of the others'
    logits as a share of itself and the largest within the document: under 1, so that no probe outweighs the rest.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    vocabulary, training = model.config.vocab_size, model.training
    model.eval()
    found = []
    try:
        with torch.no_grad():
            for probe in range(probes):
                lengths = torch.randint(2, 12, (3,), generator=generator).tolist()
                ids_BT = torch.randint(vocabulary, (1, sum(lengths)), generator=generator).to(model.device)
                start = sum(lengths[: probe % 2])
                end = start + lengths[probe % 2]
                changed_BT = ids_BT.clone()
                changed_BT[0, start] = (ids_BT[0, start] + 1 + probe) % vocabulary
                before_TV, after_TV = (packed_forward(model, each, [lengths], isolation).float()[0] for each in (ids_BT, changed_BT))
                moved_T = (after_TV - before_TV).abs().amax(-1)
                others = torch.cat([moved_T[:start], moved_T[end:]]).max().item()
                found.append(others / max(others + moved_T[start:end].max().item(), 1e-30))
    finally:
        model.train(training)
    return found


def _register() -> None:
    """Make `seatrials_packed` known to transformers: our attention function, and sdpa's mask where no lengths are given."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(IMPLEMENTATIONS["packed"], _packed_attention)
    AttentionMaskInterface.register(IMPLEMENTATIONS["packed"], sdpa_mask)


def _packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    seatrials_lengths: list[int] | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend a document at a time: query (B, heads, T, d), key and value (B, kv heads, T, d) -> (B, T, heads, d).

    Splitting (whose backward is one concatenation) beat batches of documents of like length, padded or not, and a dense mask.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if seatrials_lengths is None:
        if attention_mask is not None and attention_mask.numel() == 0:
            raise AttentionError(
                f"{type(module).__name__} did not hand the document lengths on to attention; use 'sdpa' for this model family"
            )
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    window = kwargs.get("sliding_window")
    if window is not None and max(seatrials_lengths) > window:
        raise AttentionError(
            f"'packed' has no sliding window ({window} tokens here, a document of {max(seatrials_lengths)}); use 'sdpa' or 'flash'"
        )
    batch, _, width, _ = query.shape
    if len(seatrials_lengths) == batch:  # one document a row
        pieces = [(query, key, value)]
    else:
        # Transposed before they are split: a short document costs more in views, and their backward, than in products.
        flat = (states.transpose(1, 2).flatten(0, 1).transpose(0, 1).unsqueeze(0) for states in (query, key, value))
        pieces = list(zip(*(states.split(seatrials_lengths, dim=2) for states in flat), strict=True))
    results = [
        torch.nn.functional.scaled_dot_product_attention(
            q, k, v, dropout_p=kwargs.get("dropout", 0.0), scale=kwargs.get("scaling"), is_causal=True, enable_gqa=q.shape[1] != k.shape[1]
        ).transpose(1, 2)
        for q, k, v in pieces
    ]
    if len(results) == 1:
        return results[0].contiguous(), None
    return torch.cat(results, dim=1).reshape(batch, width, *results[0].shape[2:]), None
