"""From shards to corpora by the command: one a language, the same however often it was stopped; and the paper's Tables 3 to 5."""

from __future__ import annotations

import csv
import dataclasses
import fcntl
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from tests.training import small
from training.curation.documents import CurationError, Document
from training.curation.documents import write as write_shard
from training.pretraining import counts
from training.pretraining.corpus import end_of_document, tokenise
from training.pretraining.counts import Statistics, licensed, statistics, table
from training.pretraining.mapped import Header, Tokens, TokensError
from training.pretraining.scratch import train_tokenizer
from training.pretraining.tokens import JOURNAL, MANIFEST, UNFINISHED, build, main

PAPER = Path(__file__).resolve().parents[2] / "goldens" / "paper"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer([" ".join(words) for words in small.WORDS.values()], 300, 64)


def documents(shard: int) -> list[Document]:
    """Two languages and one that is none, two sources, turn by turn."""
    kinds = [("eng", "web", "CC0-1.0"), ("ind", "books", ""), ("eng", "books", ""), ("../x", "web", "")]
    return [
        Document(
            id=f"{shard}-{row}",
            text=" ".join(small.WORDS["ind"][: 1 + (row + shard) % 9]),
            language=kind[0],
            source=kind[1],
            licence=kind[2],
        )
        for row, kind in enumerate(kinds * 3)
    ]


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a.parquet", "b.jsonl", "c.jsonl.zst")]
    for number, path in enumerate(paths):
        write_shard(path, documents(number))
    return paths


def files(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("*")) if path.is_file()}


