"""One checkpoint under evaluation: requests in, answers out, from the journal where they are known and from the model where not.

The model is loaded at the first answer that is missing, and never in a replay (`offline`), where a missing answer is an error.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.answers import Answer, AnswerError, Identity, Journal
from harness.backends.engines import Backend, Given, choose
from harness.backends.rendering import Rendered, Renderer, model_window


class MissingAnswers(AnswerError):
    """Answers that a replay needs and the journal lacks; `indices` are those of the requests."""

    def __init__(self, indices: Sequence[int], total: int) -> None:
        super().__init__(f"{len(indices)} of {total} answers are not in the journal; evaluate the checkpoint once without replay")
        self.indices = list(indices)


class Subject:
    """A checkpoint directory with its renderer, its journal and, once needed, its loaded model."""

    def __init__(
        self,
        checkpoint: Path | str,
        journal: Journal,
        *,
        weights: str,
        tokenizer_digest: str,
        reference: Path | str | None = None,
        reference_digest: str = "",
        backend: str = "hf",
        backend_version: str = "",
        dtype: str = "float32",
        attention: str = "sdpa",
        device: str = "cpu",
        batch_tokens: int = 0,
        concurrency: int = 0,
        offline: bool = False,
    ) -> None:
        """Load the tokenizer, not the model. Digests are content digests (hex). Raises BackendError.

        `backend` is a name of `harness.backends.engines` or the URL of a server.
        """
        from training.models.load import load_tokenizer

        self.checkpoint = Path(checkpoint)
        self.tokenizer = load_tokenizer(checkpoint)
        given = Given(
            checkpoint=self.checkpoint,
            tokenizer=self.tokenizer,
            window=model_window(checkpoint),
            reference=reference,
            dtype=dtype,
            attention=attention,
            device=device,
            batch_tokens=batch_tokens,
            concurrency=concurrency,
        )
        engine = choose(backend, given, backend_version)
        self.renderer = Renderer(self.tokenizer, engine.window)
        self.journal = journal
        self.identity = Identity(
            weights=weights,
            tokenizer=tokenizer_digest,
            reference=reference_digest,
            backend=engine.name,
            backend_version=engine.version,
            dtype=engine.dtype,
            attention=engine.attention,
        )
        self.offline = offline
        self.loaded: Backend | None = None
        self._load = engine.load

    def key(self, request: Rendered) -> str:
        """The journal's key of a rendered request."""
        return self.identity.key(
            request.kind, request.context, request.continuation, request.settings, with_reference=request.kind == "logits_difference"
        )

    def answer(self, requests: Sequence[Rendered], progress: Callable[[int, int, int], None] | None = None) -> tuple[list[Answer], int]:
        """Answer the requests in order; returns (answers, how many had to be computed). `progress(done, total, tokens)`.

        Each batch is in the journal before the next begins. Raises MissingAnswers in a replay.
        """
        keys = [self.key(request) for request in requests]
        todo: dict[str, int] = {}
        for index, key in enumerate(keys):
            if requests[index].kind != "fact" and key not in self.journal:
                todo.setdefault(key, index)
        if todo and self.offline:
            raise MissingAnswers(list(todo.values()), len(keys))
        if todo:
            if self.loaded is None:
                self.loaded = self._load()
            names, asked = list(todo), [requests[index] for index in todo.values()]
            done = tokens = 0
            for found, read in self.loaded.answers(asked):
                self.journal.put((names[index], answer) for index, answer in found)
                done, tokens = done + len(found), tokens + read
                if progress is not None:
                    progress(done, len(asked), tokens)
        answers = [self._fact(request) if request.kind == "fact" else self._found(key) for request, key in zip(requests, keys, strict=True)]
        return answers, len(todo)

    def _fact(self, request: Rendered) -> Answer:
        """What the builder measured; no answer of the model, so it is read from the checkpoint and not from the journal."""
        try:
            measured = self._measured[request.settings["name"]]
            if "of" in request.settings:
                measured = measured[request.settings["of"]]
            return {"value": float(measured[request.settings["index"]])}
        except (ValueError, KeyError, IndexError, TypeError):
            return {"value": math.nan}

    @functools.cached_property
    def _measured(self) -> dict[str, Any]:
        """The checkpoint's build.json; empty where there is none that can be read."""
        try:
            found = json.loads((self.checkpoint / "build.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _found(self, key: str) -> Answer:
        answer = self.journal.get(key)
        assert answer is not None
        return answer

    @property
    def facts(self) -> dict[str, Any]:
        """What the numbers rest on, for the summary."""
        identity = self.identity
        named = {
            "backend": identity.backend,
            "backend_version": identity.backend_version,
            "dtype": identity.dtype,
            "attention": identity.attention,
        }
        return {**named, **self.renderer.facts, "damaged_answers": self.journal.damaged}
