"""The report of a made-up run: what it says, that nothing on it can act, that it needs nothing beside it, and what it does without."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.report import ReportError, render, words, write_report
from harness.report.run import GateView, read_run
from harness.report.words import visible
from harness.rows import Rows
from harness.rules import suite_metrics
from harness.statistics import compare, estimate
from tests.harness.report_page import Page
from tests.harness.report_run import HOSTILE, SCRIPT, Made, copied, make


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run that stage1 stops, with one gate inconclusive; not to be changed."""
    return make(tmp_path_factory.mktemp("stopped"))


@pytest.fixture
def made(stopped: Made, tmp_path: Path) -> Made:
    """The same run in a directory of its own, to be changed."""
    return copied(stopped, tmp_path / "copy")


@pytest.fixture(scope="module")
def page(stopped: Made) -> Page:
    return Page(render(stopped.store, stopped.record))


# ------------------------------------------------------------------------------------------------------------- what it says


def test_the_verdict_is_the_title_and_the_first_heading(page: Page) -> None:
    assert "<h1>Stopped by stage1.learns.tha</h1>" in page.source
    assert "<title>Stopped by stage1.learns.tha · Seatrials</title>" in page.source
    assert "1 fail, 1 inconclusive, 3 pass: 5 gates of base, expand, stage1." in page.said


def test_headings_go_down_by_single_steps(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels))


def test_the_graph_has_the_state_of_every_stage(page: Page) -> None:
    graphs = [svg["aria-label"] for svg in page.all("svg") if svg["class"] == "graph"]
    assert len(graphs) == 2, "one upright for a phone, one lying for a screen"
    for told in graphs:
        assert told == "Release graph. base: ✓ certified; expand: ✓ certified; stage1: ✗ stopped; stage2: · not in this run"


def test_the_gate_table_has_the_terminals_values(page: Page, stopped: Made) -> None:
    assert [row["verdict"] for row in stopped.rows] == ["pass", "pass", "pass", "fail", "inconclusive"]
    for row in stopped.rows:
        for cell in words.cells(row).values():
            assert cell in page.said
        assert row["reason"] in page.said
    for line in ("more than three bits a byte is no model <of> anything", "the new languages are learned"):
        assert f"Why this gate: {line}" in page.said
    for label in ("✓ pass", "✗ fail", "? inconclusive"):
        assert label in page.said, "a verdict is a word and a mark, not only a colour"


def test_scores_per_language_are_those_of_the_statistics(page: Page, stopped: Made) -> None:
    view = read_run(stopped.record, stopped.store)
    assert view.profile is not None
    metric = suite_metrics(view.profile, "perplexity")["bits_per_byte"]
    rows = {stage.name: Rows.read(stage.rows / "perplexity.parquet") for stage in view.stages if stage.rows}
    assert rows.keys() == {"base", "expand", "stage1"}
    for language in ("eng", "ind", "tha"):
        for stage in rows:
            found = estimate(rows[stage].select([language]), metric, [language])
            assert f"{found.value:.4f} [{found.lower():.4f}, {found.upper():.4f}]" in page.said
        change = compare(rows["stage1"], rows["expand"], metric, [language])
        word = {"eng": "worse", "ind": "▲ {:+.4f} better", "tha": "▼ {:+.4f} worse"}[language]
        assert language == "eng" or word.format(change.value) in page.said
    assert "= +0.0000 same" in page.said, "expand is exact"
    assert "mean of 3" in page.said
    assert "mean, unseen" in page.said, "strata are reported apart"
    assert "perplexity.bits_per_byte lower is better" in page.said
    assert "6 metrics that no gate of this run reads" in page.said


def test_losses_lineage_environment_and_suites_are_there(page: Page, stopped: Made) -> None:
    assert len([svg for svg in page.all("svg") if svg["class"] == "curve"]) == 2
    assert "No losses were kept: this stage does not train" in page.said
    for artifact in stopped.artifacts.values():
        record = artifact.record
        for told in (record.fingerprint, record.content, record.data, f"{record.tokens:,}", *(parent.content for parent in record.parents)):
            assert told in page.said
        for name, entry in record.files.items():
            assert f"{name}" in page.said
            assert entry.sha256 in page.said
    assert "portions[tha].tokens 8,000" in page.said
    assert "optimisation.learning_rate 0.01" in page.said
    assert "portions.eng.epochs 1.25" in page.said
    assert "wall time 1:16" in page.said
    assert re.search(r"torch differs 2\.11\.0 2\.12\.0 2\.13\.0", page.said), "drift is shown, stage by stage and for this run"
    assert "drafted by us; not reviewed by a native speaker" in page.said
    assert re.search(r"perplexity stage1 120 40 3 120 0 1\.2", page.said)
    assert "eng 40, ind 40, tha 40" in page.said


def test_each_gate_that_did_not_pass_has_its_samples_and_command(page: Page, stopped: Made) -> None:
    cards = page.source.split('<article class="card">')[1:]
    assert len(cards) == 2
    for card, row in zip(cards, stopped.rows[3:], strict=True):
        assert row["gate"] in card
        assert f"pytest -m stage1 -k {row['gate']} --gate-profile" in card
        assert len(row["telling"]) == 3
        for telling in row["telling"]:
            assert f"<bdi>{telling['sample']}</bdi>" in card
            assert f"{telling['value']:.4f} against {telling['against']:.4f}" in card


# ----------------------------------------------------------------------------------------------------- nothing on it can act


