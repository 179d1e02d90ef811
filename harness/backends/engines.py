"""The engines by name: `hf`, `vllm`, or the URL of an OpenAI-compatible server. Each says what its answers are filed under before it loads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from harness.answers import Answer
from harness.backends.rendering import BackendError, Rendered

NAMES = ("hf", "vllm")


class Backend(Protocol):
    """A loaded model that answers rendered requests."""

    def answers(self, requests: Sequence[Rendered]) -> Iterator[tuple[list[tuple[int, Answer]], int]]:
        """Yield (answers as (index into `requests`, answer), tokens read); every request is answered once. Raises BackendError."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given:
    """What an engine may need to know of a checkpoint and a run. `window` is the model's own, in tokens; 0 leaves a number to the engine."""

    checkpoint: Path
    tokenizer: Any
    window: int
    reference: Path | str | None = None
    dtype: str = "float32"
    attention: str = "sdpa"
    device: str = "cpu"
    batch_tokens: int = 0
    concurrency: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine, chosen and not yet loaded. The first four are part of every journal key; requests are rendered for `window` tokens."""

    name: str
    version: str
    dtype: str
    attention: str
    window: int
    load: Callable[[], Backend]


def choose(backend: str, given: Given, version: str = "") -> Engine:
    """The engine of this name. `version` is that of stored answers in a replay: nothing is then asked of libraries or servers.

    Raises BackendError for a name that there is not, a package that is absent, a server that cannot be reached.
    """
    if backend == "hf":
        return _hf(given, version)
    if backend == "vllm":
        return _vllm(given, version)
    if "://" in backend:
        return _server(backend, given, version)
    raise BackendError(f"no backend {backend!r}: there is {', '.join(NAMES)}, or the URL of a server (http://host:port/v1)")


def _hf(given: Given, version: str) -> Engine:
    from harness.backends import hf

    def load() -> Backend:
        return hf.HFBackend(
            given.checkpoint,
            given.tokenizer,
            dtype=given.dtype,
            attention=given.attention,
            device=given.device,
            reference=given.reference,
            batch_tokens=given.batch_tokens,
        )

    return Engine(name="hf", version=version or hf.version(), dtype=given.dtype, attention=given.attention, window=given.window, load=load)


def _vllm(given: Given, version: str) -> Engine:
    from harness.backends import vllm
    from harness.backends.pieces import SPARE

    attention = "own choice" if given.attention in vllm.OURS else given.attention

    def load() -> Backend:
        return vllm.VLLMBackend(
            given.checkpoint, given.tokenizer, window=given.window, ends=ends(given), dtype=given.dtype, attention=given.attention
        )

    return Engine(
        name="vllm", version=version or vllm.version(), dtype=given.dtype, attention=attention, window=given.window - SPARE, load=load
    )


def _server(url: str, given: Given, version: str) -> Engine:
    from harness.backends import server
    from harness.backends.pieces import SPARE

    # dtype and attention are the server's affair; its version and the URL stand for them.
    fixed = {"name": "server", "dtype": "as served", "attention": "as served"}

    if version:

        def absent() -> Backend:
            raise BackendError(f"{url} is not asked in a replay of stored answers")

        return Engine(**fixed, version=version, window=given.window - SPARE, load=absent)
    found = server.served(url)

    def load() -> Backend:
        return server.ServerBackend(found, given.tokenizer, ends=ends(given), concurrency=given.concurrency)

    return Engine(**fixed, version=found.version, window=server.window_of(found, given.window), load=load)


def ends(given: Given) -> list[int]:
    """Tokens that end a text: what the checkpoint's generation settings, its tokenizer and its document separator say. Raises BackendError."""
    named: Any = None
    for name in ("generation_config.json", "config.json"):
        path = given.checkpoint / name
        if path.is_file():
            named = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
            break
    found = [
        *(named if isinstance(named, list) else [named]),
        given.tokenizer.eos_token_id,
        given.tokenizer.get_vocab().get("<|endoftext|>"),
    ]
    tokens = list(dict.fromkeys(token for token in found if token is not None))
    if not tokens:
        raise BackendError("neither the checkpoint's settings nor the tokenizer names a token that ends a text")
    return tokens
