"""Greedy text from many prompts at once: one cache of keys and values, a slot a sequence, nothing computed for a sequence that has ended.

Every slot has its own length (no padding stands between a prompt and its text), a finished slot is given to the next prompt, and what
neighbouring prompts begin with (system text, shots, a passage) is read once (`readers.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from harness.backends.readers import Reader, Slots


class Greedy:
    """Greedy decoding with one model, which `reader` reads."""

    def __init__(self, reader: Reader, tokenizer: Any, ends: Sequence[int]) -> None:
        """`ends` end a text."""
        self.reader, self.tokenizer, self.ends = reader, tokenizer, frozenset(ends)
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
                firsts = self.reader.read(cache, len(owners), [prompts[index] for index in chosen])
                for index, first in zip(chosen, firsts, strict=True):
                    owners.append(index)
                    written.append([first])
                    lengths.append(len(prompts[index]))
            else:
                for row, token in enumerate(self.reader.step(cache, [text[-1] for text in written], lengths)):
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