def test_a_corpus_a_language_with_its_documents_in_order(shards: list[Path], tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    headers = build(shards, tokenizer, tmp_path / "out", print)
    assert [header.language for header in headers] == ["eng", "ind", "und"]
    for header in headers:
        mine = [
            document
            for shard in range(3)
            for document in documents(shard)
            if header.language in (document.language, "und" if document.language == "../x" else "")
        ]
        opened = Tokens.open(tmp_path / "out" / header.language)
        opened.verify()
        assert header.documents == len(mine)
        assert header.bytes == sum(len(document.text.encode()) for document in mine)
        expected = [[*ids.tolist(), end_of_document(tokenizer)] for ids in tokenise(tokenizer, [document.text for document in mine])]
        found = [opened.ids_N[a:b].tolist() for a, b in zip(opened.starts_D1[:-1], opened.starts_D1[1:], strict=True)]
        assert found == expected
        assert header.dtype == "uint16"
    assert headers[0].sources == {"books": 9, "web": 9}
    assert headers[0].licences == {"": 9, "CC0-1.0": 9}


class Killed(BaseException):
    """Where a test stops the work."""


@pytest.mark.parametrize("at", ["shard 1", "shard 2", "inside shard 3", "between corpora"])
def test_a_run_that_was_stopped_ends_with_the_same_files(
    shards: list[Path], tokenizer: PreTrainedTokenizerFast, tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(shards, tokenizer, tmp_path / "whole")

    def tell(text: str) -> None:
        if text.startswith(at.removeprefix("shard ")):
            raise Killed

    if at == "inside shard 3":
        torn = shards[2].read_bytes()
        shards[2].unlink()
        with pytest.raises(CurationError, match="cannot be read"):
            build(shards, tokenizer, tmp_path / "out")
        shards[2].write_bytes(torn)
        for name in ("ids.bin", "starts.bin"):  # what of the third shard had reached the disk
            with (tmp_path / "out" / UNFINISHED / "eng" / name).open("ab") as file:
                file.write(b"half")
    elif at == "between corpora":
        rename, moved = Path.rename, []

        def failing(self: Path, target: Path) -> Path:
            if moved:
                raise Killed
            moved.append(target)
            return rename(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", failing)
            with pytest.raises(Killed):
                build(shards, tokenizer, tmp_path / "out")
        assert (tmp_path / "out" / "eng" / "header.json").is_file()
    else:
        with pytest.raises(Killed):
            build(shards, tokenizer, tmp_path / "out", tell)
    assert not (tmp_path / "out" / MANIFEST).exists()
    assert len(json.loads((tmp_path / "out" / UNFINISHED / JOURNAL).read_text())["shards"]) == {"shard 1": 1, "between corpora": 3}.get(
        at, 2
    )
    build(shards, tokenizer, tmp_path / "out")
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert not (tmp_path / "out" / UNFINISHED).exists()


def test_a_finished_output_is_used_again_and_another_refused(
    shards: list[Path], tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    build(shards[:2], tokenizer, output)
    before = files(output)
    told: list[str] = []
    build(shards[:2], tokenizer, output, told.append)
    assert told == [f"{output} holds these shards already"]
    assert files(output) == before
    with pytest.raises(TokensError, match="complete, with 2 shards of the 3 given"):
        build(shards, tokenizer, output)
    with pytest.raises(TokensError, match=r"shard 2 was b\.jsonl and is now nothing"):
        build(shards[:1], tokenizer, output)
    with pytest.raises(TokensError, match=r"shard 1 was a\.parquet and is now b\.jsonl"):
        build(shards[1::-1], tokenizer, output)
    with pytest.raises(TokensError, match="tokens of another tokenizer"):
        build(shards[:2], train_tokenizer(["quite other words"], 280, 64), output)


def test_two_processes_do_not_write_one_output(shards: list[Path], tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    (tmp_path / "out" / UNFINISHED).mkdir(parents=True)
    with (tmp_path / "out" / UNFINISHED / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TokensError, match="another process is writing"):
            build(shards, tokenizer, tmp_path / "out")


def test_the_command(shards: list[Path], tokenizer: PreTrainedTokenizerFast, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with shards[1].open("ab") as file:
        file.write(b"{}\n")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    given = [*map(str, shards), "--tokenizer", str(tmp_path / "tokenizer"), "--output", str(tmp_path / "out")]
    assert main(given) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split() == ["language", "documents", "bytes", "tokens", "bytes/token"]
    assert sorted(line.split()[:2] for line in lines[1:]) == [["eng", "18"], ["ind", "9"], ["total", "36"], ["und", "9"]]
    assert "1 rows could not be read" in captured.err
    assert main([str(tmp_path / "nothing.jsonl"), *given[3:]]) == 1
    assert "tokens: --input" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------- statistics


def rows(name: str) -> list[dict[str, str]]:
    with (PAPER / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def headers() -> list[Header]:
    """Table 3 as corpora: bytes on disk and tokens; it counts no documents."""
    return [
        Header(
            name=row["language"], language=row["language"], tokenizer="", end=0, dtype="uint32", documents=0,
            tokens=round(float(row["tokens_billion"]) * 1e9), bytes=round(float(row["disk_gb"]) * 1e9),
        )
        for row in rows("table_03.csv")
    ]  # fmt: skip


def test_tables_3_and_4_give_the_epochs_of_stage_1() -> None:
    languages = {header.language for header in headers()}
    drawn = {row["row"]: round(float(row["tokens_billion"]) * 1e9) for row in rows("table_04.csv") if row["row"] in languages}
    found = {row.language: row for row in statistics(headers(), drawn)}
    epochs = {"vie": 0.21, "ind": 0.29, "tha": 1.5, "zsm": 1.9, "tgl": 2.3, "mya": 3.6, "khm": 3.8}
    for language, expected in epochs.items():
        assert found[language].epochs == pytest.approx(expected, abs=0.05)
        assert found[language].bytes_per_token == pytest.approx(4, abs=0.1)  # an estimate: disk bytes over 4
    assert found["lao"].epochs == 0
    assert found["total"].drawn == sum(drawn.values())


def test_rows_stand_in_the_order_of_table_3_with_their_total() -> None:
    found = [row.language for row in statistics(headers())]
    assert found == [*[row["language"] for row in rows("table_03.csv")][:8], "lao", "jav", "sun", "war", "ilo", "total"]


def corpus(name: str, language: str, tokens: int) -> Header:
    return Header(name=name, language=language, tokenizer="", end=0, dtype="uint16", documents=2, tokens=tokens, bytes=tokens * 3)


def test_corpora_of_one_language_are_one_row() -> None:
    found = statistics([corpus("a", "ind", 10), corpus("b", "tha", 50), corpus("c", "ind", 30)], {"ind": 40})
    assert found == [
        Statistics(language="tha", documents=2, bytes=150, tokens=50, drawn=0),
        Statistics(language="ind", documents=4, bytes=120, tokens=40, drawn=40),
        Statistics(language="total", documents=6, bytes=270, tokens=90, drawn=40),
    ]
    with pytest.raises(TokensError, match="drawn of tha, of which there is no corpus; there are ind"):
        statistics([corpus("a", "ind", 10)], {"tha": 1})


@pytest.mark.parametrize(
    ("drawn", "lines"),
    [
        (None, ["language  documents  bytes  tokens  bytes/token", "ind               2  3,600   1,200         3.00"]),
        (
            {"ind": 600},
            [
                "language  documents  bytes  tokens  bytes/token  drawn  epochs",
                "ind               2  3,600   1,200         3.00    600    0.50",
            ],
        ),
    ],
)
def test_the_table_as_text(drawn: dict[str, int] | None, lines: Sequence[str]) -> None:
    assert table(statistics([corpus("a", "ind", 1200)], drawn)).splitlines()[:2] == lines


counted = st.dictionaries(st.sampled_from(["", "MIT", "CC-BY-4.0", "CC-BY-NC-4.0 + ODC-BY"]), st.integers(1, 50))


@given(
    st.lists(st.tuples(st.sampled_from(["ind", "tha", "vie"]), counted, st.integers(0, 5)), min_size=1, max_size=6),
    st.one_of(st.none(), st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))),
)
def test_every_document_and_every_drawn_token_is_under_one_licence(
    made: list[tuple[str, dict[str, int], int]], budgets: tuple[int, int, int] | None
) -> None:
    """Of corpora that say the licence of all documents, of some, or of none."""
    corpora = [
        dataclasses.replace(corpus(str(number), language, 100), documents=unsaid + sum(known.values()), licences=known)
        for number, (language, known, unsaid) in enumerate(made)
    ]
    there = {one.language for one in corpora if one.documents}
    drawn = (
        None if budgets is None else {name: tokens for name, tokens in zip(("ind", "tha", "vie"), budgets, strict=True) if name in there}
    )
    rows = licensed(corpora, drawn)
    for row in statistics(corpora, drawn):
        own = [each for each in rows if each.language == row.language]
        assert sum(each.documents for each in own) == row.documents
        assert len({each.licence for each in own}) == len(own)
        if row.documents:
            assert sum(each.share for each in own) == pytest.approx(1)
            assert [each.drawn is None for each in own] == [drawn is None] * len(own)
            assert sum(each.drawn or 0 for each in own) == pytest.approx(row.drawn or 0)
        for each in own:
            mine = [(known, unsaid) for language, known, unsaid in made if row.language in (language, counts.TOTAL)]
            if each.licence == counts.NOT_SAID:
                assert each.documents == sum(known.get("", 0) + unsaid for known, unsaid in mine)
            else:
                assert each.documents == sum(known.get(each.licence, 0) for known, _ in mine)
    of_run = [each.of_run for each in rows if each.language == counts.TOTAL and each.of_run is not None]
    if drawn and sum(drawn.values()):
        assert sum(of_run) == pytest.approx(1)
    else:
        assert not of_run


def test_nothing_has_no_bytes_a_token() -> None:
    (total,) = statistics([], {})
    assert (total.bytes_per_token, total.epochs) == (0, None)
    assert table([total]).splitlines()[1].split()[-1] == "-"


def test_the_command_says_what_a_mixture_draws_of_the_corpora_and_how_often(
    shards: list[Path], tokenizer: PreTrainedTokenizerFast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two machines' corpora, by brute force over their documents."""
    outputs = [tmp_path / "one", tmp_path / "two"]
    build(shards[:1], tokenizer, outputs[0])
    build(shards[1:], tokenizer, outputs[1])
    made = [document for shard in range(3) for document in documents(shard)]
    held = {
        language: sum(len(ids) + 1 for ids in tokenise(tokenizer, [one.text for one in made if one.language == own]))
        for language, own in (("eng", "eng"), ("ind", "ind"), ("und", "../x"))
    }
    mixture = tmp_path / "mixture.csv"
    mixture.write_text("language,weight,epochs\neng,0.25,\nind,0.75,\nund,0,\n")
    assert counts.main([*map(str, outputs), "--mixture", str(mixture), "--budget", "4e3"]) == 0
    out, _, block = capsys.readouterr().out.partition("\n\n")
    found = {line.split()[0]: line.split() for line in out.splitlines()}
    for language, drawn in (("eng", 1000), ("ind", 3000), ("und", 0), ("total", 4000)):
        there = held.get(language, sum(held.values()))
        assert found[language][3:] == [f"{there:,}", found[language][4], f"{drawn:,}", f"{drawn / there:.2f}"]
    assert "drawn tokens by their share of a language's documents" in block.splitlines()[0]
    lines = [line.split() for line in block.replace("(not said)", "(not-said)").splitlines()[2:]]
    # of 18 English documents 9 name a licence, no other does; the run draws 1000 tokens of English, 3000 of Indonesian
    assert [line for line in lines if line[0] == "eng"] == [
        ["eng", "(not-said)", "9", "50.00%", "500", "12.50%"],
        ["eng", "CC0-1.0", "9", "50.00%", "500", "12.50%"],
    ]
    assert [line for line in lines if line[0] in ("ind", "und")] == [
        [language, "(not-said)", "9", "100.00%", *drawn]
        for language, drawn in sorted(
            {"ind": ["3,000", "75.00%"], "und": ["0", "0.00%"]}.items(), key=lambda item: (-held[item[0]], item[0])
        )
    ]
    assert lines[-2:] == [["total", "(not-said)", "27", "75.00%", "3,500", "87.50%"], ["total", "CC0-1.0", "9", "25.00%", "500", "12.50%"]]
    assert counts.main([str(outputs[0] / "ind")]) == 0
    out, _, block = capsys.readouterr().out.partition("\n\n")
    assert [line.split()[0] for line in out.splitlines()] == ["language", "ind", "total"]
    assert [line.split()[0] for line in block.splitlines()] == ["licences", "language", "ind", "total"]
    assert "drawn" not in block


def test_the_command_of_counts_names_what_is_amiss(
    shards: list[Path], tokenizer: PreTrainedTokenizerFast, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(shards[:1], tokenizer, tmp_path / "out")
    mixture = tmp_path / "mixture.csv"
    mixture.write_text("language,weight\ntha,1\n")
    (tmp_path / "cut" / UNFINISHED).mkdir(parents=True)
    for told, said in (
        ([str(tmp_path / "none")], "holds no tokenised corpus; python -m training.pretraining.tokens makes one"),
        ([str(tmp_path / "cut")], "is not finished: give the command that writes it once more"),
        ([str(tmp_path / "out"), "--mixture", str(mixture), "--budget", "10"], "drawn of tha, of which there is no corpus; there are eng"),
    ):
        assert counts.main(told) == 1
        assert said in capsys.readouterr().err
    for option in (["--budget", "10"], ["--mixture", str(mixture)], ["--mixture", str(mixture), "--budget", "0"]):
        with pytest.raises(SystemExit):
            counts.main([str(tmp_path / "out"), *option])
        assert "--mixture and --budget go together" in capsys.readouterr().err
