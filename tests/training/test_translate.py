"""Translation: a tiny random checkpoint of NLLB's class is loaded, converted and run; what stands between sentences stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.models.load import ModelError
from training.models.translate import Decoding, Translator, load_translator, main

CODES = ["eng_Latn", "ind_Latn", "tha_Thai"]
LETTERS = "abcdefghijklmnopqrstuvwxyzTI.?!,▁"
GREEDY = Decoding(beams=1, longest=12, batch=3)


def tokenizer() -> Any:
    """NLLB's tokenizer with a vocabulary of single letters and three languages."""
    from transformers import NllbTokenizer

    vocabulary = {token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *LETTERS])}
    return NllbTokenizer(vocab=vocabulary, merges=[], additional_special_tokens=CODES)


def checkpoint(directory: Path, seed: int = 0) -> Path:
    """A random M2M100 model of 2 + 2 layers, as NLLB is one, with weights large enough that its answers depend on what it reads."""
    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    words = tokenizer()
    config = M2M100Config(
        vocab_size=len(words),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    torch.manual_seed(seed)
    model = M2M100ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.normal_(0, 0.4)
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("models") / "nllb-tiny")


@pytest.fixture(scope="module")
def translator(path: Path) -> Translator:
    return load_translator(path)


def test_the_ids_are_those_of_nllbs_own_tokenizer(translator: Translator) -> None:
    (ids,) = translator._pieces(" Is it a test? ", GREEDY.__class__(longest=99))
    made = tokenizer()
    made.src_lang = "eng_Latn"
    assert [translator.code("eng"), *ids, 2] == made("Is it a test?")["input_ids"]


def test_answers_are_those_of_generate_one_by_one(translator: Translator) -> None:
    """Whatever is batched beside what: the sentence alone, unpadded, gives the same."""
    import torch

    texts = ["a test", "Is this it?", "Take that, and this too. I see.", "no"]
    batched = translator.translate(texts, "eng", "ind", GREEDY)
    assert batched == [translator.translate([text], "eng", "ind", GREEDY)[0] for text in texts]
    (ids,) = translator._pieces("a test", GREEDY)
    model: Any = translator.model
    out = model.generate(
        input_ids=torch.tensor([[translator.code("eng"), *ids, 2]]),
        forced_bos_token_id=translator.code("ind"),
        num_beams=1,
        do_sample=False,
        max_new_tokens=12,
    )
    assert out[0, 1] == translator.code("ind")
    assert translator.tokenizer.decode(out[0], skip_special_tokens=True).strip() == batched[0]


def test_languages_are_told_to_the_model(translator: Translator) -> None:
    text = ["Take that, and this too."]
    answers = {target: translator.translate(text, "eng", target, GREEDY)[0] for target in ("ind", "tha")}
    assert answers["ind"] != answers["tha"]
    assert translator.translate(text, "eng", "ind_Latn", GREEDY) == [answers["ind"]]


def test_what_stands_between_sentences_stays(translator: Translator) -> None:
    text = "One test. Is it?\n\n  It is!\nno more"
    (whole,) = translator.translate([text], "eng", "ind", GREEDY)
    parts = [translator.translate([part], "eng", "ind", GREEDY)[0] for part in ("One test.", "Is it?", "It is!", "no more")]
    assert whole == f"{parts[0]} {parts[1]}\n\n  {parts[2]}\n{parts[3]}"
    assert translator.translate(["", " \n "], "eng", "ind", GREEDY) == ["", " \n "]
    assert translator.translate([], "eng", "ind", GREEDY) == []


def test_a_sentence_longer_than_the_model_takes_is_cut(translator: Translator) -> None:
    pieces = list(translator._pieces("a" * 40, GREEDY))
    assert [len(piece) for piece in pieces] == [12, 12, 12, 5]
    assert translator.translate(["a" * 40], "eng", "ind", GREEDY)[0]


def test_beams_are_searched(translator: Translator) -> None:
    assert translator.translate(["a test"], "eng", "tha", Decoding(beams=3, longest=12))[0]


def test_pickled_weights_are_refused_and_converted(path: Path, translator: Translator, tmp_path: Path) -> None:
    import torch

    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for file in path.iterdir():
        if file.suffix != ".safetensors":
            (pickled / file.name).write_bytes(file.read_bytes())
    torch.save(translator.model.state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled"):
        load_translator(pickled)
    assert main(["convert", str(pickled), str(tmp_path / "converted")]) == 0
    again = load_translator(tmp_path / "converted")
    texts = ["a test", "Is this it?"]
    assert again.translate(texts, "eng", "tha", GREEDY) == translator.translate(texts, "eng", "tha", GREEDY)


def test_weights_that_hold_code_are_not_run(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "config.json").write_text((path / "config.json").read_text())
    torch.save({"model.shared.weight": Trap()}, bad / "pytorch_model.bin")
    assert main(["convert", str(bad), str(tmp_path / "converted")]) == 2
    assert "cannot be read as tensors" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_what_cannot_translate_is_named(path: Path, translator: Translator, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no token vie_Latn"):
        translator.translate(["a"], "eng", "vie")
    with pytest.raises(ModelError, match="'xxx'"):
        translator.translate(["a"], "eng", "xxx")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    with pytest.raises(ModelError, match="no sequence-to-sequence"):
        load_translator(tmp_path)
    (tmp_path / "config.json").write_text((path / "config.json").read_text())
    with pytest.raises(ModelError, match="is this a checkpoint directory"):
        load_translator(tmp_path)
