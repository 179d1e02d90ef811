"""Tiny random checkpoints for the evaluation tests: a Qwen2- or Llama-family model and a byte-level BPE, made once a process."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

TEXTS = (
    "The boat to the harbour leaves in the morning, and the market by the river sells mango, rice and fish to everyone who comes.",
    "Thuyền rời bến cảng vào buổi sáng, và chợ bên sông bán xoài, gạo và cá cho mọi người.",
    "เรือออกจากท่าเรือในตอนเช้า และตลาดริมแม่น้ำขายมะม่วง ข้าว และปลา",
    "Perahu berangkat dari pelabuhan pada pagi hari, dan pasar di tepi sungai menjual mangga, beras dan ikan.",
)


def tokenizer(texts: tuple[str, ...] = TEXTS, chat_template: str | None = None) -> Any:
    """A byte-level BPE with <|endoftext|> as its end of text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator(texts, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    made.chat_template = chat_template
    return made


@functools.cache
def checkpoint(
    seed: int = 0,
    family: str = "qwen2",
    context: int = 64,
    chat_template: str | None = None,
    layers: int = 2,
    texts: tuple[str, ...] = TEXTS,
    hidden: int = 32,
) -> Path:
    """A saved checkpoint with weights drawn from `seed`, large enough in scale that predictions differ."""
    import torch

    from training.models.load import new_model, save_checkpoint
    from training.recipe import Architecture

    directory = Path(tempfile.mkdtemp(prefix="seatrials-checkpoint-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    made = tokenizer(texts, chat_template)
    size: Any = Architecture(family=family, hidden=hidden, intermediate=64, layers=layers, context=context)  # type: ignore[arg-type]
    model = new_model(size, len(made), seed, eos_token_id=0)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(6.0 if weights.ndim > 1 else 1.0)  # random models are otherwise near uniform, and hide mistakes
    save_checkpoint(model, made, directory)
    return directory


def logprobs(path: Path, tokens: list[int]) -> Any:
    """The independent reference: log-probabilities (T - 1, V) of one sequence alone, in float64, by transformers' own forward."""
    import torch

    model = _float64(path)
    with torch.inference_mode():
        return torch.log_softmax(model(torch.tensor([tokens[:-1]]), use_cache=False).logits[0], -1)


@functools.cache
def _float64(path: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64, attn_implementation="eager").eval()
