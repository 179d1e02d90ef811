"""A stage's text in files: each source tokenised once, found again by a build that was killed, read by every process of a run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training import small
from training.pretraining import corpus, ranks, scratch
from training.pretraining.mapped import HEADER, IDS, Tokens
from training.pretraining.packing import Corpus, Joined
from training.pretraining.ranks import Ranks, RanksError
from training.pretraining.sources import SourceError
from training.pretraining.stream import Stream
from training.recipe import Portion, TextFiles

ROOT = Path(__file__).parents[2]
ENG, IND = (TextFiles(path=f"{language}.jsonl", language=language) for language in ("eng", "ind"))
PORTIONS = (
    Portion(name="mix", language="eng", tokens=50, sources=(ENG, IND)),
    Portion(name="ind", language="ind", tokens=20, sources=(IND,)),
    Portion(name="none", language="ind", tokens=0, sources=(TextFiles(path="gone.jsonl", language="ind"),)),
    Portion(name="replay", language="eng", tokens=30, sources=(ENG,)),
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return scratch.train_tokenizer([" ".join(words) for words in small.WORDS.values()] * 3, 300, 64)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    small.write_text(tmp_path, documents=12)
    return tmp_path


# Builds, and ends in the middle of the second source with no chance to tidy up.
DYING = """
import os, sys
from pathlib import Path
from tests.training import test_corpus_build as tests
from training.models import load

real, calls = tests.corpus.tokenise, []

def dying(tokenizer, found):
    calls.append(1)
    for number, ids in enumerate(real(tokenizer, found)):
        if len(calls) == 2 and number == 5:
            os._exit(9)
        yield ids

tests.corpus.tokenise = dying
texts = Path(sys.argv[1])
tests.build(texts, load.load_tokenizer(texts / "tokenizer"))
"""


def build(texts: Path, tokenizer: Any, portions: tuple[Portion, ...] = PORTIONS) -> tuple[list[Corpus], str]:
    return corpus.build(portions, tokenizer, None, texts, small.silent, texts / "tokens")


def ids_of(found: Corpus) -> list[int]:
    return np.concatenate(found.parts).tolist()  # type: ignore[no-any-return]


def plainly(texts: Path, tokenizer: Any, source: TextFiles) -> list[list[int]]:
    """The documents' ids, by the tokenizer's own front door."""
    lines = (texts / source.path).read_text(encoding="utf-8").splitlines()
    return [tokenizer.encode(json.loads(line)["text"], add_special_tokens=False) for line in lines]


def places(texts: Path) -> dict[str, Path]:
    """Source -> where its tokens stand; half-written ones are not in it."""
    found = [path.parent for path in (texts / "tokens").glob(f"*/{HEADER}") if not path.parent.name.startswith(".")]
    return {Tokens.open(place).header.name: place for place in found}


@pytest.fixture
def tokenised(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first text of each source that is tokenised from here on."""
    calls: list[str] = []
    real = corpus.tokenise

    def counting(tokenizer: Any, found: Iterator[str]) -> Any:
        held = list(found)
        calls.append(held[0])
        return real(tokenizer, held)

    monkeypatch.setattr(corpus, "tokenise", counting)
    return calls


def test_the_corpora_and_their_digest_are_those_of_the_text(texts: Path, tokenizer: Any) -> None:
    made, rows = build(texts, tokenizer)
    end = tokenizer.convert_tokens_to_ids(corpus.END_OF_DOCUMENT)
    eng, ind = (plainly(texts, tokenizer, source) for source in (ENG, IND))
    running = hashlib.sha256()
    for found, (name, language, budget, documents) in zip(
        made, [("mix", "eng", 50, eng + ind), ("ind", "ind", 20, ind), ("replay", "eng", 30, eng)], strict=True
    ):
        expected = [token for ids in documents for token in (*ids, end)]
        assert (found.name, found.language, found.budget) == (name, language, budget)
        assert ids_of(found) == expected
        assert found.starts_D1.tolist() == [0, *np.cumsum([len(ids) + 1 for ids in documents])]
        running.update(np.array(expected, dtype="<u4").tobytes())
    assert rows == running.hexdigest()


