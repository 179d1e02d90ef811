"""The miner: probes are exactly the prompts on which two checkpoints differ, and the confirmation uses none that were searched."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import miner
from harness.miner import chosen_from, mine, predicate
from harness.rows import StatisticsError
from harness.suites import Row, SuiteError
from tests.harness.checkpoints import TEXTS, checkpoint


def rows(holds: dict[str, bool], clusters: int) -> list[Row]:
    return [
        Row(
            sample=name,
            cluster=f"c{int(name[1:]) % clusters}",
            language="ind" if int(name[1:]) % 2 else "tha",
            values={"holds": float(held)},
            shown={"prompt": f"prompt {name}", "response": f"{held}"},
        )
        for name, held in holds.items()
    ]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=30, max_size=80))
def test_probes_are_the_searched_prompts_that_differ(pairs):
    mine_, theirs = ({f"p{i}": pair[side] for i, pair in enumerate(pairs)} for side in (0, 1))
    found = mine(rows(mine_, len(pairs)), rows(theirs, len(pairs)), ["ind", "tha"])
    searched = {f"p{i}" for i in range(len(pairs)) if chosen_from(f"c{i}")}
    assert found.searched == len(searched)
    assert {(probe.id, probe.holds) for probe in found.probes} == {
        (name, "subject" if mine_[name] else "reference") for name in searched if mine_[name] != theirs[name]
    }
    assert found.confirmed is not None
    assert found.confirmed.samples == len(pairs) - len(searched)


def test_the_confirmation_is_the_difference_of_the_other_half_by_hand():
    ours, theirs = {f"p{i}": i % 3 == 0 for i in range(90)}, {f"p{i}": i % 9 == 0 for i in range(90)}
    found = mine(rows(ours, 90), rows(theirs, 90), ["ind", "tha"])
    by_language = []
    for odd in (1, 0):
        names = [name for name in ours if not chosen_from(f"c{name[1:]}") and int(name[1:]) % 2 == odd]
        by_language.append(sum(ours[name] - theirs[name] for name in names) / len(names))
    assert found.confirmed is not None
    assert found.confirmed.value == pytest.approx(sum(by_language) / 2)


def test_prompts_of_one_cluster_stay_in_one_half():
    found = mine(rows({f"p{i}": True for i in range(60)}, 20), rows({f"p{i}": False for i in range(60)}, 20), ["ind", "tha"])
    clusters = {probe.cluster for probe in found.probes}
    assert len(found.probes) == 3 * len(clusters)
    assert found.confirmed is not None
    assert found.confirmed.clusters == 20 - len(clusters)


def test_other_prompts_are_no_pairs():
    with pytest.raises(StatisticsError, match="other prompts"):
        mine(rows({"p1": True}, 1), rows({"p2": True}, 1), ["ind"])


@pytest.mark.parametrize("name", ["emojis", "nowhere:x", "harness.miner:nothing"])
def test_a_trait_that_is_none_says_what_there_is(name):
    with pytest.raises(SuiteError, match=name):
        predicate(name)


def test_the_known_traits():
    assert predicate("emoji")("Bagus 👍", {"language": "ind"})
    assert not predicate("emoji")("Bagus 1 #", {"language": "ind"})
    assert predicate("other-language")("This is a sentence in English and nothing but English, as you can see.", {"language": "tha"})
    assert not predicate("other-language")("เรือออกจากท่าเรือในตอนเช้า และตลาดริมแม่น้ำขายมะม่วง ข้าว และปลา", {"language": "tha"})


def low(response: str, prompt: dict) -> bool:
    """A trait of this test: the response's letters add up to an even number."""
    return sum(map(ord, response)) % 2 == 0


def test_from_the_command_line(tmp_path, capsys):
    """Two real (tiny) checkpoints; the file's probes are checked by asking both again through plain transformers."""
    pool = tmp_path / "pool.jsonl"
    lines = [{"id": f"q{i}", "language": "ind", "prompt": TEXTS[3][i : i + 30]} for i in range(30)]
    pool.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    told = [str(checkpoint()), str(checkpoint(seed=1)), f"--prompts={pool}", "--trait=tests.harness.test_miner:low", "--max-tokens=6"]
    told += ["--device=cpu", f"--output={tmp_path / 'probes.jsonl'}"]
    assert miner.main(told) == 0
    probes = [json.loads(line) for line in (tmp_path / "probes.jsonl").read_text(encoding="utf-8").splitlines()]
    assert f"{len(probes)} probes of " in capsys.readouterr().out
    searched = [line for line in lines if chosen_from(line["id"])]
    expected = {}
    for line in searched:
        answers = [_answer(checkpoint(seed=seed), line["prompt"]) for seed in (0, 1)]
        if low(answers[0], line) != low(answers[1], line):
            expected[line["id"]] = tuple(answers)
    assert expected, "the two models never differ: the test shows nothing"
    assert {probe["id"]: (probe["subject"], probe["reference"]) for probe in probes} == expected


def _answer(path, prompt: str) -> str:
    """Greedy text by plain transformers, without a cache, after the tokens that the renderer makes of the prompt."""
    import torch
    from transformers import AutoModelForCausalLM

    from harness.backends.rendering import Renderer, model_window
    from harness.suites import Request, Sample
    from training.models.load import load_tokenizer

    tokenizer, model = load_tokenizer(path), AutoModelForCausalLM.from_pretrained(path)
    asked = json.dumps({"messages": [{"role": "user", "content": prompt}]}, ensure_ascii=False)
    request = Request(kind="generate", context=asked, settings={"max_tokens": 6, "stop": [], "chat": "auto"})
    sample = Sample(sample="s", cluster="s", language="ind", requests=(request,))
    begun = list(Renderer(tokenizer, model_window(path)).sample(sample)[0].context)
    new: list[int] = []
    with torch.inference_mode():
        while len(new) < 6 and tokenizer.eos_token_id not in new:
            new.append(int(model(torch.tensor([begun + new])).logits[0, -1].argmax()))
    return tokenizer.decode([token for token in new if token != tokenizer.eos_token_id], skip_special_tokens=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no prompts"),
        ('{"prompt": "a"}\n', "row 1: no language"),
        ('{"language": "ind"}\n', "row 1: no prompt"),
        ("{", "pool.jsonl"),
    ],
)
def test_a_bad_pool_is_named(tmp_path, capsys, text, message):
    pool = tmp_path / "pool.jsonl"
    pool.write_text(text)
    assert miner.main([str(checkpoint()), str(checkpoint()), f"--prompts={pool}", "--trait=emoji", f"--output={tmp_path / 'p.jsonl'}"]) == 4
    assert message in capsys.readouterr().err
    assert not (tmp_path / "p.jsonl").exists()
