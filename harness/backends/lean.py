"""The decoder of the Llama and Qwen2 families as one plain function: transformers' modules cost more than the arithmetic of a small step.

`lean` holds it to the model's own forward before it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Attend = Callable[[int, Any, Any, Any], Any]
FAMILIES = ("LlamaForCausalLM", "Qwen2ForCausalLM")
TOLERANCE = {"float64": 1e-6, "float32": 1e-3, "bfloat16": 0.25, "float16": 0.05}


class Lean:
    """Forward passes over `model`'s own weights. Those that multiply the same input are put side by side; the model's become views of them."""

    def __init__(self, model: Any) -> None:
        """Take a causal language model of `FAMILIES` with every layer seeing the whole past."""
        body = model.get_decoder()
        self.embed, self.norm, self.rotary = body.embed_tokens, body.norm.weight, body.rotary_emb
        self.layers = [
            (
                layer.input_layernorm.weight,
                _beside(layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj),
                (layer.self_attn.o_proj.weight, layer.self_attn.o_proj.bias),
                layer.post_attention_layernorm.weight,
                _beside(layer.mlp.gate_proj, layer.mlp.up_proj),
                (layer.mlp.down_proj.weight, layer.mlp.down_proj.bias),
            )
            for layer in body.layers
        ]
        first = body.layers[0].self_attn
        self.head_dim = first.head_dim
        self.queries = first.q_proj.weight.shape[0] // self.head_dim
        self.turned = self.queries + first.k_proj.weight.shape[0] // self.head_dim
        self.epsilon = body.norm.variance_epsilon
        self.tables: tuple[Any, Any] | None = None

    def _rotation(self, positions_BT: Any, like: Any) -> tuple[Any, Any]:
        """Cosine and sine (B, T, 1, D) of positions, from tables grown as needed; the sine of the first half is negative."""
        import torch

        most = int(positions_BT.max()) + 1
        if self.tables is None or self.tables[0].shape[0] < most:
            every = torch.arange(max(256, 2 * most), device=positions_BT.device)[None]
            cos, sin = (table[0] for table in self.rotary(like, every))
            half = self.head_dim // 2
            self.tables = cos[:, None], torch.cat((-sin[:, :half], sin[:, half:]), dim=-1)[:, None]
        return self.tables[0][positions_BT], self.tables[1][positions_BT]

    def __call__(self, tokens_BT: Any, positions_BT: Any, attend: Attend) -> Any:
        """Return the last states (B, T, H) after the final norm.

        `attend(layer, queries, keys, values)` takes the new ones, (B, heads, T, D), and returns (B, heads of the queries, T, D).
        """
        import torch
        from torch.nn.functional import linear, rms_norm, silu

        x = self.embed(tokens_BT)
        cos, sin = self._rotation(positions_BT, x)
        batch, length, size = x.shape
        half = self.head_dim // 2
        width = (size,)
        for index, (norm, qkv, o, norm_2, gate_up, down) in enumerate(self.layers):
            heads = linear(rms_norm(x, width, norm, self.epsilon), *qkv).view(batch, length, -1, self.head_dim)
            plain = heads[:, :, : self.turned]
            swapped = torch.cat((plain[..., half:], plain[..., :half]), dim=-1)
            turned = torch.addcmul(plain * cos, swapped, sin)
            out = attend(
                index,
                turned[:, :, : self.queries].transpose(1, 2),
                turned[:, :, self.queries :].transpose(1, 2),
                heads[:, :, self.turned :].transpose(1, 2),
            )
            x = x + linear(out.transpose(1, 2).reshape(batch, length, -1), *o)
            gate, up = linear(rms_norm(x, width, norm_2, self.epsilon), *gate_up).chunk(2, dim=-1)
            x = x + linear(silu(gate).mul_(up), *down)
        return rms_norm(x, width, self.norm, self.epsilon)


def _beside(*modules: Any) -> tuple[Any, Any]:
    """Weight and bias of linear layers with one input as those of one layer; their own weights become views of it, so memory does not grow."""
    import torch

    with torch.no_grad():
        weight = torch.cat([module.weight for module in modules])
        for module, part in zip(modules, weight.split([len(module.weight) for module in modules]), strict=True):
            module.weight.data = part
        biases = [module.bias for module in modules if module.bias is not None]
        return weight, torch.cat(biases) if biases else None


def plain(layer: int, query: Any, keys: Any, values: Any) -> Any:
    """Causal attention to the new keys alone."""
    from torch.nn.functional import scaled_dot_product_attention

    return scaled_dot_product_attention(query, keys, values, is_causal=True, enable_gqa=query.shape[1] > keys.shape[1])


def lean(model: Any) -> Lean | None:
    """The plain function of `model`, or None where its family, activation, attention or numbers differ."""
    import torch

    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    if type(model).__name__ not in FAMILIES or getattr(config, "hidden_act", "") != "silu" or config._attn_implementation != "sdpa":
        return None
    if rope.get("rope_type", "default") not in ("default", "linear", "llama3", "yarn"):  # tables that do not move with the length
        return None
    if {weights.device for weights in model.parameters()} != {model.device}:  # spread over devices or disk
        return None
    made = Lean(model)
    with torch.inference_mode():
        tokens = (torch.arange(24, device=model.device).view(2, 12) * 7 + 1) % config.vocab_size
        positions = torch.arange(12, device=model.device).expand(2, -1)
        mine = made(tokens, positions, plain)
        theirs = model.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state
    tolerance = TOLERANCE[str(model.dtype).removeprefix("torch.")]
    return made if bool(torch.allclose(mine, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)) else None
