"""Answers requests with a causal language model on transformers: likelihood, rolling likelihood, greedy text, difference of logits.

Likelihood reads what requests begin with once (`trie.py`, on a CPU for Llama and Qwen2), or the context of an item's choices once
(`trees.py`, everywhere else), and runs the output layer only where a token is predicted, in slices, so that no array of all tokens times
the vocabulary ever exists. Sums are in float64. In float32 neither the batch nor the
sharing moves a log-probability by more than 1e-4; in bfloat16 that is not promised (reference smol.md: up to 0.69 for a long choice).
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.answers import Answer
from harness.backends.decoding import Greedy, by_transformers
from harness.backends.lean import Lean, lean
from harness.backends.packed import Packed, log_probability
from harness.backends.readers import Masked, Plain, forward_of
from harness.backends.rendering import BackendError, Rendered
from harness.backends.trees import Tree, arrays, batches, split, windows, worth_sharing
from harness.backends.trie import Line

SCORER = 3  # raised when this file would give another number for the same request
SLICE_BYTES = 2**24  # of float32 logits held at once
GENERATED_ROWS = 32  # sequences generated together


def version() -> str:
    """The scorer and the libraries below it, as the journal's keys name them."""
    return f"{SCORER} transformers {importlib.metadata.version('transformers')} torch {importlib.metadata.version('torch')}"


