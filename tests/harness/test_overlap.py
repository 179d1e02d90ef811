"""The overlap check: every planted copy is found, in any script and dress; unrelated text is not."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from harness import overlap
from harness.evaluation_text import texts_of
from harness.overlap import find
from training.recipe import WorldText
from training.windows import WINDOW, normalised
from training.world import text as world


def telling(language: str, count: int, split: str = "train", seed: int = 5) -> list[str]:
    return [document.text for document in world.documents(WorldText(language=language, documents=count, split=split, seed=seed))]  # type: ignore[arg-type]


@given(st.lists(st.text(max_size=80), max_size=6), st.lists(st.text(max_size=120), max_size=4), st.integers(5, 20))
@settings(max_examples=60, deadline=None)
def test_the_same_as_a_search_by_hand(training: list[str], asked: list[str], window: int) -> None:
    texts = [normalised(text) for text in training]
    expected = {}
    for number, question in enumerate(asked):
        data = normalised(question)
        width = min(window, len(data))
        windows = [data[i : i + width] for i in range(len(data) - width + 1)] if data else []
        if len(data) >= window // 2:
            share = sum(any(piece in text for text in texts) for piece in windows) / len(windows)
            if share > 0.5:
                expected[str(number)] = share
    found = find(
        training, [("s", str(number), question) for number, question in enumerate(asked)], window=window, least=max(1, window // 2)
    )
    assert {item.sample: item.share for item in found} == expected


def test_a_planted_copy_is_found_in_every_script() -> None:
    for language in ("eng", "tha", "khm", "mya", "lao", "cmn", "vie"):
        train = telling(language, 40)
        asked = telling(language, 10, split="held_out")
        evaluation = [("perplexity", str(number), text) for number, text in enumerate(asked)]
        assert find(train, evaluation) == [], language
        planted = find([*train, asked[3]], evaluation)
        assert [item.sample for item in planted] == ["3"], language
        assert planted[0].share == 1.0


def test_a_copy_in_other_dress_is_found() -> None:
    original = telling("eng", 1)[0]
    dressed = original.upper().replace(" ", "\n  ").replace("A", "\uff21")
    assert find([dressed], [("s", "1", original)])[0].share == 1.0


def test_a_text_shorter_than_a_window_is_found_where_all_of_it_stands() -> None:
    training = ["Boats leave early at dawn for the island. เรือออกตอนเช้า", "The market is open."]
    short = {
        "whole": "Boats leave early at dawn for the",
        "thai": "เรือออกตอนเช้า",
        "other": "Boats leave early at noon for the",
        "phrase": "Boats leave early",
        "across": "ตอนเช้า The market",
        "empty": " ",
    }
    assert all(len(normalised(text)) < WINDOW for text in short.values())
    evaluation = [("s", name, text) for name, text in short.items()]
    assert {item.sample: item.share for item in find(training, evaluation, least=WINDOW // 2)} == {"whole": 1.0, "thai": 1.0}
    assert {item.sample for item in find(training, evaluation)} == {"whole", "thai", "phrase"}


def test_what_a_model_scores_is_compared_too_where_it_is_no_mere_answer() -> None:
    from harness.suites import Request, Sample

    requests = (
        Request(
            kind="loglikelihood",
            context="Why?",
            continuation=" because the ferry from the island was late again that morning, and the market had closed before any of the fish could be weighed",
        ),
        Request(kind="loglikelihood", context="Why?", continuation=" no"),
    )
    sample = Sample(sample="1", cluster="1", language="eng", requests=requests)
    late = (
        " because the ferry from the island was late again that morning, and the market had closed before any of the fish could be weighed"
    )
    assert texts_of(sample, WINDOW) == [f"Why?{late}", "Why? no", late]


def test_part_of_a_longer_document_counts() -> None:
    original = telling("ind", 3)
    assert [item.sample for item in find([" ".join(original)], [("s", "middle", original[1])])] == ["middle"]


def test_windows_do_not_reach_across_two_training_documents() -> None:
    halves = "a" * (WINDOW - 1), "b" * (WINDOW - 1)
    question = halves[0] + halves[1]
    assert find(halves, [("s", "1", question)]) == []


def test_blocks_change_nothing(monkeypatch) -> None:
    train, asked = telling("zsm", 60), telling("zsm", 5, split="held_out")
    mixed = [*train, *asked[:2]]
    random.Random(0).shuffle(mixed)
    evaluation = [("s", str(number), text) for number, text in enumerate(asked)]
    whole = find(mixed, evaluation)
    monkeypatch.setattr(overlap, "BLOCK", 500)
    assert find(mixed, evaluation) == whole
    assert len(whole) == 2


def test_the_nano_profile_keeps_training_and_evaluation_apart() -> None:
    from harness.profiles import load
    from training.recipe import encode

    profile = load("nano")
    suites = {name: encode(spec) for name, spec in profile.suites.items()}
    order = {
        "suites": suites,
        "recipe": encode(profile.stages["base"].recipe),
        "corpora": {},
        "hub": None,
        "originals": [],
        "profile_dir": str(Path()),
        "share": profile.overlap,
        "window": profile.overlap_window,
    }
    facts = overlap.check(order)
    assert facts["texts"] > 1000
    assert facts["overlaps"] == []


def test_the_check_stops_a_recipe_that_trains_on_the_held_out_text(tmp_path: Path) -> None:
    import dataclasses
    import json

    from harness.profiles import load
    from training.recipe import Portion, encode

    profile = load("nano")
    stolen = WorldText(language="eng", documents=120, split="held_out", seed=0)
    recipe = dataclasses.replace(
        profile.stages["base"].recipe, portions=(Portion(name="eng", language="eng", tokens=10, sources=(stolen,)),)
    )  # type: ignore[type-var]
    suites = {"perplexity": encode(profile.suites["perplexity"])}
    (tmp_path / "order.json").write_text(
        json.dumps(
            {
                "suites": suites,
                "recipe": encode(recipe),
                "corpora": {},
                "hub": None,
                "originals": [],
                "profile_dir": ".",
                "share": 0.5,
                "window": 50,
            }
        )
    )
    assert overlap.main([str(tmp_path / "order.json")]) == 1
    error = json.loads((tmp_path / "error.json").read_text())
    assert "120 of" in error["message"]
    assert "take them out" in error["message"]
    assert not (tmp_path / "overlap.json").exists()
