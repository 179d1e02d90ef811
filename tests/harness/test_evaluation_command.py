"""The person's command: suites by name, a table that agrees with float64 arithmetic on the rows it writes, errors with a mend."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow.parquet
import pytest

from harness import evaluation, evaluation_command
from harness.answers import Journal
from harness.rows import Rows
from harness.statistics import compare
from tests.harness.checkpoints import TEXTS, checkpoint
from tests.harness.fake_server import Fake, serve


@pytest.fixture
def told(tmp_path, monkeypatch) -> list[str]:
    """A command line that scores two languages' texts, run in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEATRIALS_HUB", raising=False)
    sources = {}
    for language, text in (("ind", TEXTS[3]), ("vie", TEXTS[1])):
        lines = [json.dumps({"text": f"{i} {text[: 30 + i]}"}, ensure_ascii=False) for i in range(25)]
        (tmp_path / f"{language}.jsonl").write_text("\n".join(lines), encoding="utf-8")
        sources[language] = [{"__type__": "training.recipe:TextFiles", "path": f"{language}.jsonl", "language": language}]
    return [
        str(checkpoint()),
        "--suite=perplexity",
        "--languages=ind,vie",
        f"--option=perplexity.sources={json.dumps(sources)}",
        "--device=cpu",
        "--output=out/scores.parquet",
    ]


def cells(text: str) -> dict[tuple[str, str], list[str]]:
    return {(line.split()[1], " ".join(line.split()[2:-4])): line.split() for line in text.splitlines() if line.startswith("perplexity ")}


def test_the_table_is_what_the_rows_say(told, tmp_path, capsys):
    assert evaluation.main(told) == 0
    shown = cells(capsys.readouterr().out)
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "scores.parquet").to_pandas()
    assert set(rows["suite"]) == {"perplexity"}
    assert len(rows) == 50
    by_hand = {}
    for language, own in rows.groupby("language"):
        by_hand[language] = own["v.bits"].sum() / own["v.bytes"].sum()
        assert float(shown["bits_per_byte", language][3]) == pytest.approx(by_hand[language], abs=6e-5)
        low, high = (float(part.strip("[],")) for part in shown["token_perplexity", language][4:6])
        assert 0 < low < math.exp(own["v.nats"].sum() / own["v.tokens"].sum()) < high
    mean = shown["bits_per_byte", "mean of 2"]
    assert float(mean[5]) == pytest.approx(np.mean(list(by_hand.values())), abs=6e-5)
    assert ("token_perplexity", "mean of 2") not in shown


def test_the_same_command_asks_nothing_twice(told, tmp_path, capsys, monkeypatch):
    assert evaluation.main(told) == 0
    first = capsys.readouterr().out
    model, _ = evaluation_command.digests(checkpoint())
    assert len(Journal(tmp_path / "out" / "scores.answers", model)) == 50
    monkeypatch.setattr("harness.backends.hf.HFBackend.__init__", lambda *_, **__: pytest.fail("the model was loaded again"))
    assert evaluation.main(told) == 0
    assert cells(capsys.readouterr().out) == cells(first)


def test_another_checkpoint_is_not_given_the_answers_of_this_one(told, tmp_path):
    assert evaluation.main(told) == 0
    first = pyarrow.parquet.read_table(tmp_path / "out" / "scores.parquet")["v.bits"].to_pylist()
    assert evaluation.main([str(checkpoint(seed=1)), *told[1:]]) == 0
    assert pyarrow.parquet.read_table(tmp_path / "out" / "scores.parquet")["v.bits"].to_pylist() != first


def test_a_server_gives_the_scores_of_the_model_behind_it(told, tmp_path):
    assert evaluation.main(told) == 0
    mine = pyarrow.parquet.read_table(tmp_path / "out" / "scores.parquet").to_pandas()
    with serve(Fake(checkpoint())) as fake:
        assert evaluation.main([*told, f"--backend={fake.url}"]) == 0
        assert fake.asked
    theirs = pyarrow.parquet.read_table(tmp_path / "out" / "scores.parquet").to_pandas()
    assert list(mine["sample"]) == list(theirs["sample"])
    assert theirs["v.bits"].to_numpy() == pytest.approx(mine["v.bits"].to_numpy(), abs=1e-3)


def test_suites_of_unlike_rows_share_the_file(told, tmp_path):
    assert evaluation.main([*told, "--suite=perplexity,choice", "--samples=quick", "--option=choice.count=4"]) == 0
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "scores.parquet").to_pandas()
    assert set(rows["suite"]) == {"perplexity", "choice"}
    assert rows[rows["suite"] == "choice"]["v.bits"].isna().all()
    assert rows[rows["suite"] == "choice"]["v.margin"].notna().all()


