"""`select` as a command: tables, embeddings, quotas and shares in; rows, reasons and a report out; and what is said of bad input."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.curation import __main__ as commands
from training.curation import selection_files as files
from training.curation.documents import CurationError
from training.curation.selection import select
from training.curation.selection_command import ADDED, run

TABLE_22 = Path(__file__).parents[3] / "goldens" / "paper" / "table_22.csv"
SHARES = {"coding": "0.05", "info": "0.25", "math": "0.15", "creative": "0.35", "reasoning": "0.20"}  # Figure 3; which is whose is inferred


def rows(number: int = 40) -> list[dict[str, Any]]:
    source = np.random.default_rng(5)
    centres = source.standard_normal((8, 6))
    return [
        {
            "id": f"s{row:02d}",
            "language": ("ind", "tha")[row % 2],
            "category": ("math", "code")[row // 2 % 2],
            "reward": float(source.integers(0, 9)),
            "perplexity": round(float(source.random()) * 30 + 1, 3),
            "embedding": (centres[source.integers(8)] + source.standard_normal(6) * 0.3).astype(np.float32).tolist(),
            "messages": [{"role": "user", "content": f"apa {row}"}],
            "note": None if row % 3 else row,
        }
        for row in range(number)
    ]


def parquet(path: Path, made: list[dict[str, Any]], **types: Any) -> Path:
    table = pyarrow.Table.from_pylist(made)
    for name, kind in types.items():
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))
    pyarrow.parquet.write_table(table, path, row_group_size=17)
    return path


def jsonl(path: Path, made: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def quotas(path: Path, *more: str) -> Path:
    path.write_text("\n".join(["language,category,quota", "ind,math,3", "ind,code,2", "tha,math,50", "tha,code,0", *more]) + "\n")
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_table_its_reasons_and_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = rows()
    table = parquet(tmp_path / "scored.parquet", made, embedding=pyarrow.list_(pyarrow.float32()))
    output = tmp_path / "out"
    assert commands.main(["select", "--input", str(table), "--quotas", str(quotas(tmp_path / "q.csv")), "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert sorted(path.name for path in output.iterdir()) == ["rejected.jsonl", "report.json", "selected.parquet"]
    taken = pyarrow.parquet.read_table(output / "selected.parquet")
    source = pyarrow.parquet.read_table(table)
    assert taken.schema.names == [*source.schema.names, *ADDED]
    places = [int(one[1:]) for one in taken["id"].to_pylist()]
    assert places == sorted(places)
    assert taken.drop_columns(list(ADDED)).to_pylist() == source.take(places).to_pylist()
    assert taken.drop_columns(list(ADDED)).schema == source.schema
    # the same as the function says on the same candidates
    (tmp_path / "work").mkdir()
    candidates = files.read_candidates(table, None, tmp_path / "work")
    found = select(candidates, files.read_quotas(tmp_path / "q.csv"))
    assert np.flatnonzero(found.taken).tolist() == places
    assert taken["selection_score"].to_pylist() == found.score[places].tolist()
    gone = lines(output / "rejected.jsonl")
    assert sorted([*places, *(row["row"] - 1 for row in gone)]) == list(range(40))
    for row in gone:
        assert row["id"] == made[row["row"] - 1]["id"]
        if row["reason"] == "alike":
            assert int(row["kept_id"][1:]) in places
            assert row["cosine"] > 0.6
        else:
            assert (row["reason"], "kept_id" in row) == ("quota met", False)
    report = json.loads((output / "report.json").read_text())
    cells = {(cell["language"], cell["category"]): cell for cell in report["cells"]}
    assert [cells[cell]["selected"] for cell in (("ind", "math"), ("ind", "code"), ("tha", "code"))] == [3, 2, 0]
    short = cells["tha", "math"]
    assert short["short"] == 50 - short["selected"] > 0
    assert short["selected"] + short["alike"] == short["candidates"] == 10
    assert f"short of their quota, all taken that are not alike: tha/math by {short['short']}\n" in said
    assert sum(cell["selected"] for cell in report["cells"]) == len(places)
    # whole or not at all, and never over what is there
    assert commands.main(["select", "--input", str(table), "--quotas", str(tmp_path / "q.csv"), "--output", str(output)]) == 2
    assert "name another, or remove it" in capsys.readouterr().err


def test_the_same_from_every_kind_of_file(tmp_path: Path) -> None:
    """JSONL, fixed-size lists, float64 lists, and a .npy beside the table choose the same; JSONL rows keep every key."""
    made = rows()
    np.save(tmp_path / "e.npy", np.array([row["embedding"] for row in made], dtype=np.float64))
    plain = [{name: value for name, value in row.items() if name != "embedding"} for row in made]
    kinds = {
        "a.jsonl": (jsonl(tmp_path / "a.jsonl", made), None),
        "b.jsonl": (jsonl(tmp_path / "b.jsonl", plain), tmp_path / "e.npy"),
        "c.parquet": (parquet(tmp_path / "c.parquet", made, embedding=pyarrow.list_(pyarrow.float32(), 6)), None),
        "d.parquet": (parquet(tmp_path / "d.parquet", made), None),
        "e.parquet": (parquet(tmp_path / "e.parquet", plain), tmp_path / "e.npy"),
    }
    wanted = quotas(tmp_path / "q.csv")
    told = set()
    for name, (path, embeddings) in kinds.items():
        output = tmp_path / f"out-{name}"
        report = run(path, embeddings, wanted, None, output)
        told.add((json.dumps(report), (output / "rejected.jsonl").read_text()))
    assert len(told) == 1
    kept = lines(tmp_path / "out-a.jsonl" / "selected.jsonl")
    assert [{name: value for name, value in row.items() if name not in ADDED} for row in kept] == [made[int(row["id"][1:])] for row in kept]
    assert [row["id"] for row in kept] == pyarrow.parquet.read_table(tmp_path / "out-c.parquet" / "selected.parquet")["id"].to_pylist()
    # a table that was selected from before has its three columns replaced
    before = pyarrow.parquet.read_table(tmp_path / "c.parquet").append_column("selection_score", pyarrow.array(["old"] * 40))
    pyarrow.parquet.write_table(before, tmp_path / "f.parquet")
    run(tmp_path / "f.parquet", None, wanted, None, tmp_path / "out-f")
    assert pyarrow.parquet.read_table(tmp_path / "out-f" / "selected.parquet") == pyarrow.parquet.read_table(
        tmp_path / "out-c.parquet" / "selected.parquet"
    )


def broken(change: Any) -> list[dict[str, Any]]:
    made = rows()
    change(made[21])
    return made


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row.update(reward=float("nan")), r"row 22: `reward` is nan, which cannot be ranked: score the sample again"),
        (lambda row: row.update(perplexity=float("inf")), r"row 22: `perplexity` is inf"),
        (lambda row: row.update(reward=None), r"row 22: `reward` is None"),
        (lambda row: row.update(embedding=[1.0, 2.0]), r"row 22: `embedding` has 2 numbers, those before have 6: embed all with one model"),
        (lambda row: row.update(embedding=[0.0] * 6), r"row 22: `embedding` is 0 in every place"),
        (lambda row: row.update(embedding=[float("nan"), *[1.0] * 5]), r"row 22: `embedding` holds NaN"),
        (lambda row: row.update(embedding=[1e300] * 6), r"row 22: `embedding` holds NaN or what float32 cannot hold"),
        (lambda row: row.update(embedding=None), r"row 22: `embedding` is no list"),
        (lambda row: row.update(embedding=[]), r"row 22: `embedding` is empty"),
        (lambda row: row.update(id="s03"), r"rows 4 and 22: both have the id 's03'"),
        (lambda row: row.update(language=""), r"row 22: `language` is ''; .*fill it in"),
        (lambda row: row.update(category=None), r"row 22: `category` is None"),
    ],
)
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_rows_that_cannot_be_ranked(tmp_path: Path, suffix: str, change: Any, said: str) -> None:
    path = (jsonl if suffix == "jsonl" else parquet)(tmp_path / f"scored.{suffix}", broken(change))
    with pytest.raises(CurationError, match=f"scored.{suffix}, {said}"):
        run(path, None, quotas(tmp_path / "q.csv"), None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_lines_that_are_no_rows(tmp_path: Path) -> None:
    wanted, output = quotas(tmp_path / "q.csv"), tmp_path / "out"
    for content, said in (
        (b"", "has no rows"),
        (b"{\n", "line 1 is no JSON object"),
        (b"\n[1]\n", "line 2 is no JSON object"),
        (b'{"id": "\xff"}\n', "line 1 is no JSON object"),
        (b'{"id": 1, "language": "ind"}\n', "line 1 has no `category`; rename the one that holds it$"),
        (json.dumps({**rows(1)[0], "reward": 10**400}).encode(), "`reward` is 1000"),
        (json.dumps({**rows(1)[0], "embedding": [[1], [2]]}).encode(), "row 1: `embedding` holds"),
        (json.dumps({**rows(1)[0], "embedding": ["x"]}).encode(), "row 1: `embedding` holds what is no number"),
    ):
        (tmp_path / "a.jsonl").write_bytes(content)
        with pytest.raises(CurationError, match=said):
            run(tmp_path / "a.jsonl", None, wanted, None, output)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(CurationError, match="cannot be read as Parquet"):
        run(tmp_path / "a.parquet", None, wanted, None, output)
    parquet(tmp_path / "b.parquet", [{name: value for name, value in row.items() if name != "embedding"} for row in rows()])
    with pytest.raises(CurationError, match=r"no column `embedding` \(it has id, .*or give --embeddings FILE.npy"):
        run(tmp_path / "b.parquet", None, wanted, None, output)
    parquet(tmp_path / "c.parquet", [{**row, "embedding": ["a"]} for row in rows()])
    with pytest.raises(CurationError, match=r"`embedding` holds list<.*it is a list of numbers"):
        run(tmp_path / "c.parquet", None, wanted, None, output)
    with pytest.raises(CurationError, match="candidates are read from"):
        run(tmp_path / "a.csv", None, wanted, None, output)
    with pytest.raises(CurationError, match="between -1 and 1"):
        run(tmp_path / "a.jsonl", None, wanted, None, output, limit=60)
    assert not output.exists()


def test_embeddings_that_do_not_fit(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", rows())
    zero = np.ones((40, 3))
    zero[7] = 0
    for made, said in (
        (np.ones((39, 3)), "has 39 rows, .*a.jsonl has 40"),
        (np.ones(40), r"is float64 \(40,\); it is numbers of shape"),
        (zero, "row 8: `embedding` is 0 in every place"),
        (np.full((40, 3), 1e39), "row 1: `embedding` holds NaN or what float32 cannot hold"),
        (np.array([["a"]] * 40), "it is numbers of shape"),
        (np.array([[None]] * 40), "cannot be read as .npy"),
    ):
        np.save(tmp_path / "e.npy", made)
        with pytest.raises(CurationError, match=said):
            run(path, tmp_path / "e.npy", quotas(tmp_path / "q.csv"), None, tmp_path / "out")
    with pytest.raises(CurationError, match="cannot be read as"):
        run(path, tmp_path / "none.npy", quotas(tmp_path / "q.csv"), None, tmp_path / "out")


# ---------------------------------------------------------------------------------------------------------------- quotas


@pytest.mark.parametrize("suffix", ["toml", "csv"])
def test_table_22_times_the_shares(tmp_path: Path, suffix: str) -> None:
    """All of the paper's quotas are cut into whole numbers, 538,800 in all."""
    path = tmp_path / f"shares.{suffix}"
    if suffix == "toml":
        path.write_text("".join(f"{name} = {share}\n" for name, share in SHARES.items()))
    else:
        path.write_text("category,share\n" + "".join(f"{name},{float(share) * 100:g}\n" for name, share in SHARES.items()))
    found = files.read_quotas(TABLE_22, path)
    with TABLE_22.open() as file:
        expected = {row["language"]: int(row["sft_stage2"]) for row in csv.DictReader(file)}
    assert sum(found.values()) == 538_800
    assert found == {(language, name): quota * Fraction(share) for language, quota in expected.items() for name, share in SHARES.items()}
    assert found["khm", "coding"] == 240


