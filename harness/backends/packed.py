"""Runs the batches of a trie (`trie.py`) through the plain decoder (`lean.py`): every token once, no padding, no mask.

Attention over a path of the trie is computed node by node: a node's own tokens causally, then everything that goes on from it to all of
its keys. The parts are joined by their logarithms of the sum of exponentials, as flash attention joins its blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from harness.backends.lean import Lean
from harness.backends.trie import Batch, Line, plan

Kept = dict[int, list[tuple[Any, Any]]]  # keys and values (1, heads, T, D) of each layer, by the name of a span
Watch = Callable[[int, Any, Any], None]


class Packed:
    """Scores lines with one model. `head` maps states (N, H) to logits (N, V), at most `rows` at once; `budget` is tokens a batch."""

    def __init__(self, forward: Lean, head: Any, rows: int, budget: int, device: Any) -> None:
        """Nothing is loaded or allocated."""
        self.forward, self.head, self.rows, self.budget, self.device = forward, head, rows, budget, device

    def __call__(self, lines: Sequence[Line], greedy: bool) -> Iterator[tuple[list[tuple[int, float, bool]], int]]:
        """Yield ((line, sum of log-probabilities, whether every token was the likeliest) of what is finished, tokens read) a batch."""
        import numpy as np

        sums, misses = np.zeros(len(lines)), np.zeros(len(lines), dtype=np.int64)
        kept: Kept = {}
        for batch in plan(lines, self.budget):
            logprobs, hits = self._predict(batch, self.states(batch, kept), greedy)
            np.add.at(sums, batch.owners, logprobs)
            np.add.at(misses, batch.owners, ~hits)
            yield [(line, float(sums[line]), not misses[line]) for line in batch.finished], len(batch.tokens)

    def states(self, batch: Batch, kept: Kept, watch: Watch | None = None) -> Any:
        """The states (P, H) that predict. `kept` is brought to what later batches need; `watch` is shown each layer's keys and values."""
        import torch

        new: Kept = {span.name: [] for span in batch.spans if span.name in batch.keep}

        def attend(layer: int, query: Any, keys: Any, values: Any) -> Any:
            for span in batch.spans:
                if span.name in new:  # copies: a view would keep the whole batch
                    new[span.name].append((keys[:, :, span.begin : span.end].clone(), values[:, :, span.begin : span.end].clone()))
            if watch is not None:
                watch(layer, keys, values)
            return joined(query, keys, values, batch, [(*kept[name][layer], until) for name, until in batch.past])

        with torch.inference_mode():
            tokens, positions = (torch.from_numpy(array).to(self.device)[None] for array in (batch.tokens, batch.positions))
            states = self.forward(tokens, positions, attend)[0]
            for name in [name for name in kept if name not in batch.keep]:
                del kept[name]
            kept.update(new)
            return states[torch.from_numpy(batch.picks).to(self.device)]

    def _predict(self, batch: Batch, states: Any, greedy: bool) -> tuple[Any, Any]:
        """Log-probability (float64) and whether it was the likeliest token, of each prediction."""
        import numpy as np
        import torch

        logprobs, hits = [np.zeros(0)], [np.ones(0 if greedy else len(batch.rows), dtype=bool)]
        with torch.inference_mode():
            for start in range(0, len(batch.picks), self.rows):
                logits = self.head(states[start : start + self.rows]).float()
                chosen = slice(*np.searchsorted(batch.rows, (start, start + self.rows)))
                rows, targets = (torch.from_numpy(array[chosen]).to(self.device) for array in (batch.rows - start, batch.targets))
                logprobs.append(log_probability(logits, rows, targets).cpu().numpy())
                if greedy:
                    hits.append(likeliest(logits)[rows.cpu().numpy()] == batch.targets[chosen])
        return np.concatenate(logprobs), np.concatenate(hits)


def log_probability(logits: Any, rows: Any, targets: Any) -> Any:
    """Log-probability (M,), float64, of `targets` in `rows` of float32 logits.

    Over 49,152 entries float32's `cross_entropy` is 1e-5 a token off, always to one side; `logsumexp` is not (measured against float64).
    """
    return logits[rows, targets].double() - logits.logsumexp(-1).double()[rows]


def likeliest(logits: Any) -> Any:
    """The first of the largest of each row, as a NumPy array (torch's own is five times slower on a CPU)."""
    return logits.cpu().numpy().argmax(-1)


def joined(query: Any, keys: Any, values: Any, batch: Batch, past: Sequence[tuple[Any, Any, int]]) -> Any:
    """Attention of N columns, (1, heads, N, D), to what each of them sees of the batch and of the `past` (keys, values, until)."""
    import torch

    if len(batch.spans) == 1 and not past:
        return _attention(query, keys, values, True)[0]
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    sums = torch.empty(query.shape[:3], dtype=torch.float64 if query.dtype == torch.float64 else torch.float32, device=query.device)
    for span in batch.spans:
        own = slice(span.begin, span.end)
        out[:, :, own], sums[:, :, own] = _attention(query[:, :, own], keys[:, :, own], values[:, :, own], True)
    others = [(keys[:, :, s.begin : s.end], values[:, :, s.begin : s.end], s.end, s.until) for s in batch.spans if s.until > s.end]
    for its_keys, its_values, begin, until in (*others, *((k, v, 0, until) for k, v, until in past)):
        more, their = _attention(query[:, :, begin:until], its_keys, its_values, False)
        mine = sums[:, :, begin:until]
        total = torch.logaddexp(mine, their)
        out[:, :, begin:until].lerp_(more, (their - total).exp_()[..., None].to(out.dtype))
        mine.copy_(total)
    return out


def _attention(query: Any, keys: Any, values: Any, causal: bool) -> tuple[Any, Any]:
    """Attention and the logarithm of its sum of exponentials (B, heads, T)."""
    import torch

    found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, keys, values, 0.0, causal)
    return found[0], found[1]