def test_an_item_longer_than_the_window_is_scored_counted_and_said(told, tmp_path, capsys):
    """Neither a choice nor a limit beyond the window of 64 tokens stops the run: the score is a number, and the table says how many."""
    items = [
        {
            "id": f"{i}",
            "language": "ind",
            "cluster": f"{i}",
            "context": "rice",
            "choices": [" fish", " rice" * (90 if i < 3 else 1)],
            "gold": 0,
        }
        for i in range(25)
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items)), encoding="utf-8")
    options = ["--option=choice.items=items.jsonl", "--option=language.max_tokens=900", "--option=language.count=3"]
    assert evaluation.main([told[0], "--suite=choice,language", "--languages=ind", *options, "--device=cpu", told[-1]]) == 0
    said = capsys.readouterr().out
    assert "choice: 25 samples" in said
    assert "; 3 longer than the model's window" in said
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "scores.parquet").to_pandas()
    assert rows[rows["suite"] == "choice"]["v.margin"].notna().all()
    assert rows[rows["suite"] == "language"]["v.same"].notna().all()


def test_a_reference_gives_each_score_its_paired_difference(told, tmp_path, capsys):
    """As by hand: the same documents, score less score, with the interval of the pairs; a checkpoint against itself is identical."""
    assert evaluation.main([*told, f"--reference={checkpoint(seed=1)}"]) == 0
    shown = capsys.readouterr().out
    assert "less reference, paired" in shown
    rows = {}
    for seed in (0, 1):
        model, _ = evaluation_command.digests(checkpoint(seed=seed))
        rows[seed] = Rows.read(tmp_path / "out" / "scores.answers" / f"rows-{model[:12]}" / "perplexity.parquet")
    metric = next(
        m for m in evaluation_command.load(evaluation_command.specs(["perplexity"], ["ind"], {}, None)["perplexity"], "p").metrics
    )
    by_hand = compare(rows[0], rows[1], metric, ["ind"])
    low, high = by_hand.interval()
    line = next(line for line in shown.splitlines() if line.startswith("perplexity") and " bits_per_byte " in line and " ind " in line)
    assert f"{by_hand.value:+.4f} [{low:+.4f}, {high:+.4f}]" in line
    assert evaluation.main([*told, f"--reference={checkpoint()}"]) == 0
    assert " identical " in capsys.readouterr().out
    assert evaluation.main([*told, "--backend=http://localhost:1/v1", f"--reference={checkpoint()}"]) == 2
    assert "answers for one model" in capsys.readouterr().err


def test_a_plain_path_is_a_corpus(told, tmp_path, capsys):
    """JSONL or Parquet beside the person, the same score as by a recipe's source; what is none is one sentence."""
    assert evaluation.main(told) == 0
    first = cells(capsys.readouterr().out)["bits_per_byte", "ind"]
    texts = [json.loads(line) for line in (tmp_path / "vie.jsonl").read_text(encoding="utf-8").splitlines()]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(texts), tmp_path / "vie.parquet")
    plain = {"ind": ["ind.jsonl"], "vie": "vie.parquet"}
    assert evaluation.main([*told, f"--option=perplexity.sources={json.dumps(plain)}"]) == 0
    shown = cells(capsys.readouterr().out)
    assert shown["bits_per_byte", "ind"] == first
    assert ("bits_per_byte", "vie") in shown
    for wrong in ('{"ind": ["c.txt"], "vie": []}', '{"ind": [7], "vie": [7]}', "c.jsonl", '{"ind": ["gone.jsonl"], "vie": ["vie.jsonl"]}'):
        assert evaluation.main([*told, f"--option=perplexity.sources={wrong}"]) == 4
        error = capsys.readouterr().err
        assert "perplexity" in error
        assert "Traceback" not in error


def test_signatures_and_what_was_not_aligned_stand_under_the_table():
    facts = {"signatures": {"chrf": "nrefs:1|nc:6"}, "unaligned": {"tha": ["3", "9"], "lao": [str(i) for i in range(30)]}}
    said = evaluation_command.table([], {"udhr_mt": {"rows": 4, "seconds": 1.0, "facts": facts}})
    assert "unaligned: tha 3, 9, lao 30 (0, ...)" in said
    assert "signatures: chrf nrefs:1|nc:6" in said


def test_without_options_a_name_stands_for_something():
    found = evaluation_command.specs(["perplexity"], ["ind", "war"], {}, None)
    assert set(found["perplexity"].options["sources"]) == {"ind", "war"}


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        (["--suite=perplexity,perplexiti"], 4, "did you mean perplexity?"),
        (["--languages=ind,xxx"], 2, "--languages: no language 'xxx'"),
        (["--output=scores.csv"], 2, "name a .parquet file"),
        (["--option=count=4"], 2, "write SUITE.KEY=VALUE"),
        (["--option=ruler.count=4"], 2, "no suite of that name is asked for"),
        (["--option=perplexity.colour=4"], 4, "does not take these options"),
        (["--gate-hub=nowhere"], 2, "--gate-hub nowhere is not a directory"),
    ],
)
def test_a_wrong_command_says_what_to_mend(told, capsys, changed, code, message):
    assert evaluation.main([*told, *changed]) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(("name", "message"), [("not-there", "neither a directory nor a name on the Hub"), (".", "it has no config.json")])
def test_what_is_no_checkpoint_is_refused(told, capsys, name, message):
    assert evaluation.main([name, *told[1:]]) == 2
    assert message in capsys.readouterr().err