def test_nothing_runs_and_nothing_is_loaded(page: Page) -> None:
    assert {tag for tag, _ in page.elements} & {
        "script",
        "img",
        "iframe",
        "object",
        "embed",
        "link",
        "base",
        "form",
        "input",
        "audio",
        "video",
    } == set()
    for _, attributes in page.elements:
        assert not {name for name in attributes if name.startswith("on") or name in ("src", "srcset", "style", "action", "xlink:href")}
        assert attributes.get("href", "#").startswith("#")
    style = page.source.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy


def test_hostile_text_is_shown_as_text(page: Page) -> None:
    assert SCRIPT in page.said
    assert "<script" not in page.source
    assert "\"quoted\" 'single' & &amp; {{ 7 * 7 }}" in page.said, "escaped once, and no template of ours"
    for key, text in HOSTILE.items():
        assert key in page.said
        assert " ".join(visible(text)[:2_000].split()) in page.said
    assert "(2,000 more characters)" in page.said


def test_text_of_any_direction_is_isolated_and_its_controls_are_inert(page: Page) -> None:
    assert not set(page.source) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\x00\x07\x1b")
    assert "⟨RLO⟩evil⟨PDI⟩ السلام عليكم ⟨RLI⟩unclosed" in page.said
    said = re.findall(r'<div class="said" dir="auto" lang="(\w+)"><bdi>(.*?)</bdi></div>', page.source, re.DOTALL)
    assert len(said) == 6 * len(HOSTILE)
    assert {language for language, _ in said} <= {"eng", "ind", "tha"}
    assert "unicode-bidi: isolate" in page.source


def test_names_are_escaped_wherever_they_stand(made: Made) -> None:
    data = json.loads(made.record.read_text())
    evil = '"><script>alert(1)</script>\u202e'
    for row in data["gates"]:
        row["reason"] = row["metric"] = evil
        for telling in row["telling"]:
            telling.update(sample=evil, cluster=evil, language=evil, shown={evil: evil})
    data["environment"]["packages"][evil] = evil
    data["made"] = data["samples"] = evil
    data["git"] = {"commit": evil, "dirty": True}
    data["gates"][3]["build_error"] = evil
    rows = Path(data["stages"]["stage1"]["rows"])
    (rows / "summary.json").write_text(json.dumps({evil: {"rows": 1, "facts": {evil: evil, "languages": {evil: 1}}}}))
    made.record.write_text(json.dumps(data))
    page = Page(render(made.store, made.record))
    assert "<script" not in page.source
    assert "\u202e" not in page.source
    assert all(not name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.said.count("<script>alert(1)</script>⟨RLO⟩") > 30


def test_ids_are_unique_and_every_link_has_its_target(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    links = [attributes["href"][1:] for attributes in page.all("a")]
    assert set(links) <= set(ids)
    assert {"graph", "gates", "samples", "scores", "losses", "lineage", "environment", "suites"} <= set(links)
    for _, attributes in page.elements:
        assert attributes.get("aria-labelledby", "graph-title") in ids


def test_a_phone_a_dark_room_and_a_printer_are_thought_of(page: Page) -> None:
    assert next(meta for meta in page.all("meta") if meta.get("name") == "viewport")["content"] == "width=device-width, initial-scale=1"
    assert page.all("html") == [{"lang": "en"}]
    for query in ("prefers-color-scheme: dark", "max-width: 60rem", "@media print"):
        assert query in page.source
    for table in page.source.split("<table")[1:]:
        assert page.source.partition(f"<table{table}")[0].rstrip().endswith(">")
    assert all(before.rstrip().rpartition("<")[2].startswith('div class="box') for before in page.source.split("<table")[:-1]), (
        "tables scroll in a box"
    )


# ------------------------------------------------------------------------------------------------------------------- writing


def test_it_is_written_whole_or_not_at_all(stopped: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "made" / "report.html"
    write_report(path, stopped.store, stopped.record)
    first = path.read_bytes()
    assert first.startswith(b"<!doctype html>")
    assert first.endswith(b"</html>\n") or first.endswith(b"</html>")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReportError, match=r"No space left on device.*--gate-report"):
        write_report(path, stopped.store, stopped.record)
    assert path.read_bytes() == first
    assert list(path.parent.iterdir()) == [path], "nothing is left beside it"


def test_a_place_that_cannot_be_written_is_named(stopped: Made, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match=re.escape(str(tmp_path / "file" / "report.html"))):
        write_report(tmp_path / "file" / "report.html", stopped.store, stopped.record)


def test_the_same_run_gives_the_same_page(stopped: Made) -> None:
    assert render(stopped.store, stopped.record) == render(stopped.store, stopped.record)


def test_torch_is_never_imported(stopped: Made, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from harness.report import write_report; from harness.store import Store\n"
        "write_report(Path(sys.argv[1]), Store(sys.argv[2]), Path(sys.argv[3]))\n"
        "assert not {'torch', 'transformers', 'lm_eval', 'datasets'} & sys.modules.keys(), sorted(sys.modules)"
    )
    arguments = [str(tmp_path / "report.html"), str(stopped.store.root), str(stopped.record)]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, timeout=120, env=dict(_environment()))
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def _environment() -> Iterator[tuple[str, str]]:
    yield from os.environ.items()
    yield "PYTHONPATH", str(Path(__file__).resolve().parents[2])


def test_every_state_and_verdict_has_a_colour() -> None:
    from harness.report.run import KINDS, STATES

    style = (Path(sys.modules["harness.report"].__file__ or "").parent / "style.html.j2").read_text()
    for kind in (*KINDS, *STATES):
        assert re.search(rf"\.is-{kind.replace(' ', '-')}\b", style), kind


def test_a_gate_that_passed_says_so() -> None:
    row = {"gate": "base.speaks.eng", "stage": "base", "waived": False, "verdict": "pass"}
    assert GateView(row=row, anchor="gate-0", why="", command="").label == "✓ pass"
