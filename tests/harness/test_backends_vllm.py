"""vLLM as a backend. Where vLLM is installed its own numbers are compared with transformers'; elsewhere a stand-in for its engine that is
computed in float64 checks what it is asked and how its replies are read, and its absence is one clear error."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import types
from typing import Any

import pytest

from harness.answers import Journal
from harness.backends import vllm as backend
from harness.backends.hf import HFBackend
from harness.backends.rendering import BackendError, Rendered
from harness.backends.subject import Subject
from harness.suites import Request, Sample
from tests.harness.checkpoints import TEXTS, checkpoint, logprobs
from training.models.load import load_tokenizer

PRESENT = importlib.util.find_spec("vllm") is not None


def sample() -> Sample:
    requests: list[Request] = []
    for text in TEXTS:
        requests += [Request(kind="loglikelihood", context=text[:15], continuation=end) for end in (text[15:25], " rice", " จ")]
        requests += [Request(kind="rolling", context=text * 2), Request(kind="rolling", context=text[:40], settings={"first": "unscored"})]
        requests.append(Request(kind="generate", context=text[:12], settings={"max_tokens": 6, "stop": ["a"]}))
        requests.append(Request(kind="generate", context=text[:9], settings={"max_tokens": 6}))
    return Sample(sample="s", cluster="c", language="eng", requests=tuple(requests))


def compared(tmp_path, path) -> Subject:
    journal = Journal(tmp_path / "store", "a" * 64)
    subject = Subject(path, journal, weights="a" * 64, tokenizer_digest="b" * 64, backend="vllm")
    requests = subject.renderer.sample(sample())
    ours, _ = subject.answer(requests)
    found = [pair for batch, _ in HFBackend(path, load_tokenizer(path)).answers(requests) for pair in batch]
    theirs = [answer for _, answer in sorted(found, key=lambda pair: pair[0])]
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert value == (pytest.approx(other[name], abs=5e-4) if name == "logprob" else other[name]), name
    return subject


def test_without_vllm_the_error_names_the_extra(tmp_path):
    if PRESENT:
        pytest.skip("vLLM is installed")
    with pytest.raises(BackendError, match=r"seatrials\[vllm\].*vllm serve"):
        Subject(checkpoint(), Journal(tmp_path, "a" * 64), weights="a", tokenizer_digest="b", backend="vllm")


@pytest.mark.slow
def test_vllm_itself(tmp_path):
    if not PRESENT:
        pytest.skip("vLLM is not installed (its own environment: see README, backends)")
    compared(tmp_path, checkpoint(context=64, hidden=128))  # heads of 32: vLLM has no CPU kernel for heads of 8


# --------------------------------------------------------------------------------------------------------------- stand-in


@dataclasses.dataclass
class Settings:
    """vLLM's SamplingParams, as far as they are used: an unknown field is an error here as there."""

    temperature: float
    max_tokens: int
    stop: list[str] | None = None
    stop_token_ids: list[int] | None = None
    prompt_logprobs: int | None = None
    detokenize: bool = True


