"""How prompts are read into the slots of a cache, and how a step of decoding is taken: by the plain decoder, or by transformers' modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from harness.backends.packed import Kept as KeptSpans
from harness.backends.packed import Packed, likeliest
from harness.backends.trie import Line, Span, plan

CHUNK = 128  # columns by which the cache grows
SHARED = 32  # tokens that prompts must share for their beginning to be read apart
Update = Callable[[int, Any, Any], tuple[Any, Any]]
Forward = Callable[[Any, Any, Any, Update], Any]


class Kept:
    """A cache in transformers' sense that hands keys and values to `update`."""

    is_compileable = False
    layers: tuple[Any, ...] = ()

    def __init__(self, update: Update) -> None:
        """Take what is told of each layer's keys and values."""
        self._update = update

    def update(self, keys: Any, values: Any, layer: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Called by each layer."""
        return self._update(layer, keys, values)

    def get_seq_length(self, *_: Any) -> int:
        """Unused where positions and mask are given."""
        return 0


def forward_of(model: Any, plain_head: bool) -> Forward:
    """What reads tokens: states (B, T, H) of the decoder, or logits (B, T, V) of a model that adds to its output layer."""
    import torch

    reads = model.get_decoder() if plain_head else model

    def forward(tokens_BT: Any, positions_BT: Any, mask: Any, update: Update) -> Any:
        if mask is None:
            mask = torch.ones(1, 1, tokens_BT.shape[1], tokens_BT.shape[1], dtype=torch.bool, device=tokens_BT.device).tril()
        mask = mask.expand(len(tokens_BT), -1, -1, -1)
        if model.config._attn_implementation != "sdpa":
            mask = torch.zeros(mask.shape, dtype=model.dtype, device=mask.device).masked_fill(~mask, torch.finfo(model.dtype).min)
        out = reads(input_ids=tokens_BT, position_ids=positions_BT, attention_mask=mask, past_key_values=Kept(update), use_cache=True)
        return out.last_hidden_state if plain_head else out.logits

    return forward


class Slots:
    """Keys and values (slots, heads, columns, D) of every layer; rows [0, n) are in use, row r up to its own length."""

    def __init__(self, slots: int) -> None:
        """Nothing is allocated before the first keys show their shape."""
        self.slots = slots
        self.keys: list[Any] = []
        self.values: list[Any] = []

    def room(self, layer: int, columns: int, like: Any) -> None:
        """Have at least `columns` columns in `layer`; old ones are kept."""
        for store in (self.keys, self.values):
            if layer == len(store):
                store.append(like.new_zeros(self.slots, like.shape[1], _chunks(columns), like.shape[3]))
            elif store[layer].shape[2] < columns:
                old = store[layer]
                store[layer] = old.new_zeros(self.slots, old.shape[1], _chunks(columns + columns // 4), old.shape[3])
                store[layer][:, :, : old.shape[2]] = old

    def move(self, source: int, target: int) -> None:
        """Copy a slot over another."""
        import torch

        with torch.inference_mode():
            for layer in (*self.keys, *self.values):
                layer[target] = layer[source]


def _chunks(columns: int) -> int:
    return -(-columns // CHUNK) * CHUNK


class Reader(Protocol):
    """Reads with one model."""

    def read(self, cache: Slots, first: int, prompts: Sequence[Sequence[int]]) -> list[int]:
        """Read prompts into the slots from `first` on; return the token that follows each."""

    def step(self, cache: Slots, tokens: Sequence[int], lengths: Sequence[int]) -> list[int]:
        """Read one token a slot, write its keys and values after the slot's own, return the next tokens."""


class Plain:
    """A reader over the plain decoder: prompts as a trie, without padding; a step without a mask a layer or a module call."""

    def __init__(self, packed: Packed) -> None:
        """Take what runs a trie."""
        self.packed = packed

    def read(self, cache: Slots, first: int, prompts: Sequence[Sequence[int]]) -> list[int]:
        """Read what prompts begin with once, then what is their own."""
        width = max(map(len, prompts))
        kept: KeptSpans = {}
        found = [0] * len(prompts)
        for batch in plan([Line((*prompt, 0), len(prompt)) for prompt in prompts], self.packed.budget):

            def into(layer: int, keys: Any, values: Any, spans: Sequence[Span] = batch.spans) -> None:
                cache.room(layer, width, keys)
                for store, new in ((cache.keys[layer], keys[0]), (cache.values[layer], values[0])):
                    for span in spans:
                        for line in span.lines:
                            store[first + line, :, span.start : span.start + span.end - span.begin] = new[:, span.begin : span.end]

            states = self.packed.states(batch, kept, into)
            if len(batch.picks):
                following = self._likeliest(states)
                for row, line in zip(batch.rows.tolist(), batch.owners.tolist(), strict=True):
                    found[line] = following[row]
        return found

    def step(self, cache: Slots, tokens: Sequence[int], lengths: Sequence[int]) -> list[int]:
        """One token a slot."""
        import torch
        from torch.nn.functional import scaled_dot_product_attention

        count, columns, device = len(tokens), max(lengths) + 1, self.packed.device
        with torch.inference_mode():
            rows, at = torch.arange(count, device=device), torch.tensor(lengths, device=device)
            unseen = torch.arange(columns, device=device) > at[:, None] if min(lengths) + 1 < columns else None
            masks: list[Any] = []

            def attend(layer: int, query: Any, keys: Any, values: Any) -> Any:
                cache.room(layer, columns, keys)
                if unseen is not None and not masks:  # additive, once a step: sdpa would make one of a boolean mask in every layer
                    masks.append(
                        torch.zeros(unseen.shape, dtype=query.dtype, device=device).masked_fill_(unseen, -torch.inf)[:, None, None]
                    )
                mine, its = cache.keys[layer], cache.values[layer]
                mine[rows, :, at], its[rows, :, at] = keys[:, :, 0], values[:, :, 0]
                # The query heads of one key head become its positions: no key is repeated.
                grouped = query.reshape(count, keys.shape[1], -1, query.shape[3])
                mask = masks[0] if masks else None
                out = scaled_dot_product_attention(grouped, mine[:count, :, :columns], its[:count, :, :columns], attn_mask=mask)
                return out.reshape(query.shape)

            states = self.packed.forward(torch.tensor(tokens, device=device)[:, None], at[:, None], attend)
            return self._likeliest(states[:, 0])

    def _likeliest(self, states: Any) -> list[int]:
        import torch

        with torch.inference_mode():
            return likeliest(self.packed.head(states).float()).tolist()


class Masked:
    """A reader over transformers' modules, of any model of which a mask says all there is to say."""

    def __init__(self, forward: Forward, head: Callable[[Any], Any], device: Any, budget: int) -> None:
        """`head` maps what `forward` returns (N, .) to float32 logits (N, V); `budget` is how many prompt tokens are read at once."""
        self.forward, self.head, self.device, self.budget = forward, head, device, budget

    def step(self, cache: Slots, tokens: Sequence[int], lengths: Sequence[int]) -> list[int]:
        """Read one token a slot, write its keys and values after the slot's own, return the next tokens."""
        import torch

        rows = torch.arange(len(tokens), device=self.device)
        at = torch.tensor(lengths, device=self.device)
        columns = max(lengths) + 1
        mask = (torch.arange(columns, device=self.device) <= at[:, None])[:, None, None]

        def update(layer: int, keys: Any, values: Any) -> tuple[Any, Any]:
            cache.room(layer, columns, keys)
            mine = []
            for store, new in ((cache.keys[layer], keys), (cache.values[layer], values)):
                store[rows, :, at] = new[:, :, 0]
                mine.append(store[: len(tokens), :, :columns])
            return mine[0], mine[1]

        with torch.inference_mode():
            states = self.forward(torch.tensor(tokens, device=self.device)[:, None], at[:, None], mask, update)
            return likeliest(self.head(states[:, -1])).tolist()

    def read(self, cache: Slots, first: int, prompts: Sequence[Sequence[int]]) -> list[int]:
        """Read prompts into the slots from `first` on; return the token that follows each. Prompts are sorted, so neighbours share."""
        found: list[int] = []
        for start, end, shared in runs(prompts, self.budget):
            found += self._run(cache, first + start, prompts[start:end], shared)
        return found

    def _run(self, cache: Slots, first: int, prompts: Sequence[Sequence[int]], shared: int) -> list[int]:
        """Prompts whose first `shared` tokens are the same: those once, then the rest of each, padded on the right."""
        import torch

        rows = slice(first, first + len(prompts))
        width = max(len(prompt) for prompt in prompts)
        own = width - shared

        def before(layer: int, keys: Any, values: Any) -> tuple[Any, Any]:
            cache.room(layer, width, keys)
            cache.keys[layer][rows, :, :shared] = keys
            cache.values[layer][rows, :, :shared] = values
            return keys, values

        def after(layer: int, keys: Any, values: Any) -> tuple[Any, Any]:
            cache.room(layer, width, keys)
            cache.keys[layer][rows, :, shared:width] = keys
            cache.values[layer][rows, :, shared:width] = values
            if not shared:
                return keys, values
            return cache.keys[layer][rows, :, :width], cache.values[layer][rows, :, :width]

        with torch.inference_mode():
            mask = None
            if shared:
                tokens = torch.tensor([list(prompts[0][:shared])], device=self.device)
                self.forward(tokens, torch.arange(shared, device=self.device)[None], None, before)
                mask = torch.ones(1, 1, own, width, dtype=torch.bool, device=self.device).tril(shared)
            tokens = torch.zeros(len(prompts), own, dtype=torch.long)
            for row, prompt in enumerate(prompts):
                tokens[row, : len(prompt) - shared] = torch.tensor(prompt[shared:])
            positions = torch.arange(shared, width, device=self.device).expand(len(prompts), -1)
            states = self.forward(tokens.to(self.device), positions, mask, after)
            ends = torch.tensor([len(prompt) - shared - 1 for prompt in prompts], device=self.device)
            return likeliest(self.head(states[torch.arange(len(prompts), device=self.device), ends])).tolist()


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences have in common from their beginning."""
    most = min(len(one), len(other))
    return next((at for at in range(most) if one[at] != other[at]), most)


def runs(prompts: Sequence[Sequence[int]], budget: int) -> Iterator[tuple[int, int, int]]:
    """Cut sorted prompts into runs (start, end, tokens shared), each read at once: at most `budget` tokens with padding.

    A run goes on while that costs fewer tokens than beginning another; what it shares leaves every prompt a token of its own.
    """
    start = 0
    while start < len(prompts):
        shared, width, end = len(prompts[start]) - 1, len(prompts[start]), start + 1
        cost = width
        while end < len(prompts):
            now = min(shared, common(prompts[start], prompts[end]), len(prompts[end]) - 1)
            wide = max(width, len(prompts[end]))
            usable = now if now >= SHARED else 0
            rows = end + 1 - start
            joined = usable + rows * (wide - usable)
            if joined > max(budget, wide) or joined > cost + len(prompts[end]) + SHARED:
                break
            shared, width, cost, end = now, wide, joined, end + 1
        yield start, end, shared if end > start + 1 and shared >= SHARED else 0
        start = end
