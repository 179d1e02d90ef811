"""A subject as an lm-eval model: `lm_eval.simple_evaluate(model=JournaledLM(subject), ...)` runs through our journal, on any engine.

Importing this module imports lm-eval and torch: do so inside functions.
"""

from __future__ import annotations

from typing import Any

from lm_eval.api.model import LM

from harness.backends.rendering import BackendError, Rendered
from harness.backends.subject import Subject
from harness.lm_eval_suite import generation, response
from harness.suites import Request


class JournaledLM(LM):
    """lm-eval's three methods over one `Subject`; tokenised as lm-eval's `hf` does, answered from the journal where it can."""

    def __init__(self, subject: Subject) -> None:
        """Wrap a subject; the model loads at the first answer that is missing."""
        super().__init__()
        self.subject = subject

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """(sum of log-probabilities, greedy) for each (context, continuation)."""
        asked = [
            Request(kind="loglikelihood", context=r.args[0], continuation=r.args[1], settings={"encoding": "lm_eval"}) for r in requests
        ]
        return self._answers("loglikelihood", asked)

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """The log-probability of each text, windows as lm-eval cuts them."""
        return self._answers(
            "loglikelihood_rolling", [Request(kind="rolling", context=r.args[0], settings={"encoding": "lm_eval"}) for r in requests]
        )

    def generate_until(self, requests: list[Any]) -> list[str]:
        """Greedy text for each (context, generation arguments)."""
        settings = [{"encoding": "lm_eval"} | generation("lm-eval", r.args[1]) for r in requests]
        asked = [Request(kind="generate", context=r.args[0], settings=one) for r, one in zip(requests, settings, strict=True)]
        return self._answers("generate_until", asked)

    def _answers(self, kind: str, requests: list[Request]) -> list[Any]:
        answers, _ = self.subject.answer([self._rendered(request) for request in requests])
        return [response(kind, answer) for answer in answers]

    def _rendered(self, request: Request) -> Rendered:
        try:
            return self.subject.renderer.request(request)
        except UnicodeError as error:
            raise BackendError(f"text that is not Unicode: {error}") from error

    @property
    def tokenizer_name(self) -> str:
        """The tokenizer's digest: lm-eval keys its request cache by it."""
        return self.subject.identity.tokenizer

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation in the tokenizer's own template."""
        return self.subject.renderer.conversation(chat_history, add_generation_prompt)