@pytest.fixture
def engine(monkeypatch):
    """A module `vllm` whose engine computes with transformers; `engine.made` holds what engines were asked for."""
    module: Any = types.ModuleType("vllm")
    module.made, module.batches, module.cpu = [], [], True

    class LLM:
        def __init__(self, model: str, **options: Any) -> None:
            module.made.append({"model": model, **options})
            if options["dtype"] == "float16":
                raise ValueError("no float16 on this device")
            self.path, self.window = model, options["max_model_len"]

        def generate(self, prompts: list[dict[str, Any]], settings: Any, use_tqdm: bool) -> list[Any]:
            module.batches.append(len(prompts))
            each = settings if isinstance(settings, list) else [settings] * len(prompts)
            return [self._one(prompt["prompt_token_ids"], one) for prompt, one in zip(prompts, each, strict=True)]

        def _one(self, tokens: list[int], settings: Settings) -> Any:
            if len(tokens) + settings.max_tokens > self.window:
                raise ValueError(f"{len(tokens)} tokens and {settings.max_tokens} more do not fit into {self.window}")
            scores = None
            if settings.prompt_logprobs is not None:
                rows = logprobs(self.path, tokens)
                ranks = [1 + int((row > row[token]).sum()) for row, token in zip(rows, tokens[1:], strict=True)]
                scores = [None] + [
                    {token: types.SimpleNamespace(logprob=float(row[token]), rank=rank)}
                    for row, token, rank in zip(rows, tokens[1:], ranks, strict=True)
                ]
            made: list[int] = []
            while len(made) < settings.max_tokens and not (made and made[-1] in (settings.stop_token_ids or ())):
                made.append(int(logprobs(self.path, [*tokens, *made, 0])[-1].argmax()))
            return types.SimpleNamespace(prompt_logprobs=scores, outputs=[types.SimpleNamespace(token_ids=made, text="not used")])

    module.LLM, module.SamplingParams = LLM, Settings
    inputs: Any = types.ModuleType("vllm.inputs")
    inputs.TokensPrompt = dict
    platforms: Any = types.ModuleType("vllm.platforms")
    platforms.current_platform = types.SimpleNamespace(is_cpu=lambda: module.cpu)
    for name, one in (("vllm", module), ("vllm.inputs", inputs), ("vllm.platforms", platforms)):
        monkeypatch.setitem(sys.modules, name, one)
    for name in ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_LOGGING_LEVEL", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "1")  # set here, so that it is unset again
    monkeypatch.setattr(backend, "version", lambda: "1 vllm stand-in")
    return module


def test_its_replies_are_the_models_numbers(tmp_path, engine):
    path = checkpoint(context=64)
    subject = compared(tmp_path, path)
    made = engine.made[0]
    assert made["max_model_len"] == 64
    assert subject.renderer.window == 62  # a prompt's last token is read too, and one more is asked for: the stand-in refuses else
    assert (made["dtype"], made["trust_remote_code"], made["enforce_eager"]) == ("float32", False, True)
    assert "attention_backend" not in made
    assert (subject.identity.backend, subject.identity.backend_version) == ("vllm", "1 vllm stand-in")


def test_each_batch_is_kept_before_the_next(tmp_path, engine, monkeypatch):
    monkeypatch.setattr(backend, "TOGETHER", 4)
    path = checkpoint(context=64)
    subject = Subject(path, Journal(tmp_path, "a" * 64), weights="a", tokenizer_digest="b", backend="vllm")
    requests = [Rendered(kind="loglikelihood", context=(0, 7), continuation=(number,)) for number in range(1, 11)]
    seen = []
    subject.answer(requests, lambda done, total, tokens: seen.append((done, total)))
    assert engine.batches == [4, 4, 2]
    assert seen == [(4, 10), (8, 10), (10, 10)]


def test_options_reach_the_engine_and_the_key(tmp_path, engine):
    engine.cpu = False
    path = checkpoint(context=64)
    options = {"weights": "a", "tokenizer_digest": "b", "backend": "vllm"}
    one = Subject(path, Journal(tmp_path, "a" * 64), **options)
    two = Subject(path, Journal(tmp_path, "a" * 64), **options, dtype="bfloat16", attention="FLASH_ATTN")
    request = Rendered(kind="loglikelihood", context=(0,), continuation=(1,))
    two.answer([request])
    assert (engine.made[0]["dtype"], engine.made[0]["attention_backend"]) == ("bfloat16", "FLASH_ATTN")
    assert "gpu_memory_utilization" not in engine.made[0]  # vLLM's own on a GPU
    assert one.key(request) != two.key(request)
    with pytest.raises(BackendError, match=r"vLLM cannot load .*no float16"):
        Subject(path, Journal(tmp_path, "a" * 64), **options, dtype="float16").answer([request])


def test_a_prompt_that_it_refuses_and_a_kind_that_it_cannot_answer(tmp_path, engine):
    subject = Subject(checkpoint(context=64), Journal(tmp_path, "a" * 64), weights="a", tokenizer_digest="b", backend="vllm")
    with pytest.raises(BackendError, match="vLLM cannot answer: 64 tokens"):
        subject.answer([Rendered(kind="loglikelihood", context=(1,) * 63, continuation=(1,))])
    with pytest.raises(BackendError, match="evaluate this suite with hf"):
        subject.answer([Rendered(kind="logits_difference", context=(0, 1))])
