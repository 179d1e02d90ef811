"""The decoder of the Llama and Qwen2 families as one plain function: transformers' modules cost more than the arithmetic of a small step.

The same weights, the same order of operations; `matches` holds it to the model's own forward before it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Update = Callable[[int, Any, Any], tuple[Any, Any]]
FAMILIES = ("LlamaForCausalLM", "Qwen2ForCausalLM")
TOLERANCE = {"float64": 1e-6, "float32": 1e-3, "bfloat16": 0.25, "float16": 0.05}


class Lean:
    """Forward passes over `model`'s own tensors (nothing is copied)."""

    def __init__(self, model: Any) -> None:
        """Take a causal language model of `FAMILIES` with every layer seeing the whole past."""
        body = model.get_decoder()
        self.body, self.embed, self.norm, self.rotary = body, body.embed_tokens, body.norm, body.rotary_emb
        self.layers = [
            (
                *((one.weight, one.bias) for one in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)),
                (layer.self_attn.o_proj.weight, layer.self_attn.o_proj.bias),
                layer.input_layernorm.weight,
                layer.post_attention_layernorm.weight,
                *((one.weight, one.bias) for one in (layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj)),
            )
            for layer in body.layers
        ]
        first = body.layers[0].self_attn
        self.head_dim, self.scale = first.head_dim, first.scaling
        self.epsilon = body.norm.variance_epsilon
        self.tables: tuple[Any, Any] | None = None

    def _rotation(self, positions_BT: Any, like: Any) -> tuple[Any, Any]:
        """Cosine and sine (B, 1, T, D) of positions, from tables grown as needed."""
        import torch

        most = int(positions_BT.max()) + 1
        if self.tables is None or self.tables[0].shape[0] < most:
            every = torch.arange(max(256, 2 * most), device=positions_BT.device)[None]
            self.tables = tuple(table[0] for table in self.rotary(like, every))  # type: ignore[assignment]
        assert self.tables is not None
        return self.tables[0][positions_BT][:, None], self.tables[1][positions_BT][:, None]

    def __call__(self, tokens_BT: Any, positions_BT: Any, mask: Any, update: Update) -> Any:
        """Return the last states (B, T, H) after the final norm.

        `update(layer, keys, values)` keeps a layer's new keys and values (B, heads, T, D) and returns all that is attended to.
        `mask` is boolean, (B or 1, 1, T, columns); None is causal.
        """
        from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention, silu

        x = self.embed(tokens_BT)
        cos, sin = self._rotation(positions_BT, x)
        batch, length, size = x.shape
        half = self.head_dim // 2
        width = (size,)
        for index, (q, k, v, o, norm, norm_2, gate, up, down) in enumerate(self.layers):
            y = rms_norm(x, width, norm, self.epsilon)
            heads = [linear(y, *one).view(batch, length, -1, self.head_dim).transpose(1, 2) for one in (q, k, v)]
            turned = []
            for one in heads[:2]:
                left, right = one[..., :half], one[..., half:]
                turned.append(one * cos + _swapped(left, right) * sin)
            query = turned[0]
            keys, values = update(index, turned[1], heads[2])
            shared = query.shape[1] // keys.shape[1]
            if length == 1:  # the query heads of one key head become its positions: no key is repeated
                query = query.reshape(batch, keys.shape[1], shared, self.head_dim)
                out = scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=self.scale).reshape(batch, 1, -1)
            else:
                out = scaled_dot_product_attention(
                    query, keys, values, attn_mask=mask, is_causal=mask is None, scale=self.scale, enable_gqa=shared > 1
                )
                out = out.transpose(1, 2).reshape(batch, length, -1)
            x = x + linear(out, *o)
            y = rms_norm(x, width, norm_2, self.epsilon)
            x = x + linear(silu(linear(y, *gate)) * linear(y, *up), *down)
        return rms_norm(x, width, self.norm.weight, self.epsilon)


def _swapped(left: Any, right: Any) -> Any:
    import torch

    return torch.cat((-right, left), dim=-1)


def lean(model: Any) -> Lean | None:
    """The plain function of `model`, or None where its family, activation, attention or numbers differ."""
    import torch

    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    if type(model).__name__ not in FAMILIES or getattr(config, "hidden_act", "") != "silu" or config._attn_implementation != "sdpa":
        return None
    if rope.get("rope_type", "default") not in ("default", "linear", "llama3", "yarn"):  # tables that do not move with the length
        return None
    made = Lean(model)
    with torch.inference_mode():
        tokens = (torch.arange(24, device=model.device).view(2, 12) * 7 + 1) % config.vocab_size
        positions = torch.arange(12, device=model.device).expand(2, -1)
        mine = made(tokens, positions, None, lambda layer, keys, values: (keys, values))
        theirs = model.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state
    tolerance = TOLERANCE[str(model.dtype).removeprefix("torch.")]
    return made if bool(torch.allclose(mine, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)) else None