@given(st.integers(0, 10_000), st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(any))
def test_shares_that_do_not_divide(quota: int, parts: list[int]) -> None:
    shares = {f"c{at}": Fraction(part, sum(parts)) for at, part in enumerate(parts)}
    found = files.apportioned(quota, shares)
    assert sum(found.values()) == quota
    assert all(abs(found[name] - quota * share) < 1 for name, share in shares.items())
    assert all(found[name] == 0 for name, share in shares.items() if not share)


def test_quotas_that_make_no_sense(tmp_path: Path) -> None:
    path, shares = tmp_path / "q.csv", tmp_path / "s.csv"

    def said(content: str, of_shares: str | None = None, name: str = "s.csv") -> str:
        path.write_text(content)
        if of_shares is not None:
            (tmp_path / name).write_text(of_shares)
        with pytest.raises(CurationError) as refused:
            files.read_quotas(path, tmp_path / name if of_shares is not None else None)
        return str(refused.value)

    assert "line 2: `quota` is '-1'" in said("language,category,quota\nind,math,-1\n")
    assert "line 2: `quota` is '1.5'" in said("language,category,quota\nind,math,1.5\n")
    assert "line 3: ind/math has a quota already" in said("language,category,quota\nind,math,1\nind,math,2\n")
    assert "line 2: language or category is blank" in said("language,category,quota\nind,,1\n")
    assert "line 2 has fewer fields" in said("language,category,quota\nind,1\n")
    assert "line 2 has more fields" in said("language,category,quota\nind,a,1,2\n")
    assert "needs the columns" in said("language,category\nind,a\n")
    assert "it has no rows" in said("")
    assert "give each category's share with --shares" in said("language,quota\nind,1\n")
    assert "means nothing" in said("language,category,quota\nind,a,1\n", "category,share\na,1\n")
    whole = "language,quota\nind,10\n"
    assert "they sum to 0.9" in said(whole, "category,share\na,.5\nb,.4\n")
    assert "sum to 1" in said(whole, "category,share\na,1.5\nb,-.5\n")
    assert "line 2: `share` is 'half'" in said(whole, "category,share\na,half\n")
    assert "line 3: the category 'a' is blank or stands there twice" in said(whole, "category,share\na,.5\na,.5\n")
    assert "needs the columns category and share" in said(whole, "name,share\na,1\n")
    assert "'a' is no number" in said(whole, 'a = "x"\n', "s.toml")
    assert "cannot be read" in said(whole, "a = inf\n", "s.toml")
    assert "cannot be read" in said(whole, "a = \n", "s.toml")
    shares.write_bytes(b"category,share\n\xff,1\n")
    with pytest.raises(CurationError, match="cannot be read as CSV"):
        files.read_quotas(path, shares)
    with pytest.raises(CurationError, match="cannot be read as CSV"):
        files.read_quotas(tmp_path / "none.csv")


def test_the_command_tells_what_is_amiss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = jsonl(tmp_path / "a.jsonl", rows())
    told = ["select", "--input", str(path), "--quotas", str(quotas(tmp_path / "q.csv", "lao,math,5")), "--output", str(tmp_path / "out")]
    assert commands.main(told) == 2
    assert "curation: the quotas name 1 cells that no candidate is of: lao/math" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    quotas(tmp_path / "q.csv", "lao,math,0")
    assert commands.main([*told, "--scope", "all", "--limit", "0.9"]) == 0
    assert "above cosine 0.9 with one taken before in any cell" in capsys.readouterr().out
