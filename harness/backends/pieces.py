"""What one sequence scored on its own says of a request: for engines that give the log-probability of every token of a prompt.

vLLM and the OpenAI-compatible servers read a prompt and report each token's log-probability. A request becomes pieces (one, or one a window
of a long text), each a prompt of token ids and the place where its predicted tokens begin; the pieces' sums become the request's answer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from harness.answers import Answer
from harness.backends.rendering import BackendError, Rendered
from harness.backends.trees import windows

# Such an engine also reads the last token (which only has to be predicted) and must be asked for one token more.
SPARE = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """`tokens` is the whole prompt; those from `first` on (never 0) are predicted, for the request `owner`."""

    owner: int
    tokens: tuple[int, ...]
    first: int


@dataclasses.dataclass(frozen=True, slots=True)
class Scored:
    """The sum of the predicted tokens' log-probabilities (natural, float64), and whether each was the likeliest."""

    logprob: float
    greedy: bool


def pieces(owner: int, request: Rendered) -> list[Piece]:
    """The prompts to score for a likelihood request. Raises BackendError for a kind that log-probabilities do not answer."""
    full = request.context + request.continuation
    if request.kind == "loglikelihood":
        return [Piece(owner, full, len(request.context))]
    if request.kind == "whole":
        return [Piece(owner, full, 1)]
    if request.kind == "rolling":
        spans = windows(len(request.continuation), request.settings["window"], request.settings["stride"])
        return [Piece(owner, full[begin : end + 1], first + 1 - begin) for begin, first, end in spans]
    raise BackendError(f"only backend hf answers {request.kind} requests: it needs the logits themselves; evaluate this suite with hf")


class Sums:
    """Gathers the pieces of requests, in whatever order they come."""

    def __init__(self, requests: Sequence[Rendered], asked: Sequence[Piece]) -> None:
        """Take all requests (a piece's `owner` is an index into them) and all pieces that will come."""
        self._requests = requests
        self._left: dict[int, int] = {}
        for piece in asked:
            self._left[piece.owner] = self._left.get(piece.owner, 0) + 1
        self._found: dict[int, list[Scored]] = {}

    def add(self, piece: Piece, scored: Scored) -> Answer | None:
        """Take one piece; the answer of its request once it was the last."""
        found = self._found.setdefault(piece.owner, [])
        found.append(scored)
        if len(found) < self._left[piece.owner]:
            return None
        request, logprob = self._requests[piece.owner], math.fsum(one.logprob for one in self._found.pop(piece.owner))
        if request.kind == "loglikelihood":
            return {"logprob": logprob, "tokens": len(request.continuation), "greedy": found[0].greedy}
        if request.kind == "whole":
            return {"logprob": logprob, "tokens": len(request.context) + len(request.continuation)}
        return {"logprob": logprob, "tokens": len(request.continuation)}


def cut(text: str, stop: Sequence[str]) -> str:
    """The text before the first of `stop`."""
    return text[: min((at for at in (text.find(word) for word in stop) if at >= 0), default=len(text))]


def decoded(tokenizer: Any, tokens: Sequence[int], ends: Sequence[int], stop: Sequence[str]) -> str:
    """The text of generated tokens before the first end and the first stop, as backend hf decodes it.

    vLLM's own text leaves out the last tokens where they end within a character (seen: two tokens of Khmer): its tokens are the answer.
    """
    end = next((at for at, token in enumerate(tokens) if token in ends), len(tokens))
    return cut(str(tokenizer.decode(list(tokens[:end]), skip_special_tokens=True)), stop)
