"""The evaluation engine beside lm-eval's `hf`: same weights, batch tokens, dtype and threads, at equal answers.

OMP_NUM_THREADS=1 SEATRIALS_SPEED_CHECKPOINT=DIR SEATRIALS_SPEED_NANO=DIR SEATRIALS_HUB=DIR pytest benchmarks/speed/test_evaluation.py -s

Prints a row of the README's table a case: items, CPU seconds and peak memory of ours and theirs (`side_by_side.py`), ratio, the largest
difference of a log-probability, same predictions. Items are the first of the mirror's files. Tasks named are lm-eval's own; the layout of
the other prompts is ours and holds nothing but the fields.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.speed.side_by_side import Measured, side_by_side

ITEMS = int(os.environ.get("SEATRIALS_SPEED_ITEMS", "12"))
ROUNDS = int(os.environ.get("SEATRIALS_SPEED_ROUNDS", "2"))
BATCH_TOKENS = 2048


def hub() -> Path:
    found = Path(os.environ.get("SEATRIALS_HUB") or Path(__file__).resolve().parents[3] / "shared" / "data" / "hub")
    if not found.is_dir():
        pytest.skip("name the mirror in SEATRIALS_HUB")
    return found


def rows(name: str) -> list[dict[str, Any]]:
    if not (hub() / name).is_file():
        pytest.skip(f"no {name} in the mirror: name it in SEATRIALS_HUB")
    return [json.loads(line) for line in (hub() / name).read_text(encoding="utf-8").splitlines()]


def belebele() -> list[tuple[str, str]]:
    """Pairs of context and continuation, the text of each answer, after three shots."""
    found = rows("facebook/belebele/jav_Latn/test.jsonl")[: ITEMS + 3]
    texts = [f"{row['flores_passage']}\n{row['question']}\n" for row in found]
    shots = "".join(f"{text}{row['mc_answer' + str(row['correct_answer_num'])]}\n\n" for text, row in zip(texts[:3], found, strict=False))
    return [(shots + text, row[f"mc_answer{n}"]) for text, row in zip(texts[3:], found[3:], strict=True) for n in range(1, 5)]


def xcopa() -> list[tuple[str, str]]:
    found = rows("cambridgeltl/xcopa/vi/test.jsonl")[: 4 * ITEMS + 3]
    shots = "".join(f"{row['premise']}\n{row['choice' + str(row['label'] + 1)]}\n\n" for row in found[:3])
    return [(f"{shots}{row['premise']}\n", row[f"choice{n}"]) for row in found[3:] for n in (1, 2)]


def requests_of(task: str, limit: int) -> list[Any]:
    """The requests of a task of lm-eval's own, on the mirror's data."""
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    from harness.lm_eval_data import from_mirror

    with from_mirror(str(hub())):
        folder = Path(lm_eval.tasks.__file__).parent / task.partition("_")[0]
        built = TaskManager(include_path=str(folder), include_defaults=False).load([task])["tasks"][task]
    built.build_all_requests(limit=limit)
    return list(built.instances)


def xquad() -> list[tuple[str, dict[str, Any]]]:
    """Prompts and generation arguments of lm-eval's own task xquad_en; its template is read, for its scoring needs another transformers."""
    import lm_eval.tasks
    import yaml
    from lm_eval.utils import apply_template

    told = yaml.safe_load((Path(lm_eval.tasks.__file__).parent / "xquad" / "xquad_en.yaml").read_text(encoding="utf-8"))
    found = rows("google/xquad/xquad.en/validation.jsonl")[: 2 * ITEMS]
    return [(apply_template(told["doc_to_text"], row), {"until": ["\n"], "do_sample": False, "temperature": 0.0}) for row in found]


CASES = {
    "Belebele jav, 3 shots, full-text choices": (belebele, 4),
    "lm-eval's task belebele_jav_Latn, 0 shots": (lambda: [one.args for one in requests_of("belebele_jav_Latn", 2 * ITEMS)], 4),
    "XCOPA vi, 3 shots": (xcopa, 2),
}


def both(variable: str) -> tuple[Any, Any, Any]:
    """Our backend with its renderer, and lm-eval's model. Each has weights of its own, for ours lie side by side."""
    from lm_eval.models.huggingface import HFLM

    from harness.backends.hf import HFBackend
    from harness.backends.rendering import Renderer, model_window
    from training.models.load import load_model, load_tokenizer

    checkpoint = os.environ.get(variable)
    if not checkpoint:
        pytest.skip(f"name a checkpoint directory in {variable}")
    tokenizer = load_tokenizer(checkpoint)
    ours = HFBackend(checkpoint, tokenizer, batch_tokens=BATCH_TOKENS)
    model = load_model(checkpoint, dtype="float32", attention="sdpa", device="cpu").eval()
    return ours, Renderer(tokenizer, model_window(checkpoint)), HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1)


