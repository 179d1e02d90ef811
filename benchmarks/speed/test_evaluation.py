"""The evaluation engine beside lm-eval's `hf` on the same loaded weights, batch tokens, dtype and threads, at equal answers.

SEATRIALS_SPEED_CHECKPOINT=DIR SEATRIALS_HUB=DIR pytest benchmarks/speed/test_evaluation.py -s

Prints a row of the README's table a case. Items are the mirror's; the layout of the prompts is ours and holds nothing but the fields.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

ITEMS = int(os.environ.get("SEATRIALS_SPEED_ITEMS", "12"))
BATCH_TOKENS = 2048


def rows(name: str) -> list[dict[str, Any]]:
    hub = Path(os.environ.get("SEATRIALS_HUB") or Path(__file__).resolve().parents[3] / "shared" / "data" / "hub")
    if not (hub / name).is_file():
        pytest.skip(f"no {name} in the mirror: name it in SEATRIALS_HUB")
    return [json.loads(line) for line in (hub / name).read_text(encoding="utf-8").splitlines()]


def belebele(choices: str) -> list[tuple[str, str]]:
    """Pairs of context and continuation: the text of each answer, or its number; the first three rows are shots of the former."""
    found = rows("facebook/belebele/jav_Latn/test.jsonl")[: ITEMS + 3]
    texts = [f"{row['flores_passage']}\n{row['question']}\n" for row in found]
    if choices == "numbers":
        return [(text, str(number)) for text in texts[3:] for number in range(1, 5)]
    shots = "".join(f"{text}{row['mc_answer' + str(row['correct_answer_num'])]}\n\n" for text, row in zip(texts[:3], found, strict=False))
    return [(shots + text, row[f"mc_answer{n}"]) for text, row in zip(texts[3:], found[3:], strict=True) for n in range(1, 5)]


def xcopa() -> list[tuple[str, str]]:
    found = rows("cambridgeltl/xcopa/vi/test.jsonl")[: 4 * ITEMS + 3]
    shots = "".join(f"{row['premise']}\n{row['choice' + str(row['label'] + 1)]}\n\n" for row in found[:3])
    return [(f"{shots}{row['premise']}\n", row[f"choice{n}"]) for row in found[3:] for n in (1, 2)]


CASES = {
    "Belebele jav, 3 shots, full-text choices": (lambda: belebele("texts"), 4),
    "Belebele jav, 0 shots, one-token choices": (lambda: belebele("numbers"), 4),
    "XCOPA vi, 3 shots": (xcopa, 2),
}


def both(checkpoint: str) -> tuple[Any, Any, Any]:
    """Our backend with its renderer, and lm-eval's model over the same weights."""
    from lm_eval.models.huggingface import HFLM

    from harness.backends.hf import HFBackend
    from harness.backends.rendering import Renderer, model_window
    from training.models.load import load_tokenizer

    tokenizer = load_tokenizer(checkpoint)
    ours = HFBackend(checkpoint, tokenizer, batch_tokens=BATCH_TOKENS)
    return ours, Renderer(tokenizer, model_window(checkpoint)), HFLM(pretrained=ours.model, tokenizer=tokenizer, batch_size=4)


@pytest.mark.parametrize("case", CASES)
def test_likelihood(case: str) -> None:
    from lm_eval.api.instance import Instance

    from harness.suites import Request

    checkpoint = os.environ.get("SEATRIALS_SPEED_CHECKPOINT")
    if not checkpoint:
        pytest.skip("name a checkpoint directory (SmolLM2-135M) in SEATRIALS_SPEED_CHECKPOINT")
    make, choices = CASES[case]
    pairs = make()
    ours, renderer, theirs = both(checkpoint)
    asked = [renderer.request(Request(kind="loglikelihood", context=c, continuation=a, settings={"encoding": "lm_eval"})) for c, a in pairs]
    longest = max(len(one.context) + len(one.continuation) for one in asked)
    theirs.batch_size_per_gpu = max(1, BATCH_TOKENS // longest)
    instances = [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=index) for index, pair in enumerate(pairs)]
    begun = time.perf_counter()
    expected = theirs.loglikelihood(instances, disable_tqdm=True)
    middle = time.perf_counter()
    found = dict(pair for batch, _ in ours.answers(asked) for pair in batch)
    seconds, slow = time.perf_counter() - middle, middle - begun
    gap = max(abs(found[index]["logprob"] - value) for index, (value, _) in enumerate(expected))
    same = 0
    for start in range(0, len(pairs), choices):
        mine = [found[index]["logprob"] for index in range(start, start + choices)]
        other = [value for value, _ in expected[start : start + choices]]
        same += mine.index(max(mine)) == other.index(max(other))
    items = len(pairs) // choices
    print(f"\n| {case} | {items} | {seconds:.1f} | {slow:.1f} | {slow / seconds:.2f} | {gap:.1e} | {same} of {items} |")
    assert gap < 1e-3
    assert same == items


def test_generation_beside_transformers_generate() -> None:
    checkpoint = os.environ.get("SEATRIALS_SPEED_NANO")
    if not checkpoint:
        pytest.skip("name a nano checkpoint directory in SEATRIALS_SPEED_NANO")
    from harness.backends.decoding import by_transformers

    ours, renderer, _ = both(checkpoint)
    prompts = [[renderer.prefix, *renderer.encode(text)] for text in ("The harbour", "Pasar itu", "Thuyền", "ตลาด") for _ in range(16)]
    taken: dict[str, list[float]] = {"ours": [], "theirs": []}
    texts: dict[str, dict[int, str]] = {}
    for _ in range(4):  # interleaved; the least of each counts
        for name, work in (
            ("ours", lambda: ours._greedy(prompts, 64, (), 32)),
            ("theirs", lambda: by_transformers(ours.model, ours.tokenizer, ours._ends(), prompts, 64, (), 32)),
        ):
            begun = time.perf_counter()
            texts[name] = dict(pair for done in work() for pair in done)
            taken[name].append(time.perf_counter() - begun)
    best = {name: min(values) for name, values in taken.items()}
    same = sum(texts["ours"][index] == texts["theirs"][index] for index in range(len(prompts)))
    ratio = best["theirs"] / best["ours"]
    print(
        f"\n| nano generation | {len(prompts)} | {best['ours']:.2f} | {best['theirs']:.2f} | {ratio:.2f} | - | {same} of {len(prompts)} |"
    )
    assert same == len(prompts)
