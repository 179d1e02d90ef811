"""Conversations: what is one, what is said of what is none, and of duplicates the first, language by language."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.curation import near_kit as kit
from training.curation import __main__ as commands
from training.curation import documents as shards_of
from training.curation import messages
from training.curation.documents import CurationError, Document
from training.curation.messages import PAPER, Invalid, check
from training.curation.near import Near

NAMES = {"S": "system", "U": "user", "A": "assistant", "T": "tool"}
SURE = Near(**{**PAPER, "bands": 128, "rows": 1, "shingle": 1, "threshold": 0.3})  # type: ignore[arg-type]
WORDS = st.lists(st.sampled_from(["a", "B", "b", "c", "ก", "ข", "中"]), min_size=1, max_size=3).map(" ".join)
ROWS = st.lists(st.tuples(st.sampled_from(["tha", "lao", ""]), st.sampled_from(["", "z"]), WORDS, WORDS), max_size=12)


def turns(roles: str, content: str = "x") -> list[dict[str, Any]]:
    return [{"role": NAMES[role], "content": content} for role in roles]


def chat(row: tuple[str, str, str, str], number: int) -> dict[str, Any]:
    """A row of (language, system message or "", what the user says, what the assistant says)."""
    language, system, user, assistant = row
    said = [("system", system)] * bool(system) + [("user", user), ("assistant", assistant)]
    return {"id": f"d{number}", "messages": [{"role": role, "content": content} for role, content in said], "language": language}


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_bytes(b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def kept_rows(output: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((output / "shards").iterdir()) for row in lines(path)]


# -------------------------------------------------------------------------------------------------------------- what is one


@pytest.mark.parametrize("roles", ["SUA", "UAUA", "UA", "SUAUA"])
def test_conversations(roles: str) -> None:
    check(turns(roles))


@pytest.mark.parametrize(
    ("roles", "reason", "said"),
    [
        ("U", "assistant not last", "the user has the last turn"),
        ("AU", "user not first", "the assistant has the first turn"),
        ("UUA", "no alternation", "messages 1 and 2 are both by the user"),
        ("SUAA", "no alternation", "messages 3 and 4 are both by the assistant"),
        ("SSUA", "system not first", "message 2 is a system message"),
        ("USA", "system not first", "message 2 is a system message"),
        ("UAU", "assistant not last", "the user has the last turn"),
        ("S", "no exchange", "there is only a system message"),
        ("UTA", "unknown role", "message 2 is by 'tool'; roles are system, user, assistant"),
        ("", "no messages", "`messages` is empty"),
    ],
)
def test_no_conversations(roles: str, reason: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        check(turns(roles))
    assert (refused.value.reason, str(refused.value)) == (reason, f"{reason}: {said}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "blank content"),
        (" \n\u3000", "blank content"),
        ("\u200b\u200c\ufeff\u2060", "blank content"),
        ("\u00ad\u180e\u3164\U000e0020", "blank content"),
        (None, "no content"),
        (5, "no content"),
        (["x"], "no content"),
        ("x\x00", "no valid text"),
        ("x\ud800", "no valid text"),
    ],
)
def test_contents_that_are_none(content: Any, reason: str) -> None:
    for number, role in enumerate(("system", "user", "assistant")):
        told = turns("SUA")
        told[number]["content"] = content
        with pytest.raises(Invalid) as refused:
            check(told)
        assert refused.value.reason == reason
        assert f"message {number + 1}" in str(refused.value) or role in str(refused.value)


@pytest.mark.parametrize("odd", [None, {}, "UA", 5, [], ["x"], [None], [{"content": "x"}], [{"role": ["user"], "content": "x"}]])
def test_messages_that_are_none(odd: Any) -> None:
    with pytest.raises(Invalid):
        check(odd)


@given(st.text("SUAT", max_size=6))
def test_the_grammar(roles: str) -> None:
    """A system message or none, then exchanges: a regular expression over the roles says the same."""
    try:
        check(turns(roles))
    except Invalid:
        assert not re.fullmatch("S?(UA)+", roles)
    else:
        assert re.fullmatch("S?(UA)+", roles)


def test_what_shows_by_the_unicode_database() -> None:
    """Nothing with a shape is taken for blank: letters (but the fillers), numbers, punctuation, symbols; all white space is."""
    fillers = set("\u115f\u1160\u3164\uffa0\u17b4\u17b5")
    for point in range(sys.maxunicode + 1):
        character = chr(point)
        shows, kind = messages._SHOWN.search(character) is not None, unicodedata.category(character)
        if kind[0] in "LNPS" or kind == "Co":
            assert shows != (character in fillers), hex(point)
        if character.isspace() or kind == "Cc":
            assert not shows, hex(point)


# --------------------------------------------------------------------------------------------------------------- duplicates


@settings(max_examples=12, deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_duplicates_as_brute_force_says(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], source: random.Random) -> None:
    """Clusters are those of the definition within each language, the first row of each is kept, and shuffling changes no cluster."""
    directory = tmp_path_factory.mktemp("chat")
    made = [chat(row, number) for number, row in enumerate(rows)]
    expected = set()
    for language in {row[0] for row in rows}:
        own = [number for number, row in enumerate(rows) if row[0] == language]
        documents = [Document(id="", text=f"{rows[number][2]}\n{rows[number][3]}") for number in own]
        for cluster in kit.clusters(len(own), kit.alike(documents, 1, SURE.threshold)):
            expected.add(frozenset(f"d{own[int(name[1:])]}" for name in cluster))
    for order in (made, source.sample(made, len(made))):
        output = directory / f"out{order is made}"
        report = messages.run([str(jsonl(directory / "chat.jsonl", order))], output, SURE, kit.HERE)
        found: dict[str, set[str]] = {}
        for gone in lines(output / "dropped.jsonl"):
            kept = re.fullmatch(r"kept is (.*), row (\d+) \(Jaccard .*\)", gone["detail"])
            assert kept is not None
            first = order[int(kept[2]) - 1]["id"]
            found.setdefault(first, {first}).add(gone["id"])
        assert {frozenset(cluster) for cluster in found.values()} == expected
        place = {row["id"]: number for number, row in enumerate(order)}
        assert all(min(cluster, key=place.__getitem__) == first for first, cluster in found.items())
        left = kept_rows(output)
        assert [row["id"] for row in left] == [row["id"] for row in order if row["id"] not in set().union(*found.values()) - set(found)]
        # exact duplicates are always gone, and named so
        equal = [json.dumps([row["language"], row["messages"]]) for row in left]
        assert len(set(equal)) == len(equal)
        repeats = len(order) - len({json.dumps([row["language"], row["messages"]]) for row in order})
        assert report["counts"]["exact"] == repeats == sum(gone["reason"] == "exact duplicate" for gone in lines(output / "dropped.jsonl"))
        assert sum(report["counts"][what] for what in ("exact", "near", "kept")) == report["counts"]["rows"] == len(made)


def test_the_papers_settings_and_a_shared_instruction(tmp_path: Path) -> None:
    """Exact duplicates go whatever the bands catch; a long instruction does not make short conversations alike."""
    near = Near(**PAPER)  # type: ignore[arg-type]
    assert (near.permutations, near.threshold, near.per_language, near.keep, near.banding()) == (128, 0.8, True, "first", (9, 13))
    system = " ".join(f"rule{number}" for number in range(300))
    rows = [chat(("tha", system, f"what is {number} and {number + 7}", f"it is {number * 3}"), number) for number in range(40)]
    report = messages.run([str(jsonl(tmp_path / "chat.jsonl", [*rows, *rows]))], tmp_path / "out", near, kit.HERE)
    assert report["counts"] == {"unreadable": 0, "rows": 80, "invalid": 0, "exact": 40, "near": 0, "kept": 40}
    assert kept_rows(tmp_path / "out") == rows
    assert report["near"]["caught"] == {"0.7": 0.0839, "0.8": 0.3988, "0.9": 0.9286}


def test_the_same_in_another_language_stays(tmp_path: Path) -> None:
    rows = [chat((language, "", "a b c", "d e f"), number) for number, language in enumerate(["ind", "zsm", "", "ind"])]
    report = messages.run([str(jsonl(tmp_path / "chat.jsonl", rows))], tmp_path / "out", SURE, kit.HERE)
    assert [row["id"] for row in kept_rows(tmp_path / "out")] == ["d0", "d1", "d2"]
    assert [(cell["language"], cell["exact"], cell["kept"]) for cell in report["cells"]] == [("", 0, 1), ("ind", 1, 1), ("zsm", 0, 1)]


# -------------------------------------------------------------------------------------------------------------------- files


def test_lines_come_out_as_they_stood_and_the_others_are_told(tmp_path: Path) -> None:
    good = b'{ "messages":[{"role":"user","content":"apa"},{"role":"assistant","content":"ya","weight":0.5}], "tags":[1,"a"], "language":"ind" }'
    bad = [{**chat(("ind", "", "a", "b"), 9), "language": ["ind"]}, {"messages": turns("UU"), "category": "math"}, {"text": "x"}]
    path = jsonl(tmp_path / "chat.jsonl", [b"\xef\xbb\xbf" + good + b"\r\n", b"\n", b"{\n", b'{"messages": "\xff"}\n', b"[]\n", *bad])
    report = messages.run([str(path)], tmp_path / "out", SURE, kit.HERE)
    assert (tmp_path / "out" / "shards" / "00000.jsonl").read_bytes() == good + b"\n"
    told = [(amiss["row"], amiss["reason"].partition(":")[0]) for amiss in lines(tmp_path / "out" / "quarantine.jsonl")]
    assert told == [(3, "Expecting property name enclosed in double quotes"), (4, "not UTF-8"), (5, "a list, not an object"),
                    (6, "no valid language"), (7, "no alternation"), (8, "no messages")]  # fmt: skip
    content = path.read_bytes()
    for amiss in lines(tmp_path / "out" / "quarantine.jsonl")[2:]:
        assert content.splitlines(keepends=True)[amiss["row"] - 1] == content[amiss["offset"] :].splitlines(keepends=True)[0]
        assert amiss["file"] == str(path)
    assert report["counts"] == {"unreadable": 3, "rows": 4, "invalid": 3, "exact": 0, "near": 0, "kept": 1}
    assert report["reasons"] == {"unreadable": 3, "no alternation": 1, "no messages": 1, "no valid language": 1}
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert "math" in messages.text(report)
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["dropped.jsonl", "quarantine.jsonl", "report.json", "shards"]


def test_parquet_keeps_its_types_and_parts_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = pyarrow.schema(
        {
            "messages": pyarrow.list_(pyarrow.struct({"role": pyarrow.string(), "content": pyarrow.string()})),
            "language": pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
            "score": pyarrow.float32(),
            "id": pyarrow.int64(),
        }
    )
    rows = [{**chat(("tha", "", f"kata{number % 7}", "b"), number), "id": number, "score": number / 3} for number in range(11)]
    rows[4]["messages"] = turns("AU")
    rows[5]["messages"] = None
    table = pyarrow.Table.from_pylist(rows, schema)
    pyarrow.parquet.write_table(table, tmp_path / "chat.parquet", row_group_size=4)
    table = pyarrow.parquet.read_table(tmp_path / "chat.parquet")  # Parquet calls a list's items elements
    near = dataclasses.replace(SURE, threshold=1.0)
    whole = messages.run([str(tmp_path / "chat.parquet")], tmp_path / "whole", near, kit.HERE)
    monkeypatch.setattr(shards_of, "SHARD_DOCUMENTS", 2)
    parted = messages.run([str(tmp_path / "chat.parquet")], tmp_path / "parted", near, kit.HERE)
    assert whole == parted
    kept = [0, 1, 2, 3, 6]
    assert pyarrow.parquet.read_table(tmp_path / "whole" / "shards" / "00000.parquet") == table.take(kept)
    parts = [pyarrow.parquet.read_table(path) for path in sorted((tmp_path / "parted" / "shards").iterdir())]
    assert len(parts) == 3
    assert [row for part in parts for row in part.to_pylist()] == table.take(kept).to_pylist()
    assert {part.schema for part in parts} == {table.schema}
    for name in ("dropped.jsonl", "quarantine.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parted" / name).read_bytes()


def test_nothing_is_left_of_a_run_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jsonl(tmp_path / "chat.jsonl", [chat(("tha", "", "a", "b"), 0)])

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(messages, "_filter", full)
        with pytest.raises(OSError, match="No space"):
            messages.run([str(path)], tmp_path / "out", SURE, kit.HERE)
    assert list(tmp_path.iterdir()) == [path]
    messages.run([str(path)], tmp_path / "out", SURE, kit.HERE)
    with pytest.raises(CurationError, match="name another, or remove it"):
        messages.run([str(path)], tmp_path / "out", SURE, kit.HERE)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = jsonl(tmp_path / "chat.jsonl", [chat(("tha", "", "a", "b"), 0), chat(("tha", "", "a", "b"), 1)])
    told = ["messages", "--input", str(path), "--output", str(tmp_path / "out"), "--workers", "1"]
    assert commands.main([*told, "--set", "near.bands=16", "near.rows=8"]) == 0
    said = capsys.readouterr().out
    assert "16 bands of 8" in said
    assert re.search(r"^all +2 +0 +1 +0 +1$", said, re.MULTILINE)
    for more, why in (
        (["--set", "near.bnads=3"], "did you mean bands?"),
        (["--set", "url.unit=bytes"], "settings of near alone"),
        (["--workers", "-1"], "1 or more"),
        ([], "name another, or remove it"),
        (["--input", str(tmp_path / "none.jsonl")], "no such file"),
    ):
        assert commands.main([*told, *more]) == 2
        assert why in capsys.readouterr().err


def test_a_table_of_other_rows_is_refused(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"conversations": [1]}), tmp_path / "a.parquet")
    with pytest.raises(CurationError, match=r"has no column `messages`.*conversations"):
        messages.run([str(tmp_path / "a.parquet")], tmp_path / "out", SURE, kit.HERE)
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(CurationError, match="its name ends in none of"):
        messages.run([str(tmp_path / "a.csv")], tmp_path / "out", SURE, kit.HERE)
    assert not (tmp_path / "out").exists()


def test_a_file_of_which_nothing_can_be_had_costs_the_others_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Torn, empty, of other columns, of a name that is no Unicode: each is named, and the conversations of the others stay."""
    told = tmp_path / "in"
    told.mkdir()
    jsonl(Path(os.fsdecode(os.fsencode(told) + b"/0-\xff.jsonl")), [chat(("tha", "", "one", "two"), 0)])
    (told / "1-empty.jsonl").write_bytes(b"\n")
    (told / "2-torn.parquet").write_bytes(b"PAR1torn")
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x"]}), told / "3-other.parquet")
    jsonl(told / "4.jsonl", [chat(("tha", "", "three", "four"), 1)])
    assert commands.main(["messages", "--input", str(told), "--output", str(tmp_path / "out"), "--workers", "1"]) == 0
    assert "3" in capsys.readouterr().out
    assert {row["id"] for row in kept_rows(tmp_path / "out")} == {"d0", "d1"}
    amiss = lines(tmp_path / "out" / "quarantine.jsonl")
    assert [(Path(one["file"]).name, one["row"]) for one in amiss] == [("1-empty.jsonl", 0), ("2-torn.parquet", 0), ("3-other.parquet", 0)]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["counts"]["unreadable"] == 3