def answered(ours: Any, asked: Sequence[Any]) -> list[Any]:
    found = dict(pair for batch, _ in ours.answers(asked) for pair in batch)
    return [found[index] for index in range(len(asked))]


def row(case: str, items: int, found: dict[str, Measured], gap: str, same: str) -> None:
    ours, theirs = found["ours"], found["theirs"]
    print(
        f"\n| {case} | {items} | {ours.seconds:.1f} | {theirs.seconds:.1f} | {theirs.seconds / ours.seconds:.2f} | "
        f"{ours.peak_mb:.0f} | {theirs.peak_mb:.0f} | {gap} | {same} |"
    )


@pytest.mark.parametrize("case", CASES)
def test_likelihood(case: str) -> None:
    from lm_eval.api.instance import Instance

    from harness.suites import Request

    ours, renderer, theirs = both("SEATRIALS_SPEED_CHECKPOINT")
    make, choices = CASES[case]
    pairs = make()
    asked = [renderer.request(Request(kind="loglikelihood", context=c, continuation=a, settings={"encoding": "lm_eval"})) for c, a in pairs]
    theirs.batch_size_per_gpu = max(1, BATCH_TOKENS // max(len(one.context) + len(one.continuation) for one in asked))
    instances = [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=index) for index, pair in enumerate(pairs)]
    found = side_by_side(
        {"ours": lambda: answered(ours, asked), "theirs": lambda: theirs.loglikelihood(instances, disable_tqdm=True)}, ROUNDS
    )
    mine, other = [answer["logprob"] for answer in found["ours"].result], [value for value, _ in found["theirs"].result]
    gap = max(abs(one - another) for one, another in zip(mine, other, strict=True))
    starts = range(0, len(pairs), choices)
    best = [[values.index(max(values[at : at + choices]), at) for at in starts] for values in (mine, other)]
    same = sum(one == another for one, another in zip(*best, strict=True))
    row(case, len(starts), found, f"{gap:.1e}", f"{same} of {len(starts)}")
    assert gap < 1e-3
    assert same == len(starts)


def test_generation_beside_lm_evals_generate_until() -> None:
    from lm_eval.api.instance import Instance

    from harness.lm_eval_suite import generation
    from harness.suites import Request

    ours, renderer, theirs = both("SEATRIALS_SPEED_CHECKPOINT")
    prompts = xquad()
    settings = [{"encoding": "lm_eval"} | generation("lm-eval", arguments) for _, arguments in prompts]
    asked = [
        renderer.request(Request(kind="generate", context=text, settings=one)) for (text, _), one in zip(prompts, settings, strict=True)
    ]
    instances = [Instance(request_type="generate_until", doc={}, arguments=pair, idx=index) for index, pair in enumerate(prompts)]
    theirs.batch_size_per_gpu = ours.slots(asked)
    found = side_by_side(
        {
            "ours": lambda: [answer["text"] for answer in answered(ours, asked)],
            "theirs": lambda: theirs.generate_until(instances, disable_tqdm=True),
        },
        ROUNDS,
    )
    same = sum(one == other for one, other in zip(found["ours"].result, found["theirs"].result, strict=True))
    row("lm-eval's task xquad_en, generation", len(asked), found, "-", f"{same} of {len(asked)} texts")
    assert same == len(asked)


@pytest.mark.parametrize("slots", [8, 16, 32])
def test_generation_of_nano_beside_transformers_generate(slots: int) -> None:
    """Random prompts of 10 to 60 tokens, 64 tokens of text: nothing to share, nothing that ends early."""
    from harness.backends.decoding import by_transformers

    ours, _, theirs = both("SEATRIALS_SPEED_NANO")
    draw = random.Random(0)
    prompts = [tuple(draw.randrange(1, len(ours.tokenizer)) for _ in range(draw.randrange(10, 60))) for _ in range(64)]
    ends = ours._ends()
    found = side_by_side(
        {
            "ours": lambda: dict(pair for done in ours._greedy(prompts, 64, (), slots) for pair in done),
            "theirs": lambda: dict(
                pair for done in by_transformers(theirs.model, ours.tokenizer, ends, prompts, 64, (), slots) for pair in done
            ),
        },
        ROUNDS,
    )
    same = sum(found["ours"].result[index] == found["theirs"].result[index] for index in range(len(prompts)))
    row(f"nano, random prompts, {slots} at once", len(prompts), found, "-", f"{same} of {len(prompts)} texts")
    assert same == len(prompts)