def test_they_are_maps_of_the_narrower_type_and_shared(texts: Path, tokenizer: Any) -> None:
    mix, ind, replay = build(texts, tokenizer)[0]
    assert isinstance(mix.ids_N, Joined)
    assert mix.parts[0] is replay.ids_N
    assert mix.parts[1] is ind.ids_N
    for part in mix.parts:
        assert isinstance(part.base, np.memmap)
        assert part.dtype == np.uint16
        assert not part.flags.writeable


def test_the_header_tells_of_the_text(texts: Path, tokenizer: Any) -> None:
    build(texts, tokenizer)
    header = Tokens.open(places(texts)["eng.jsonl"]).header
    lines = [json.loads(line)["text"] for line in (texts / "eng.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (header.language, header.documents, header.bytes) == ("eng", 12, len("".join(lines).encode()))
    assert (header.sources, header.licences) == ({"eng.jsonl": 12}, {"user's own": 12})


def test_licences_survive_to_what_is_said_of_the_mixture(texts: Path, tokenizer: Any) -> None:
    """By documents, of each portion: English and Indonesian under two licences are told apart in a portion that mixes them."""
    free = dataclasses.replace(IND, licence="CC0")
    portions = (dataclasses.replace(PORTIONS[0], sources=(ENG, free)), dataclasses.replace(PORTIONS[1], sources=(free,)))
    made = Stream(build(texts, tokenizer, portions)[0], 16, 0)
    assert made.licences() == {"mix": {"CC0": 12, "user's own": 12}, "ind": {"CC0": 12}}


# -------------------------------------------------------------------------------------------------------- once and only once


def test_a_shared_source_is_tokenised_once(texts: Path, tokenizer: Any, tokenised: list[str]) -> None:
    build(texts, tokenizer)
    assert len(tokenised) == 2
    assert len(places(texts)) == 2


def test_a_second_build_tokenises_nothing_and_gives_the_same(texts: Path, tokenizer: Any, tokenised: list[str]) -> None:
    made, rows = build(texts, tokenizer)
    times = {path: path.stat().st_mtime_ns for path in (texts / "tokens").rglob("*.bin")}
    again, rows_again = build(texts, tokenizer)
    assert len(tokenised) == 2
    assert rows_again == rows
    assert [ids_of(found) for found in again] == [ids_of(found) for found in made]
    assert {path: path.stat().st_mtime_ns for path in (texts / "tokens").rglob("*.bin")} == times


def test_a_killed_build_keeps_what_is_whole_and_sweeps_up_the_rest(texts: Path, tokenizer: Any, tokenised: list[str]) -> None:
    """A real process that ends in the middle of the second source, with no chance to tidy up."""
    tokenizer.save_pretrained(texts / "tokenizer")
    # Not a fork of this one: threads that tokenise, begun by an earlier test, would be missing in it, and waited for.
    done = subprocess.run([sys.executable, "-c", DYING, str(texts)], cwd=ROOT, timeout=240, check=False)
    assert done.returncode == 9
    assert list(places(texts)) == ["eng.jsonl"]
    assert len([path for path in (texts / "tokens").iterdir() if path.is_dir()]) == 2
    made, _ = build(texts, tokenizer)
    assert tokenised == [json.loads((texts / "ind.jsonl").read_text(encoding="utf-8").splitlines()[0])["text"]]
    end = corpus.end_of_document(tokenizer)
    assert ids_of(made[1]) == [token for ids in plainly(texts, tokenizer, IND) for token in (*ids, end)]
    assert {path for path in (texts / "tokens").iterdir() if path.is_dir()} == set(places(texts).values())


def test_another_text_or_tokenizer_is_tokenised_and_takes_the_place(texts: Path, tokenizer: Any, tokenised: list[str]) -> None:
    _, rows = build(texts, tokenizer)
    with (texts / "ind.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"text": "ikan"}\n')
    made, changed = build(texts, tokenizer)
    assert (len(tokenised), changed != rows) == (3, True)
    assert made[1].documents == 13
    build(texts, scratch.train_tokenizer(["perahu datang di kota"], 280, 64))
    assert len(tokenised) == 5
    assert len([path for path in (texts / "tokens").iterdir() if path.is_dir()]) == 2


@pytest.mark.parametrize("fault", ["flip", "cut", "header"])
def test_a_damaged_file_is_said_and_tokenised_again(
    texts: Path, tokenizer: Any, tokenised: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, rows = build(texts, tokenizer)
    place = places(texts)["ind.jsonl"]
    content = (place / IDS).read_bytes()
    match fault:
        case "flip":
            (place / IDS).write_bytes(bytes([content[0] ^ 1]) + content[1:])
        case "cut":
            (place / IDS).write_bytes(content[:-2])
        case "header":
            (place / HEADER).unlink()
    assert build(texts, tokenizer)[1] == rows
    assert len(tokenised) == 3
    assert f"data: {place}" in capsys.readouterr().err


def test_missing_text_names_the_portion(texts: Path, tokenizer: Any) -> None:
    gone = Portion(name="far", language="ind", tokens=5, sources=(TextFiles(path="gone.jsonl", language="ind"),))
    with pytest.raises(SourceError, match=r"portion far: no text file .*gone\.jsonl"):
        build(texts, tokenizer, (*PORTIONS, gone))
    (texts / "gone.jsonl").write_text('{"text": "a"}\n{"text": 3}\n', encoding="utf-8")
    with pytest.raises(SourceError, match=r"portion far: .*gone\.jsonl, row 2, field 'text' is a int"):
        build(texts, tokenizer, (*PORTIONS, gone))
    assert sorted(places(texts)) == ["eng.jsonl", "ind.jsonl"]


# ---------------------------------------------------------------------------------------------------------- several processes


class Told(Ranks):
    """Ranks that agree on a run's number without a message."""

    def from_first(self, value: int, device: str) -> int:
        return 7


def both(first: Callable[[], Any], note: Path) -> list[Any]:
    """What by_first gives rank 0 and rank 1 of a run, or what it raises."""
    found: list[Any] = [None, None]

    def one(rank: int, work: Callable[[], Any]) -> None:
        try:
            found[rank] = Told(rank=rank, size=2).by_first(work, note, "cpu")
        except Exception as error:
            found[rank] = error

    threads = [
        threading.Thread(target=one, args=(0, first)),
        threading.Thread(target=one, args=(1, lambda: pytest.fail("rank 1 worked"))),
    ]
    for thread in reversed(threads):
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


@pytest.fixture(autouse=True)
def looking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "LOOK_EVERY", 0.001)


@pytest.mark.parametrize("stale", [None, {"run": 6, "found": "old"}, {"run": 6, "failed": True}, {"run": 6}])
def test_the_others_wait_for_what_rank_0_makes_now(tmp_path: Path, stale: Any) -> None:
    note = tmp_path / "tokens" / "ready.json"
    if stale is not None:
        note.parent.mkdir()
        note.write_text(json.dumps(stale))
    assert both(lambda: [["a"], "b"], note) == [[["a"], "b"], [["a"], "b"]]


def test_the_others_end_when_rank_0_fails(tmp_path: Path) -> None:
    def failing() -> None:
        raise SourceError("portion far: no text")

    first, other = both(failing, tmp_path / "ready.json")
    assert isinstance(first, SourceError)
    assert isinstance(other, RanksError)
    assert "rank 0 failed" in str(other)


def test_a_directory_that_is_not_shared_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "SEEN_WITHIN", 0.01)
    with pytest.raises(RanksError, match=r"rank 1 does not see .*ready\.json, which rank 0 wrote; the directory must be shared by all"):
        Told(rank=1, size=2).by_first(lambda: None, tmp_path / "ready.json", "cpu")


def test_every_rank_opens_what_rank_0_wrote(texts: Path, tokenizer: Any) -> None:
    found: dict[int, tuple[list[Corpus], str]] = {}

    def one(rank: int) -> None:
        found[rank] = corpus.build(PORTIONS, tokenizer, None, texts, small.silent, texts / "tokens", Told(rank=rank, size=3))

    threads = [threading.Thread(target=one, args=(rank,)) for rank in (2, 1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    alone, rows = build(texts, tokenizer)
    for made, digest in found.values():
        assert digest == rows
        assert [ids_of(one) for one in made] == [ids_of(one) for one in alone]
    assert len(found) == 3