class HFBackend:
    """One checkpoint, loaded. `reference` is loaded only when a difference of logits is asked for."""

    def __init__(
        self,
        checkpoint: Path | str,
        tokenizer: Any,
        *,
        dtype: str = "float32",
        attention: str = "sdpa",
        device: str = "cpu",
        reference: Path | str | None = None,
        batch_tokens: int = 0,
    ) -> None:
        """Load the model; `batch_tokens` 0 chooses by device. Raises what `training.models.load.load_model` raises."""
        import torch

        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._load: Callable[[Path | str], Any] = lambda path: _load(path, dtype, attention, self.device)
        self.model = self._load(checkpoint)
        self.tokenizer = tokenizer
        self._reference_path = reference
        self._reference: Any = None
        self.plain_head = _plain_head(self.model, self.device)
        self.shares = attention in ("sdpa", "eager") and _full_attention(self.model.config)
        vocabulary = self.model.get_output_embeddings().weight.shape[0]
        self.batch_tokens = batch_tokens or (2048 if self.device == "cpu" else 16384)
        if not self.plain_head:
            self.batch_tokens = min(self.batch_tokens, max(1, 2**27 // vocabulary))
        self.rows = max(1, SLICE_BYTES // (4 * vocabulary))

    def answers(self, requests: Sequence[Rendered]) -> Iterator[tuple[list[tuple[int, Answer]], int]]:
        """Yield (answers as (index into `requests`, answer), tokens read) batch by batch; every request is answered once."""
        by_kind: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            by_kind.setdefault(request.kind, []).append(index)
        for kind, indices in by_kind.items():
            work = {"loglikelihood": self._loglikelihood, "whole": self._whole, "rolling": self._rolling, "generate": self._generate}.get(
                kind, self._difference
            )
            for found, tokens in work([requests[index] for index in indices]):
                yield [(indices[index], answer) for index, answer in found], tokens

    # -------------------------------------------------------------------------------------------------------- likelihood

    def _loglikelihood(self, requests: Sequence[Rendered]) -> Iterator[tuple[list[tuple[int, Answer]], int]]:
        if self._packed is not None:
            lines = [Line(request.context + request.continuation, len(request.context)) for request in requests]
            for found, read in self._packed(lines, greedy=True):
                yield (
                    [(at, {"logprob": sum_, "tokens": len(requests[at].continuation), "greedy": greedy}) for at, sum_, greedy in found],
                    read,
                )
            return
        for batch in batches(self._trees(requests), self.batch_tokens):
            sums, greedy = self._score(batch, greedy=True)
            yield (
                [
                    (owner, {"logprob": sums[owner], "tokens": len(requests[owner].continuation), "greedy": greedy[owner]})
                    for tree in batch
                    for owner in tree.owners
                ],
                sum(tree.length for tree in batch),
            )

    def _trees(self, requests: Sequence[Rendered], whole: bool = False) -> list[Tree]:
        """A row for each context; `whole` has its tokens predicted too."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(request.context if self.shares else (index,), []).append(index)
        found: list[Tree] = []
        for number, group in enumerate(groups.values(), len(requests)):
            continuations = tuple(requests[index].continuation for index in group)
            tree = Tree(requests[group[0]].context, continuations, tuple(group), number if whole else None)
            found += [tree] if worth_sharing(tree) and not (whole and len(group) == 1) else split(tree)
        return found

    def _whole(self, requests: Sequence[Rendered]) -> Iterator[tuple[list[tuple[int, Answer]], int]]:
        """Whole texts, all but their first token predicted; the beginning that texts share (`context`) is read and predicted once."""
        counts = [len(request.context) + len(request.continuation) for request in requests]
        if self._packed is not None:
            lines = [Line(request.context + request.continuation, 1) for request in requests]
            for found, read in self._packed(lines, greedy=False):
                yield [(at, {"logprob": sum_, "tokens": counts[at]}) for at, sum_, _ in found], read
            return
        for batch in batches(self._trees(requests, whole=True), self.batch_tokens):
            sums, _ = self._score(batch, greedy=False)
            done: list[tuple[int, Answer]] = []
            for tree in batch:
                shared = sums.get(tree.whole, 0.0) if tree.whole is not None else 0.0
                done += [(owner, {"logprob": shared + sums[owner], "tokens": counts[owner]}) for owner in tree.owners]
            yield done, sum(tree.length for tree in batch)

    def _rolling(self, requests: Sequence[Rendered]) -> Iterator[tuple[list[tuple[int, Answer]], int]]:
        lines: list[Line] = []
        owner_of: list[int] = []
        waiting: list[dict[int, float | None]] = []
        for index, request in enumerate(requests):
            text, full = request.continuation, request.context + request.continuation
            parts: dict[int, float | None] = {}
            for begin, first, end in windows(len(text), request.settings["window"], request.settings["stride"]):
                parts[len(lines)] = None
                owner_of.append(index)
                lines.append(Line(full[begin : end + 1], first + 1 - begin))
            waiting.append(parts)
        for found, read in self._windows(lines):
            done: list[tuple[int, Answer]] = []
            for part, value in found:
                index = owner_of[part]
                waiting[index][part] = value
                values = [value for value in waiting[index].values() if value is not None]
                if len(values) == len(waiting[index]):
                    done.append((index, {"logprob": sum(values), "tokens": len(requests[index].continuation)}))
            yield done, read

    def _windows(self, lines: Sequence[Line]) -> Iterator[tuple[list[tuple[int, float]], int]]:
        if self._packed is not None:
            for found, read in self._packed(lines, greedy=False):
                yield [(part, value) for part, value, _ in found], read
            return
        trees = [Tree(line.tokens[: line.first], (line.tokens[line.first :],), (part,)) for part, line in enumerate(lines)]
        for batch in batches(trees, self.batch_tokens):
            sums, _ = self._score(batch, greedy=False)
            yield [(tree.owners[0], sums[tree.owners[0]]) for tree in batch], sum(tree.length for tree in batch)

    @functools.cached_property
    def _lean(self) -> Lean | None:
        return lean(self.model) if self.plain_head and self.shares else None

    @functools.cached_property
    def _packed(self) -> Packed | None:
        """Every beginning read once, where the decoder is one that we have as a plain function; elsewhere `trees.py`."""
        if self._lean is None or self.model.device.type != "cpu":
            return None
        return Packed(self._lean, self.model.get_output_embeddings(), self.rows, self.batch_tokens, self.device)

    def _score(self, trees: Sequence[Tree], greedy: bool) -> tuple[Mapping[int, float], Mapping[int, bool]]:
        """Sum of log-probabilities, and whether every token was the likeliest, by owner."""
        import numpy as np
        import torch

        batch = arrays(trees)
        with torch.inference_mode():
            tokens = torch.from_numpy(batch.tokens).to(self.device)
            extra: dict[str, Any] = {}
            if batch.branching:
                extra = {"attention_mask": self._mask(batch.segments), "position_ids": torch.from_numpy(batch.positions).to(self.device)}
            picks = torch.from_numpy(batch.picks).to(self.device)
            targets = torch.from_numpy(batch.targets).to(self.device)
            found, likeliest = [], []
            for start, logits in self._logits(self.model, self.plain_head, tokens, picks, extra):
                target = targets[start : start + self.rows]
                found.append(log_probability(logits, torch.arange(len(target), device=self.device), target).cpu())
                if greedy:
                    likeliest.append((logits.argmax(-1) == target).cpu())
            logprobs = torch.cat(found).numpy()
        owners, inverse = np.unique(batch.owners, return_inverse=True)
        sums = np.bincount(inverse, weights=logprobs)
        hits = (
            np.bincount(inverse, weights=torch.cat(likeliest).numpy()) == np.bincount(inverse)
            if greedy
            else np.zeros(len(owners), dtype=bool)
        )
        return dict(zip(owners.tolist(), sums.tolist(), strict=True)), dict(zip(owners.tolist(), hits.tolist(), strict=True))

    def _logits(self, model: Any, plain: bool, tokens: Any, picks: Any, extra: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
        """Yield (start, float32 logits of `rows` picked states) slice by slice."""
        if plain:
            states = model.get_decoder()(input_ids=tokens, use_cache=False, **extra).last_hidden_state.flatten(0, 1)
            head = model.get_output_embeddings()
        else:  # models that scale or cap their logits after the output layer
            states, head = model(input_ids=tokens, use_cache=False, **extra).logits.flatten(0, 1), None
        for start in range(0, len(picks), self.rows):
            chosen = states[picks[start : start + self.rows]]
            yield start, (head(chosen) if head is not None else chosen).float()

    def _mask(self, segments: Any) -> Any:
        """(B, 1, T, T) of what sees what: a branch its prefix and itself, causally. Boolean for sdpa, additive for eager."""
        import torch

        segment = torch.from_numpy(segments).to(self.device)
        same = segment[:, None, :] == segment[:, :, None]
        seen = (same | (segment[:, None, :] == 0)).tril()[:, None]
        if self.model.config._attn_implementation == "sdpa":
            return seen
        dtype = self.model.dtype
        return torch.zeros(seen.shape, dtype=dtype, device=self.device).masked_fill(~seen, torch.finfo(dtype).min)

    # -------------------------------------------------------------------------------------------------------- difference

    def _difference(self, requests: Sequence[Rendered]) -> Iterator[tuple[list[tuple[int, Answer]], int]]:
        import torch

        if self._reference is None:
            if self._reference_path is None:
                raise BackendError('a difference of logits needs a reference checkpoint: give the suite `reference = "parent"`')
            self._reference = self._load(self._reference_path)
        plain = _plain_head(self._reference, self.device)
        for index, request in enumerate(requests):
            with torch.inference_mode():
                tokens = torch.tensor([request.context], device=self.device)
                picks = torch.arange(len(request.context), device=self.device)
                pairs = zip(
                    self._logits(self.model, self.plain_head, tokens, picks, {}),
                    self._logits(self._reference, plain, tokens, picks, {}),
                    strict=True,
                )
                gaps = []
                for (_, mine), (_, theirs) in pairs:
                    width = min(mine.shape[-1], theirs.shape[-1])  # a trimmed vocabulary keeps its first rows
                    gaps.append((mine[:, :width] - theirs[:, :width]).abs().max())
                worst = float(torch.stack(gaps).max())
            yield [(index, {"max_abs": worst})], 2 * len(request.context)

    # ---------------------------------------------------------------------------------------------------------- generate

    def _generate(self, requests: Sequence[Rendered]) -> Iterator[tuple[list[tuple[int, Answer]], int]]:
        groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault((request.settings["max_tokens"], tuple(request.settings["stop"])), []).append(index)
        for (limit, stop), members in groups.items():
            contexts = [requests[index].context for index in members]
            for found in self._greedy(contexts, limit, stop, self.slots([requests[index] for index in members])):
                read = sum(len(contexts[row]) for row, _ in found)
                yield [(members[row], {"text": text}) for row, text in found], read + len(found) * limit

    def slots(self, requests: Sequence[Rendered]) -> int:
        """How many of these texts are generated at once: their cache is what bounds it."""
        width = max(len(request.context) + request.settings["max_tokens"] for request in requests)
        return max(1, min(GENERATED_ROWS, 4 * self.batch_tokens // width))

    @functools.cached_property
    def _greedy(self) -> Callable[..., Iterator[list[tuple[int, str]]]]:
        """Decoding of our own where a mask says all there is to say, else transformers' `generate`."""
        ends = self._ends()
        if not self.shares:
            return functools.partial(by_transformers, self.model, self.tokenizer, ends)
        if self._packed is not None:
            return Greedy(Plain(self._packed), self.tokenizer, ends)
        output = self.model.get_output_embeddings() if self.plain_head else None
        reader = Masked(
            forward_of(self.model, self.plain_head),
            lambda states: (output(states) if output is not None else states).float(),
            self.device,
            self.batch_tokens,
        )
        return Greedy(reader, self.tokenizer, ends)

    def _ends(self) -> list[int]:
        """Tokens that end a text: what the checkpoint's generation settings, its tokenizer and its document separator say."""
        named = getattr(self.model.generation_config, "eos_token_id", None)
        found = [
            *(named if isinstance(named, list) else [named]),
            self.tokenizer.eos_token_id,
            self.tokenizer.get_vocab().get("<|endoftext|>"),
        ]
        ends = list(dict.fromkeys(token for token in found if token is not None))
        if not ends:
            raise BackendError("neither the model nor the tokenizer names a token that ends a text")
        return ends


def _load(path: Path | str, dtype: str, attention: str, device: str) -> Any:
    from training.models.load import load_model

    return load_model(path, dtype=dtype, attention=attention, device=device).eval()


def _plain_head(model: Any, device: str) -> bool:
    """Whether logits are the output layer over the decoder's last state, and nothing else (Gemma, Cohere and Granite add to it)."""
    import torch

    with torch.inference_mode():
        tokens = torch.arange(1, 9, device=device)[None] % model.config.get_text_config().vocab_size
        whole = model(input_ids=tokens, use_cache=False).logits
        ours = model.get_output_embeddings()(model.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state)
    return whole.shape == ours.shape and bool(torch.allclose(whole, ours, rtol=1e-3, atol=1e-3, equal_nan=True))


def _full_attention(config: Any) -> bool:
    """Whether every layer sees the whole past, so that a mask of ours says all there is to say."""
    kinds = getattr(config, "layer_types", None) or ()
    return all(kind == "full_attention" for kind in kinds) and not (getattr(config, "sliding_window", None) and not kinds)
