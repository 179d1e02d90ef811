"""Translation by a sequence-to-sequence model of the NLLB kind (3.2: facebook/nllb-200-3.3B), sentence by sentence.

    python -m training.models.translate convert DOWNLOADED CHECKPOINT      # once, where the weights are pickled, as those of NLLB are
    load_translator(CHECKPOINT, dtype="bfloat16", device="cuda").translate(texts, "eng", "ind")

NLLB was trained on single sentences, so a text is cut at line ends and sentence ends, each sentence is translated by itself, and what stood between
them (spaces, blank lines) stands between the translations. Its weights may be used for no commercial purpose (CC-BY-NC-4.0).
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.languages import LanguageError, by_code
from training.models.load import ModelError, load_tokenizer, quiet, read_config, save_checkpoint, weight_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_BETWEEN = re.compile(r"(\s*\n\s*|(?<=[.!?…])\s+|(?<=[。！？]))")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoding:
    """How translations are searched for. `longest` is tokens of a piece that is translated at once, and of what becomes of it."""

    beams: int = 4
    longest: int = 256
    batch: int = 16  # pieces


class Translator:
    """A loaded model and its tokenizer. Equal calls give equal answers."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        """Use `load_translator`."""
        self.model, self.tokenizer, self.name = model, tokenizer, name

    def translate(self, texts: Sequence[str], source: str, target: str, decoding: Decoding | None = None) -> list[str]:
        """Each text in the target language. Languages are any code of `training.languages`. Raises ModelError for one the model does not know."""
        how = decoding or Decoding()
        first, wanted = self.code(source), self.code(target)
        cut = [_BETWEEN.split(text) for text in texts]  # sentence, gap, sentence, gap, ..., sentence
        pieces = [
            (row, place, ids)
            for row, parts in enumerate(cut)
            for place in range(0, len(parts), 2)
            for ids in self._pieces(parts[place], how)
        ]
        # alike in length beside each other, so that little is padded; the order is that of the answers' places again in the end
        order = sorted(range(len(pieces)), key=lambda number: (len(pieces[number][2]), number))
        answers = [""] * len(pieces)
        for start in range(0, len(order), how.batch):
            numbers = order[start : start + how.batch]
            for number, answer in zip(numbers, self._generate([pieces[n][2] for n in numbers], first, wanted, how), strict=True):
                answers[number] = answer
        found: dict[tuple[int, int], list[str]] = {}
        for (row, place, _), answer in zip(pieces, answers, strict=True):
            found.setdefault((row, place), []).append(answer)
        return [
            "".join(" ".join(found.get((row, place), [])) if place % 2 == 0 else part for place, part in enumerate(parts))
            for row, parts in enumerate(cut)
        ]

    def code(self, language: str) -> int:
        """The token that stands for a language, which is its FLORES-200 code. Raises ModelError."""
        try:
            name = by_code(language).flores
        except LanguageError as error:
            raise ModelError(f"{self.name}: {error}") from error
        number: Any = self.tokenizer.convert_tokens_to_ids(name)
        if number is None or number == self.tokenizer.unk_token_id:
            raise ModelError(f"{self.name} has no token {name}: it does not translate {language}")
        return int(number)

    def _pieces(self, sentence: str, how: Decoding) -> Iterator[list[int]]:
        """The token ids of a sentence, in pieces where it is longer than the model takes; nothing for a blank one."""
        if sentence.strip():
            ids: list[int] = self.tokenizer(sentence.strip(), add_special_tokens=False)["input_ids"]  # type: ignore[assignment]
            for start in range(0, len(ids), how.longest):
                yield ids[start : start + how.longest]

    def _generate(self, pieces: Sequence[Sequence[int]], source: int, target: int, how: Decoding) -> list[str]:
        """Pieces of token ids translated in one batch: [language, tokens, end of sentence], padded at the right."""
        import torch

        tokenizer: Any = self.tokenizer
        width = max(len(ids) for ids in pieces) + 2
        rows = [[source, *ids, tokenizer.eos_token_id] for ids in pieces]
        ids_BT = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows], device=self.model.device)
        mask_BT = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self.model.device)
        with torch.inference_mode():
            model: Any = self.model
            out_BT = model.generate(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                forced_bos_token_id=target,
                num_beams=how.beams,
                do_sample=False,
                max_new_tokens=min(how.longest, 2 * width + 16),
            )
        special = {target, *tokenizer.all_special_ids}
        return [
            tokenizer.decode([number for number in row if number not in special], clean_up_tokenization_spaces=False).strip()
            for row in out_BT.tolist()
        ]


def load_translator(path: Path | str, dtype: str = "float32", device: str = "cpu") -> Translator:
    """Load a local checkpoint directory, in eval mode. Raises ModelError for pickled weights, a tensor amiss, or a model that does not translate."""
    import torch
    from transformers import AutoModelForSeq2SeqLM

    path = Path(path)
    config = read_config(path)
    if not config.get("is_encoder_decoder", config.get("model_type") in ("m2m_100", "marian", "mbart", "t5")):
        raise ModelError(f"{path} holds a {config.get('model_type')} model, which is no sequence-to-sequence one: name a translation model")
    weight_files(path)
    quiet()
    try:
        model, info = AutoModelForSeq2SeqLM.from_pretrained(
            path,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise ModelError(f"{path} cannot be loaded: {error}") from error
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if keys := sorted(map(str, info.get(what) or ())):
            raise ModelError(f"{path}: {what.replace('_', ' ')} in the weights: {', '.join(keys[:4])}{' ...' if len(keys) > 4 else ''}")
    model.to(device).eval()
    return Translator(model, load_tokenizer(path), path.name)


def convert(source: Path | str, target: Path | str) -> None:
    """Write a checkpoint whose weights are pickled as safetensors. Read are tensors alone (`weights_only`): no code in the file runs."""
    from transformers import AutoModelForSeq2SeqLM

    source, target = Path(source), Path(target)
    read_config(source)
    quiet()
    try:
        model = AutoModelForSeq2SeqLM.from_pretrained(
            source, dtype="auto", use_safetensors=False, weights_only=True, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # torch raises its own unpickling errors, which are of many kinds
        raise ModelError(f"{source} cannot be read as tensors: {error}") from error
    save_checkpoint(model, load_tokenizer(source), target)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 2 a clear error."""
    parser = argparse.ArgumentParser(
        prog="python -m training.models.translate", description="Pickled weights of a translation model as safetensors."
    )
    parser.add_argument("do", choices=("convert",))
    parser.add_argument("source", type=Path, help="directory with config.json, pytorch_model*.bin and the tokenizer")
    parser.add_argument("target", type=Path, help="directory that is written")
    given = parser.parse_args(arguments)
    try:
        convert(given.source, given.target)
    except ModelError as error:
        print(f"translate: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
