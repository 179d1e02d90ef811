"""Greedy text from many prompts at once: one cache of keys and values, a slot a sequence, nothing computed for a sequence that has ended.

Every slot has its own length (no padding stands between a prompt and its text), a finished slot is given to the next prompt, and what
neighbouring prompts begin with (system text, shots, a passage) is read once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from harness.backends.lean import Lean, Update, lean

CHUNK = 128  # columns by which the cache grows
SHARED = 32  # tokens that prompts must share for their beginning to be read apart
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
    if plain_head and (found := lean(model)) is not None:
        return found
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


class Greedy:
    """Greedy decoding with one model. `head` maps states (N, H) to float32 logits (N, V)."""

    def __init__(self, forward: Forward, head: Callable[[Any], Any], tokenizer: Any, ends: Sequence[int], device: Any, budget: int) -> None:
        """`ends` end a text; `budget` is how many prompt tokens are read at once."""
        self.forward, self.head, self.tokenizer, self.device, self.budget = forward, head, tokenizer, device, budget
        self.ends = frozenset(ends)
        self._piece = functools.lru_cache(None)(lambda token: tokenizer.decode([token]))

    def __call__(self, prompts: Sequence[Sequence[int]], limit: int, stop: Sequence[str], slots: int) -> Iterator[list[tuple[int, str]]]:
        """Yield (index into `prompts`, text before the first stop or end) as texts end; at most `limit` tokens each."""
        waiting = sorted(range(len(prompts)), key=lambda index: tuple(prompts[index]), reverse=True)
        cache = Slots(min(slots, len(prompts)))
        owners: list[int] = []  # of each slot in use
        written: list[list[int]] = []  # tokens of each slot's text
        lengths: list[int] = []  # tokens in each slot
        while owners or waiting:
            done: list[tuple[int, str]] = []
            free = cache.slots - len(owners)
            if waiting and (not owners or 4 * free >= cache.slots):
                chosen = [waiting.pop() for _ in range(min(free, len(waiting)))]
                firsts = self._read(cache, len(owners), [prompts[index] for index in chosen])
                for index, first in zip(chosen, firsts, strict=True):
                    owners.append(index)
                    written.append([first])
                    lengths.append(len(prompts[index]))
            else:
                for row, token in enumerate(self._step(cache, [text[-1] for text in written], lengths)):
                    written[row].append(token)
                    lengths[row] += 1
            for row in reversed(range(len(owners))):
                if (text := self._ended(written[row], limit, stop)) is not None:
                    done.append((owners[row], text))
                    last = len(owners) - 1
                    if row != last:
                        cache.move(last, row)
                    owners[row], written[row], lengths[row] = owners[last], written[last], lengths[last]
                    del owners[last], written[last], lengths[last]
            if done:
                yield done

    def _ended(self, tokens: Sequence[int], limit: int, stop: Sequence[str]) -> str | None:
        """The finished text, or None while it goes on."""
        if tokens[-1] in self.ends:
            return cut(self.tokenizer.decode(tokens[:-1], skip_special_tokens=True), stop)
        over = len(tokens) >= limit
        if not over and stop and self._may_stop(tokens[-1], tuple(stop)):
            tail = 4 * max(len(word) for word in stop) + 4  # a character is at most four tokens of a byte-level vocabulary
            text = self.tokenizer.decode(tokens[-tail:], skip_special_tokens=True)
            over = any(word in text for word in stop)
        return cut(self.tokenizer.decode(tokens, skip_special_tokens=True), stop) if over else None

    def _may_stop(self, token: int, stop: tuple[str, ...]) -> bool:
        """Whether this token may complete a stop: it holds the stop's last character, or that cannot be told from the token alone."""
        last = {word[-1] for word in stop}
        if any(not character.isascii() or character == " " for character in last):
            return True
        return any(character in self._piece(token) for character in last)

    def _step(self, cache: Slots, tokens: Sequence[int], lengths: Sequence[int]) -> list[int]:
        """Read one token a slot, write its keys and values after the slot's own, return the next tokens."""
        import torch

        rows = torch.arange(len(tokens), device=self.device)
        at = torch.tensor(lengths, device=self.device)
        columns = max(lengths) + 1
        mask = (torch.arange(columns, device=self.device) <= at[:, None])[:, None, None] if min(lengths) + 1 < columns else None
        if mask is None and not isinstance(self.forward, Lean):
            mask = torch.ones(len(tokens), 1, 1, columns, dtype=torch.bool, device=self.device)

        def update(layer: int, keys: Any, values: Any) -> tuple[Any, Any]:
            cache.room(layer, columns, keys)
            mine = []
            for store, new in ((cache.keys[layer], keys), (cache.values[layer], values)):
                store[rows, :, at] = new[:, :, 0]
                mine.append(store[: len(tokens), :, :columns])
            return mine[0], mine[1]

        with torch.inference_mode():
            states = self.forward(torch.tensor(tokens, device=self.device)[:, None], at[:, None], mask, update)
            return self.head(states[:, -1]).argmax(-1).tolist()

    def _read(self, cache: Slots, first: int, prompts: Sequence[Sequence[int]]) -> list[int]:
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
            return self.head(states[torch.arange(len(prompts), device=self.device), ends]).argmax(-1).tolist()


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


def cut(text: str, stop: Sequence[str]) -> str:
    """The text before the first stop."""
    return text[: min((at for at in (text.find(word) for word in stop) if at >= 0), default=len(text))]


def by_transformers(
    model: Any, tokenizer: Any, ends: Sequence[int], prompts: Sequence[Sequence[int]], limit: int, stop: Sequence[str], slots: int
) -> Iterator[list[tuple[int, str]]]:
    """The same as `Greedy` by transformers' own `generate`, for models whose layers do not all see the whole past."""
    import torch
    from transformers import GenerationConfig, StoppingCriteriaList

    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    for start in range(0, len(order), slots):
        batch = order[start : start + slots]
        width = len(prompts[batch[0]])
        tokens = torch.full((len(batch), width), ends[0], dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for row, index in enumerate(batch):
            tokens[row, width - len(prompts[index]) :] = torch.tensor(prompts[index])
            mask[row, width - len(prompts[index]) :] = 1
        settings = GenerationConfig(max_new_tokens=limit, do_sample=False, eos_token_id=list(ends), pad_token_id=ends[0])
        criteria = StoppingCriteriaList([_stopper(tokenizer, stop, width)] if stop else [])
        with torch.inference_mode():
            out = model.generate(
                tokens.to(model.device), attention_mask=mask.to(model.device), generation_config=settings, stopping_criteria=criteria
            )
        done = []
        for index, row in zip(batch, out[:, width:].tolist(), strict=True):
            end = next((at for at, token in enumerate(row) if token in ends), len(row))
            done.append((index, cut(tokenizer.decode(row[:end], skip_special_tokens=True), stop)))
        yield done


def _stopper(tokenizer: Any, stop: Sequence[str], width: int) -> Callable[..., Any]:
    """A stopping criterion, per sequence: one of `stop` stands in the text after the prompt of `width` tokens."""
    import torch

    tail = 4 * max(len(word) for word in stop) + 4  # a character is at most four tokens of a byte-level vocabulary

    def stopped(tokens: Any, scores: Any, **_: Any) -> Any:
        ends = [tokenizer.decode(row[width:][-tail:], skip_special_tokens=True) for row in tokens]
        return torch.tensor([any(word in text for word in stop) for text in ends], device=tokens.device)

    return stopped
