"""Samples and sizes of what layers cut: drawn the same however documents lie in shards, said by each layer that cuts, and never a personal datum."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.curation import chain, cuts, documents, extract, report
from training.curation.__main__ import main
from training.curation.cuts import SAMPLES, SIZES, Cuts
from training.curation.decontaminate import Decontaminate, write_ngrams
from training.curation.documents import Document
from training.curation.engine import Engine
from training.curation.exact import Exact
from training.curation.layer import EXCERPT, SHOWN, Decision, Judge, Layer, shown
from training.curation.lines import Lines
from training.curation.pii import Pii
from training.curation.settings import Curation


def key(of: str) -> bytes:
    return hashlib.blake2b(of.encode(), digest_size=16).digest()


cut_documents = st.lists(
    st.tuples(st.sampled_from(["tha", "eng", ""]), st.lists(st.text("abc", max_size=3), max_size=3), st.integers(0, 9)), max_size=60
)


@given(cut_documents, st.lists(st.integers(0, 60)))
def test_the_draw_is_that_of_all_documents_whatever_the_shards(told: list[tuple[str, list[str], int]], ends: list[int]) -> None:
    few = {"samples": 3, "sizes": 4}
    made = [Document(id=f"d{number}", text="x" * (10 + left), language=language) for number, (language, _, left) in enumerate(told)]
    after = [
        Decision(document=dataclasses.replace(one, text=one.text[: 10 - left]), cut=tuple(pieces)) if left else Decision(reason="dropped")
        for one, (_, pieces, left) in zip(made, told, strict=True)
    ]
    bounds = [0, *sorted(min(end, len(made)) for end in ends), len(made)]
    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuts, "FILES", few)
        for number, (start, end) in enumerate(itertools.pairwise(bounds)):
            part = Cuts()
            for one, decision in zip(made[start:end], after[start:end], strict=True):
                part.add(one, decision, True)
            (Path(directory) / f"{number:05d}.json").write_text(json.dumps(part.facts()))
        found = Cuts.joined(sorted(Path(directory).iterdir())).facts()
    for language in {one.language for one in made}:
        own = [(one, decision) for one, decision in zip(made, after, strict=True) if one.language == language and decision.document]
        things: dict[str, str] = {}
        for one, decision in own:
            for what in decision.cut:
                things.setdefault(what, one.id)
        expected = [{"id": things[what], "language": language, "what": what} for what in sorted(things, key=key)[:3]]
        assert [row for row in found["samples"] if row["language"] == language] == expected
        drawn = sorted((one.id for one, _ in own), key=key)[:4]
        sizes = {one.id: (len(one.text), len(decision.document.text)) for one, decision in own if decision.document}
        assert [(row["id"], (row["bytes"], row["left"])) for row in found["sizes"] if row["language"] == language] == [
            (name, sizes[name]) for name in drawn
        ]


def test_what_is_shown_is_short() -> None:
    assert shown(["", " \n", "a" * (EXCERPT + 1), "b", "c", "d"]) == ("a" * EXCERPT, "b", "c")
    assert SHOWN == 3


# ------------------------------------------------------------------------------------------------------------------ in the chain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tail(Layer):
    """Cuts the last word of a text, and drops a text of one word."""

    name = "tail"
    cuts = True
    stop: str = ""

    def judge(self, work: Path) -> Judge:
        def judge(batch: Sequence[Document], shard: int, first: int) -> list[Decision]:
            return [self._one(made) for made in batch]

        return judge

    def _one(self, made: Document) -> Decision:
        if self.stop and self.stop in made.text and not Path(self.stop).exists():
            raise RuntimeError("stopped")
        left, _, last = made.text.rpartition(" ")
        if not left:
            return Decision(reason="one word")
        return Decision(document=dataclasses.replace(made, text=left), cut=(last,), counts={"words cut": 1})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Silent(Tail):
    """The same, and says nothing of it."""

    cuts = False

    def _one(self, made: Document) -> Decision:
        return dataclasses.replace(super()._one(made), cut=())


def inputs(directory: Path, files: int = 3, rows: int = 400) -> str:
    directory.mkdir()
    for number in range(files):
        made = [
            Document(
                id=f"{number}-{row}", text=f"teks <b> {number * rows + row}" if row % 9 else "satu", language="ind" if row % 2 else "zsm"
            )
            for row in range(rows)
        ]
        documents.write(directory / f"{number}.jsonl", made)
    return str(directory)


def files(output: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("*")) if path.is_file() and path.name != "run.json"
    }


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "INPUT_BYTES", 1)


@pytest.mark.usefixtures("small_groups")
def test_samples_and_sizes_stand_beside_a_corpus_that_they_do_not_change(tmp_path: Path) -> None:
    told = inputs(tmp_path / "in")
    for workers in (1, 2):
        chain.run(Curation(layers=(Tail(),)), [told], tmp_path / f"out{workers}", Engine(workers=workers))
    chain.run(Curation(layers=(Silent(),)), [told], tmp_path / "silent", Engine(workers=1))
    assert files(tmp_path / "out1") == files(tmp_path / "out2")
    assert files(tmp_path / "out1/shards") == files(tmp_path / "silent/shards")
    assert not (tmp_path / "silent/cut").exists()
    assert [path.name for path in (tmp_path / "out1/cut").iterdir()] == ["01-tail"]
    samples, sizes = (rows(tmp_path / f"out1/cut/01-tail/{name}.jsonl") for name in ("samples", "sizes"))
    for language in ("ind", "zsm"):
        assert len([row for row in samples if row["language"] == language]) == SAMPLES
        assert len([row for row in sizes if row["language"] == language]) == SIZES
    texts = {made.id: made.text for path in Path(told).iterdir() for made in documents.read(path, print)}
    assert all(texts[row["id"]].endswith(f" {row['what']}") for row in samples)
    assert all(row["bytes"] - row["left"] == 1 + len(texts[row["id"]].rpartition(" ")[2]) for row in sizes)
    assert len({row["id"].partition("-")[0] for row in samples}) == 3  # of every shard, not of the first one


@pytest.mark.usefixtures("small_groups")
def test_a_run_that_goes_on_draws_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = inputs(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    recipe = Curation(layers=(Tail(stop="1000"),))  # a text of the third file, until a file of that name is there
    with pytest.raises(RuntimeError, match="stopped"):
        chain.run(recipe, [told], tmp_path / "out", Engine(workers=1))
    assert len(list((tmp_path / "out/work").glob("01-*/cut/*"))) == 2
    (tmp_path / "1000").touch()
    chain.run(recipe, [told], tmp_path / "out", Engine(workers=1))
    chain.run(Curation(layers=(Tail(),)), [told], tmp_path / "whole", Engine(workers=1))
    assert files(tmp_path / "out/cut") == files(tmp_path / "whole/cut")


def test_the_report_shows_what_was_cut_and_dropped_and_escapes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = [Document(id=f"odd{number}", text=f"kata lain <script>{number}\x1b[31m\u2028ujung", language="jav") for number in range(30)]
    documents.write(tmp_path / "in.jsonl", [*odd, Document(id="one", text="satu<i>\x1b[2J", language="jav")])
    chain.run(Curation(layers=(Tail(),)), [str(tmp_path / "in.jsonl")], tmp_path / "out", Engine(workers=1))
    assert main(["report", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    pieces = [line.strip() for line in told.splitlines() if line.strip().startswith("cut, jav: ")]
    assert len(pieces) == report.CUT
    assert all(re.fullmatch(r"cut, jav: <script>\d+\[31m ujung", piece) for piece in pieces)
    assert "one word" in told
    assert "satu<i>" in told
    assert "\x1b" not in told
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "<i>" not in page
    assert "satu&lt;i&gt;" in page
    assert "What was cut" in page
    assert "satu" not in report.text(report.load(tmp_path / "out"))  # counts alone where no corpus is given


# --------------------------------------------------------------------------------------------------------------- the layers say it


def left_of(layer: Layer, made: Sequence[Document], directory: Path) -> Path:
    documents.write(directory / "in.jsonl", made)
    chain.run(Curation(layers=(layer,)), [str(directory / "in.jsonl")], directory / "out", Engine(workers=1))
    return directory / "out"


def test_lines_shows_the_lines_that_went(tmp_path: Path) -> None:
    made = [
        Document(id=f"{number}", text=f"Beranda | Kontak {number}\ncerita nomor{'abcdefgh'[number]}", language="ind") for number in range(8)
    ]
    out = left_of(Lines(), made, tmp_path)
    samples = rows(out / "cut/01-lines/samples.jsonl")
    assert {(row["id"], row["what"], row["language"]) for row in samples} == {(f"{n}", f"Beranda | Kontak {n}", "ind") for n in range(8)}
    assert {(row["bytes"], row["left"]) for row in rows(out / "cut/01-lines/sizes.jsonl")} == {(32, 13)}


def test_exact_shows_the_passages_that_went(tmp_path: Path) -> None:
    passage = "ข้อความเดียวกันนี้ปรากฏอยู่ในเอกสารทั้งสองฉบับโดยไม่มีการเปลี่ยนแปลงใด ๆ ทั้งสิ้นเลยแม้แต่คำเดียว" * 2
    made = [
        Document(id="a", text=f"เรื่องแรก {passage} จบหนึ่ง", language="tha"),
        Document(id="b", text=f"อีกเรื่องหนึ่ง\n{passage}\nตอนจบสอง", language="tha"),
    ]
    out = left_of(Exact(), made, tmp_path)
    samples = rows(out / "cut/01-exact/samples.jsonl")
    assert {row["language"] for row in samples} == {"tha"}
    assert all(row["what"] in passage for row in samples)
    assert {row["id"] for row in samples} >= {"b"}
    for row in rows(out / "cut/01-exact/sizes.jsonl"):
        (text,) = [one.text for one in made if one.id == row["id"]]
        assert row["bytes"] == len(text.encode())
        (left,) = [one.text for path in (out / "shards").iterdir() for one in documents.read(path, print) if one.id == row["id"]]
        assert row["left"] == len(left.encode())


def test_decontaminate_shows_the_paragraphs_that_went(tmp_path: Path) -> None:
    asked = "Which of the boats came back to the old harbour before the heavy storm of that night had begun?"
    write_ngrams([("suite/1", asked)], tmp_path / "windows.npz")
    made = [Document(id="a", text=f"A page of its own.\n{asked}\nAnd more of it.", language="eng")]
    out = left_of(Decontaminate(ngrams=str(tmp_path / "windows.npz"), cut=True), made, tmp_path)
    assert rows(out / "cut/01-decontaminate/samples.jsonl") == [{"id": "a", "language": "eng", "what": asked}]
    assert [(row["bytes"] - row["left"]) for row in rows(out / "cut/01-decontaminate/sizes.jsonl")] == [len(asked) + 1]


def test_pii_shows_the_mask_in_its_place_and_never_the_datum(tmp_path: Path) -> None:
    data = ["budi.santoso@contoh.co.id", "+62 812-3456-7890", "3174015508900003", "203.113.172.45", "Jl. Jenderal Sudirman No. 12"]
    made = [
        Document(id="a", text=f"Tulis ke {data[0]} atau telepon {data[1]}, ya.", language="ind"),
        Document(id="b", text=f"NIK {data[2]}; dari {data[3]}; {data[4]}; {data[1]}", language="ind"),
        Document(id="c", text="Tidak ada apa-apa.", language="ind"),
    ]
    out = left_of(Pii(), made, tmp_path)
    samples = rows(out / "cut/01-pii/samples.jsonl")
    assert {kind for row in samples for kind in re.findall("<([A-Z]+)>", row["what"])} == {"EMAIL", "PHONE", "ID", "IP", "ADDRESS"}
    assert {row["id"] for row in samples} == {"a", "b"}
    assert {row["what"] for row in samples if row["id"] == "a"} == {"Tulis ke <EMAIL> atau telepon <PHONE>, ya."}
    said = (out / "cut/01-pii/samples.jsonl").read_text(encoding="utf-8")
    digits = re.sub(r"\D", "", said)
    for datum in data:
        assert datum not in said
        assert datum[:6] not in said
    assert not re.search(r"\d{4}", digits)
    assert not (out / "cut/01-pii/sizes.jsonl").exists()
