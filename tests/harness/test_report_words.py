"""The report's words and pictures alone: numbers as the terminal has them, text that cannot act, SVG that is well formed."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.plugin import summary
from harness.report import charts, lineage, words

STYLE = (Path(words.__file__).parent / "style.html.j2").read_text(encoding="utf-8")
numbers = st.floats(-1e6, 1e6)


@st.composite
def gate_rows(draw: st.DrawFn) -> dict[str, Any]:
    """Any row that a verdict can give."""
    judged = draw(st.booleans())
    clusters = draw(st.integers(0, 500))
    return {
        "gate": draw(st.sampled_from(["base.speaks.eng", "stage2.keeps.macro"])),
        "value": draw(st.none() | numbers),
        "line": draw(st.none() | numbers),
        "difference": draw(st.none() | numbers),
        "interval": draw(st.none() | st.tuples(numbers, numbers)) if judged else None,
        "against_stage": draw(st.sampled_from(["", "base", "blessed"])),
        "exact": draw(st.booleans()),
        "clusters": clusters,
        "samples": draw(st.just(clusters) | st.integers(0, 500)),
        "detectable": draw(st.none() | numbers),
        "margin": draw(numbers),
        "coarse": draw(st.booleans()),
        "verdict": draw(st.sampled_from(["pass", "fail", "inconclusive", "not run"])),
        "waived": draw(st.booleans()),
        "reason": "blocked by base.speaks.eng (fail)",
    }


@given(gate_rows())
def test_cells_are_the_terminals(row: dict[str, Any]) -> None:
    _, line = summary.table([row])
    place = 0
    for said in words.cells(row).values():
        place = line.index(said, place) + len(said)


def test_a_margin_that_says_little_is_named_under_the_table_and_beside_its_number() -> None:
    rows = [
        {"gate": "a", "detectable": 0.3, "margin": 0.1, "coarse": True, "uncalibrated": True},
        {"gate": "b", "detectable": 0.05, "margin": 0.1, "coarse": False, "uncalibrated": False},
        {"gate": "before these were kept"},
    ]
    uncalibrated, coarse = words.margin_notes(rows)
    assert uncalibrated.startswith("uncalibrated, 1 of 3 gates: margin not held against a detectable difference")
    assert coarse.endswith(": a")
    assert words.margin_notes(rows[1:]) == []


@given(st.text(st.characters(), max_size=60))
def test_visible_text_encodes_and_acts_on_nothing(text: str) -> None:
    said = words.visible(text)
    said.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", said)
    assert words.visible(said) == said
    assert not set(said) & set("<>&\"'") - set(text), "what stands for a character must need no escaping"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain ก 语 ع\tline\nnext", "plain ก 语 ع\tline\nnext"),
        ("\u202eevil\u2069", "⟨RLO⟩evil⟨PDI⟩"),
        ("\x00\x1b\x85", "⟨U+0000⟩⟨U+001B⟩⟨U+0085⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("a\r\nb\rc", "a\nb⟨U+000D⟩c"),
        ("\u200f\u200d marks and joiners stay", "\u200f\u200d marks and joiners stay"),
    ],
)
def test_visible_names_what_would_act(text: str, said: str) -> None:
    assert words.visible(text) == said


def test_long_text_says_what_was_cut() -> None:
    assert words.shortened("x" * 10, 10) == "x" * 10
    assert words.shortened("x" * 5_000, 10) == "x" * 10 + " … (4,990 more characters)"


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 2**30, "5.0 GiB"), (3 * 2**40, "3.0 TiB")]
)
def test_sizes(count: int, said: str) -> None:
    assert words.size(count) == said


def test_a_recipe_is_flattened_by_name() -> None:
    recipe = {
        "__type__": "training.recipe:ContinuePretraining",
        "portions": [
            {"__type__": "training.recipe:Portion", "name": "eng", "tokens": 8000, "sources": [{"seed": 0}]},
            {"name": "ind", "tokens": 1},
        ],
        "optimisation": {"__type__": "training.recipe:Optimisation", "learning_rate": 1e-4, "betas": [0.9, 0.95]},
        "isolated": True,
        "stop": None,
        "empty": {},
        "none": [],
    }
    found = dict(words.flattened(recipe))
    assert found["portions[eng]"] == "Portion"
    assert found["portions[eng].tokens"] == "8,000"
    assert found["portions[eng].sources[0].seed"] == "0"
    assert found["portions[ind].tokens"] == "1"
    assert found["optimisation.betas"] == "0.9, 0.95"
    assert found["optimisation.learning_rate"] == "0.0001"
    assert (found["isolated"], found["stop"], found["empty"], found["none"]) == ("yes", "none", "none", "none")


# ---------------------------------------------------------------------------------------------------------------- pictures

CHAIN = [("base", "certified", "✓ certified"), ("expand", "stopped", "✗ stopped"), ("stage1", "not run", "– not run")]


def shapes(svg: str) -> ElementTree.Element:
    """The picture, parsed; every number in it finite and inside its box."""
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for element in root.iter():
        for name, most in (("x", width), ("cx", width), ("y", height), ("cy", height)):
            if name in element.attrib:
                assert 0 <= float(element.attrib[name]) <= most
        for x, y in re.findall(
            r"[ML]?(-?[\d.]+) (-?[\d.]+)", element.attrib.get("d", "") if element.attrib.get("class") in ("loss", "band") else ""
        ):
            assert -0.5 <= float(x) <= width + 0.5
            assert -0.5 <= float(y) <= height + 0.5
    assert "nan" not in svg
    assert "inf" not in svg.replace("infinite", "")
    return root


@pytest.mark.parametrize("upright", [True, False])
def test_the_graph_shows_each_stage_in_order_and_an_edge_a_parent(upright: bool) -> None:
    root = shapes(charts.release_graph(CHAIN, {"expand": ("base",), "stage1": ("expand",)}, upright=upright))
    rects = list(root.iter("rect"))
    along = [float(rect.attrib["y" if upright else "x"]) for rect in rects]
    assert along == sorted(along)
    assert len(set(along)) == 3
    assert len([path for path in root.iter("path") if path.attrib["class"].startswith("edge")]) == 2
    assert [path.attrib["class"] for path in root.iter("path") if "edge" in path.attrib["class"]] == ["edge open", "edge shut"]
    assert "expand: ✗ stopped" in root.attrib["aria-label"], "a state is said, not only coloured"
    assert {text.text for text in root.iter("text")} >= {"base", "expand", "stage1", "✓ certified", "✗ stopped", "– not run"}


@given(st.integers(1, 12), st.data())
def test_any_graph_has_a_place_for_every_stage(count: int, data: st.DataObject) -> None:
    names = [f"s{number}" for number in range(count)]
    parents = {
        name: data.draw(st.lists(st.sampled_from(names[:index]), unique=True, max_size=2)) for index, name in enumerate(names) if index
    }
    for upright in (True, False):
        root = shapes(charts.release_graph([(name, "certified", "✓") for name in names], parents, upright=upright))
        places = [(rect.attrib["x"], rect.attrib["y"]) for rect in root.iter("rect")]
        assert len(set(places)) == count, "no two stages on one place"


def test_a_side_branch_stands_beside_the_chain() -> None:
    chain = ["base", "curation", "expand", "stage1"]
    root = shapes(
        charts.release_graph(
            [(name, "certified", "") for name in chain], {"expand": ("base",), "stage1": ("expand", "curation")}, upright=True
        )
    )
    at = {rect_name: (float(rect.attrib["x"]), float(rect.attrib["y"])) for rect_name, rect in zip(chain, root.iter("rect"), strict=True)}
    assert at["curation"][1] == at["expand"][1], "just before its child"
    assert at["curation"][0] > at["expand"][0] == at["base"][0] == at["stage1"][0], "the chain stays straight"


def test_a_label_cannot_break_out_of_the_picture() -> None:
    name = "</svg><script>alert(1)</script>"
    root = shapes(charts.release_graph([(name, 'x" onload="alert(1)', "&")], {}, upright=True))
    assert not list(root.iter("script"))
    assert all("onload" not in key for element in root.iter() for key in element.attrib)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(-50, 50), st.none() | st.floats(0, 1)), min_size=1, max_size=700))
@example([(0, 1.6257786143213638e-103, None)])
@example([(0, 3.0, 0.1), (1, 3.0 + 1e-15, 0.1)])
def test_any_losses_make_a_curve(points: list[tuple[float, float, float | None]]) -> None:
    root = shapes(charts.loss_curve(sorted(points, key=lambda point: point[0]), "stage1"))
    curve = next(path for path in root.iter("path") if path.attrib["class"] == "loss")
    assert curve.attrib["d"].count("L") <= charts.POINTS + 1, "a run of weeks stays a small picture"


@given(st.lists(numbers, min_size=3, max_size=3).map(sorted), st.none() | numbers)
def test_any_interval_makes_a_mark(found: list[float], line: float | None) -> None:
    root = shapes(charts.interval_mark(found[0], found[2], found[1], line, "not run"))
    assert len([path for path in root.iter("path") if path.attrib["class"] == "line"]) == (line is not None)
    assert root.attrib["aria-hidden"] == "true"


@given(st.floats(-1e5, 1e5), st.floats(1e-4, 1e5))
def test_ticks_are_few_and_inside(low: float, width: float) -> None:
    ticks = charts._ticks(low, low + width)
    assert 1 <= len(ticks) <= 6
    assert all(low - 1e-6 * max(1, abs(low)) <= tick <= low + width + 1e-6 * max(1, abs(low)) for tick in ticks)


def test_losses_are_read_in_order_and_what_is_no_loss_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [
        json.dumps({"step": 2, "loss": 3.0, "learning_rate": 0.1}),
        "not json",
        '{"step": 3, "loss": NaN}',
        '{"step": 4}',
        "[]",
        "",
        '{"step": 1, "loss": 4}',
    ]
    path.write_bytes("\n".join(lines).encode() + b'\n\xff\xfe\n{"step": 5, "lo')
    points, left_out = lineage.read_losses(path)
    assert points == [(1.0, 4.0, None), (2.0, 3.0, 0.1)]
    assert left_out == 6


# ----------------------------------------------------------------------------------------------------------------- colours


def palettes() -> dict[str, dict[str, str]]:
    """The style sheet's variables: light, dark, print."""
    found = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)]
    return dict(zip(("light", "dark", "print"), found, strict=True))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else math.pow((part + 0.055) / 1.055, 2.4) for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_every_text_stands_out_from_its_ground(scheme: str) -> None:
    colours = palettes()[scheme]
    grounds = [(name, ground) for name in ("ink", "muted", "accent") for ground in ("paper", "panel")]
    grounds += [(name, ground) for name in ("good", "bad", "unsure", "idle", "waived") for ground in (f"{name}-bg", "paper")]
    for name, ground in [*grounds, *(("ink", f"{name}-bg") for name in ("good", "bad", "unsure", "idle", "waived"))]:
        light, dark = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{name} on {ground}"


def test_no_scheme_forgets_a_colour() -> None:
    light, dark, printed = palettes().values()
    assert light.keys() == dark.keys() == printed.keys()
