"""Frequent lines go, bucket by bucket: folding, and the layer against brute force (suites.md, topic 7; algorithms.md, topic 5)."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.curation.relational_kit import decisions, shards
from training.curation import lines, narrow
from training.curation.documents import CurationError, Document
from training.curation.engine import Engine
from training.curation.lines import Lines, folded_lines


def texts(layer: Lines, *parts: list[str]) -> list[list[str | None]]:
    """What becomes of each text, None where it is dropped."""
    rows = [[Document(id=f"{shard}-{row}", text=text) for row, text in enumerate(part)] for shard, part in enumerate(parts)]
    return [[decision.document and decision.document.text for decision in part] for part in decisions(layer, rows)]


def fold(line: str) -> str:
    """An independent reading of the rule, character by character."""
    signs = ["0" if sign.isdecimal() else " " if sign.isspace() else sign for sign in line.casefold()]
    runs = [sign for sign, _ in itertools.groupby(signs, key=lambda sign: sign) if sign in "0 "]
    merged = "".join(sign if sign in "0 " else sign * len(list(same)) for sign, same in itertools.groupby(signs))
    assert merged.count("0") + merged.count(" ") == len(runs)
    return merged.strip()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("  Share this\tpage ", "share THIS page"),
        ("12 comments", "7 Comments"),
        ("หน้า ๑๒", "หน้า 3"),
        ("STRASSE", "straße"),
        ("a b", "a\u3000b\r"),
    ],
)
def test_lines_alike(one: str, other: str) -> None:
    assert folded_lines(one, 1) == folded_lines(other, 1)


line = st.text(alphabet="aAbß\t \u30001๑é", max_size=5)


@given(found=st.lists(line, max_size=6), least=st.integers(1, 4))
def test_folding(found: list[str], least: int) -> None:
    places, folded = folded_lines("\n".join(found), least)
    assert list(zip(places, folded, strict=True)) == [(place, fold(part)) for place, part in enumerate(found) if len(fold(part)) >= least]


few = st.sampled_from(["menu", "Menu ", "page 1", "page 22", "x", "", "  ", "y1", "body"])
parts = st.lists(st.lists(st.lists(few, min_size=1, max_size=6), min_size=1, max_size=6), min_size=1, max_size=4)


@settings(max_examples=40)
@given(found=parts, most=st.integers(1, 4), bucket=st.integers(1, 9), least=st.integers(1, 3), at_once=st.sampled_from([narrow.AT_ONCE, 4]))
def test_equal_to_brute_force(found: list[list[list[str]]], most: int, bucket: int, least: int, at_once: int) -> None:
    rows = [
        [Document(id=f"{shard}-{row}", text="\n".join(("#", *text))) for row, text in enumerate(part)] for shard, part in enumerate(found)
    ]
    flat = list(itertools.chain.from_iterable(rows))
    seen: Counter[tuple[int, str]] = Counter()
    for number, document in enumerate(flat):
        seen.update((number // bucket, fold(part)) for part in document.text.split("\n"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(narrow, "AT_ONCE", at_once)
        made = decisions(Lines(most=most, bucket=bucket, least_characters=least), rows)
    for number, (document, decision) in enumerate(zip(flat, itertools.chain.from_iterable(made), strict=True)):
        split = document.text.split("\n")
        kept = [part for part in split if len(fold(part)) < least or seen[number // bucket, fold(part)] <= most]
        left = "\n".join(kept)
        if len(kept) == len(split):
            assert decision.document is document
            assert decision.counts == {}
            continue
        assert decision.counts == {lines.LINES: len(split) - len(kept), lines.BYTES: len(document.text.encode()) - len(left.encode())}
        if left.strip():
            assert decision.document == Document(id=document.id, text=left)
        else:
            assert decision.reason == "only frequent lines"


def test_five_stay_and_six_go_all_of_them() -> None:
    body = [f"text {letter}" for letter in "abcdef"]
    assert texts(Lines(), [f"{own}\nMenu" for own in body[:5]]) == [[f"{own}\nMenu" for own in body[:5]]]
    assert texts(Lines(), [f"{own}\nMenu" for own in body[:3]], [f"MENU\n{own}" for own in body[3:]]) == [body[:3], body[3:]]


def test_occurrences_count_within_one_document_too() -> None:
    assert texts(Lines(), ["go\n" * 6 + "body", "go\nother"]) == [["body", "other"]]


def test_counts_are_those_of_a_bucket_and_buckets_cross_shards() -> None:
    layer = Lines(most=2, bucket=4)
    assert texts(layer, ["aa\nmenu"], ["bb\nmenu", "cc"], ["dd", "ee\nmenu", "ff\nmenu"]) == [
        ["aa\nmenu"], ["bb\nmenu", "cc"], ["dd", "ee\nmenu", "ff\nmenu"],
    ]  # fmt: skip
    assert texts(layer, ["aa\nmenu"], ["bb\nmenu", "cc"], ["dd\nmenu", "ee\nmenu", "ff\nmenu"]) == [
        ["aa"], ["bb", "cc"], ["dd", "ee\nmenu", "ff\nmenu"],
    ]  # fmt: skip


def test_blank_lines_and_single_signs_are_left() -> None:
    assert texts(Lines(most=1), ["{\n\nalpha\n}", "{\n\nbeta\n}", "-\n1.\nalpha"]) == [
        ["{\n\n\n}".replace("\n\n\n", "\n\n"), "{\n\nbeta\n}", "-\n1."]
    ]


def test_too_little_left() -> None:
    rows = [[Document(id="a", text="menu\nab"), Document(id="b", text="menu\nabcd"), Document(id="c", text="x")]]
    made = decisions(Lines(most=1, least_left=3), rows)[0]
    assert (made[0].reason, made[0].detail) == ("too little left without its frequent lines", "2 characters < 3")
    assert [decision.reason for decision in made[1:]] == ["", ""]


def test_other_fields_are_carried() -> None:
    row = Document(id="a", text="menu\nbody", url="u", language="ind", source="s", licence="l", extra={"score": 1})
    assert decisions(Lines(most=1), [[row, Document(id="b", text="menu")]])[0][0].document == Document(
        id="a", text="body", url="u", language="ind", source="s", licence="l", extra={"score": 1}
    )


@pytest.mark.parametrize("name", ["most", "bucket", "least_characters", "least_left"])
def test_settings_that_count_nothing_are_refused(name: str) -> None:
    with pytest.raises(CurationError, match=rf"lines\.{name} is 0; set it to 1 or more"):
        Lines(**{name: 0})


def test_processes_give_the_same_plan_and_leave_nothing_else(tmp_path: Path) -> None:
    found = shards(tmp_path, [[Document(id="a", text="menu\nbody")], [Document(id="b", text="menu\nmenu\nother")]])
    plans = []
    for workers in (1, 2):
        work = tmp_path / f"work{workers}"
        work.mkdir()
        Lines(most=2, bucket=2).prepare(found, work, Engine(workers=workers))
        plans.append({entry.name: entry.read_bytes() for entry in work.iterdir()})
    assert plans[0] == plans[1]
    assert sorted(plans[0]) == ["frequent-00000.npy", "plan.json"]
