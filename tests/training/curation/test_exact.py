"""The layer: what is left has nothing that recurs, what is cut recurs, whatever the memory, the workers and the shards."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.training.curation.test_exact_windows import CORPORA, brute, random_corpus
from training.curation import documents, exact
from training.curation.documents import CurationError, Document
from training.curation.engine import Engine
from training.curation.exact import Exact
from training.curation.layer import Decision

ALONE = Engine(workers=1)
NOTICE = "Copyright of this page lies with the harbour master; copying any part of it needs a written permit from the port office."


def shards_of(directory: Path, corpora: list[list[str]]) -> list[Path]:
    """A Parquet shard for each list of texts."""
    directory.mkdir(exist_ok=True)
    paths = []
    for shard, texts in enumerate(corpora):
        paths.append(directory / f"{shard:05d}.parquet")
        documents.write(paths[-1], [Document(id=f"{shard}.{row}", text=text) for row, text in enumerate(texts)])
    return paths


def judged(layer: Exact, root: Path, corpora: list[list[str]], engine: Engine = ALONE) -> list[Decision]:
    """The decisions on all documents, in order, asked for a few rows at a time."""
    shards, work = shards_of(root / "shards", corpora), root / "work"
    work.mkdir()
    layer.prepare(shards, work, engine)
    judge = layer.judge(work)
    found: list[Decision] = []
    for shard, texts in enumerate(corpora):
        made = [Document(id=f"{shard}.{row}", text=text) for row, text in enumerate(texts)]
        for first in range(0, len(made), 3):
            found += judge(made[first : first + 3], shard, first)
    return found


def texts_of(decisions: list[Decision]) -> list[str]:
    return [decision.document.text for decision in decisions if decision.document]


# ------------------------------------------------------------------------------------------------------------------- what is cut


def test_the_first_copy_is_kept_and_the_others_are_cut(tmp_path: Path) -> None:
    first, second, third = f"About boats.\n{NOTICE}\n", f"About fish.\n{NOTICE}\nThe end.", f"{NOTICE} About nets."
    kept = judged(Exact(), tmp_path, [[first, second], [third]])
    assert texts_of(kept)[0] == first
    assert texts_of(kept)[1].endswith("The end.")
    assert all(NOTICE not in text for text in texts_of(kept)[1:])
    assert kept[0].counts == {}
    assert kept[1].counts["documents cut"] == 1
    assert kept[1].counts["bytes cut"] >= len(NOTICE)


def test_all_copies_are_cut_where_none_is_to_be_kept(tmp_path: Path) -> None:
    kept = judged(Exact(keep="none"), tmp_path, [[f"About boats, and so on. {NOTICE}", f"Fish, all of them at once: {NOTICE} The end."]])
    assert texts_of(kept)[0].rstrip() == "About boats, and so on."
    assert NOTICE[5:-5] not in "".join(texts_of(kept))


def test_what_is_cut_is_exactly_what_recurs(tmp_path: Path) -> None:
    texts = [f"aaaa{NOTICE}bbbb, the end of the first", f"cccc{NOTICE}dddd, the end of the second"]
    first, second = judged(Exact(), tmp_path, [texts])
    assert first.document is not None
    assert first.document.text == texts[0]
    assert second.document is not None
    assert second.document.text == "cccc\ndddd, the end of the second"
    assert second.counts == {"documents cut": 1, "spans cut": 1, "bytes cut": len(NOTICE)}


def test_a_run_that_repeats_itself_is_cut_to_its_first_period(tmp_path: Path) -> None:
    (found,) = judged(Exact(least_left=0), tmp_path, [["=-" * 400]])
    assert found.document is not None
    assert found.document.text == "=-"


def test_a_document_of_which_too_little_is_left_is_dropped_with_the_reason(tmp_path: Path) -> None:
    first, second, third = judged(Exact(), tmp_path, [[NOTICE, f"So: {NOTICE}", "short"]])
    assert first.document is not None
    assert (second.reason, second.detail) == ("repeated", f"3 of {len(NOTICE) + 4} bytes are found nowhere before")
    assert third.document is not None  # nothing was cut from it: its length is another layer's matter


def test_a_join_that_recurs_is_cut_as_well(tmp_path: Path) -> None:
    """Two texts around two passages that are cut: left and right of the cut are too short to match, the join of them is not."""
    left, right = "On the quay stood a row of baskets, forty in all;", "\nnobody had counted them since the last big storm."
    others = [NOTICE, NOTICE.swapcase()]
    texts = [*others, f"1 {left}{others[0]}{right} one", f"2 {left}{others[1]}{right} two, and so the tale goes on."]
    found = texts_of(judged(Exact(least_bytes=90), tmp_path, [texts]))
    assert found[:3] == [*others, f"1 {left}{right} one"]
    assert found[3] == "2\n two, and so the tale goes on."


# --------------------------------------------------------------------------------------------------------------------- invariants


@settings(max_examples=60)
@given(CORPORA, CORPORA, st.booleans(), st.sampled_from(["first", "none"]))
@example(["a" * 200], ["a" * 30, "ab" * 30], False, "first")
@example(["ภาษาไทย" * 9], ["xภาษาไทย" * 5], False, "none")
def test_nothing_that_is_left_recurs_and_a_second_run_cuts_nothing(
    tmp_path_factory: pytest.TempPathFactory, first: list[str], second: list[str], scaled: bool, keep: str
) -> None:
    layer = Exact(least_bytes=16, least_left=0, scaled=scaled, keep=keep)  # type: ignore[arg-type]
    corpora = [[text for text in texts if text.strip()] for texts in (first, second)]
    root = tmp_path_factory.mktemp("exact")
    decisions = judged(layer, root, corpora)
    found = texts_of(decisions)
    assert brute(found, 16, scaled=scaled, keep_first=False) == set()
    again = tmp_path_factory.mktemp("again")
    assert texts_of(judged(layer, again, [found])) == found
    for text, decision in zip([text for texts in corpora for text in texts], decisions, strict=True):
        if decision.document and not decision.counts:
            assert decision.document.text == text


def test_memory_workers_and_shards_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = random_corpus(2, 60_000)
    roots = [tmp_path / name for name in ("a", "b", "c")]
    for root in roots:
        root.mkdir()
    expected = texts_of(judged(Exact(), roots[0], [texts]))
    assert sum(map(len, expected)) < 0.9 * sum(map(len, texts))
    assert texts_of(judged(Exact(), roots[1], [texts[:7], texts[7:11], texts[11:]])) == expected
    monkeypatch.setattr(exact, "ALONE_BYTES", 0)
    assert texts_of(judged(Exact(memory_mb=1), roots[2], [texts], Engine(workers=2))) == expected


def test_the_work_directory_holds_the_cuts_only(tmp_path: Path) -> None:
    judged(Exact(), tmp_path, [random_corpus(3, 20_000)])
    assert {path.suffix for path in (tmp_path / "work").iterdir()} == {".npy"}


def test_empty_shards_and_empty_corpora_are_nothing_to_cut(tmp_path: Path) -> None:
    assert judged(Exact(), tmp_path, [[]]) == []
    (tmp_path / "more").mkdir()
    assert texts_of(judged(Exact(), tmp_path / "more", [[], ["one"], []])) == ["one"]


def test_shards_that_have_changed_since_are_refused(tmp_path: Path) -> None:
    judged(Exact(), tmp_path, [[NOTICE, NOTICE + "x"]])
    with pytest.raises(CurationError, match="prepare the layer again"):
        Exact().judge(tmp_path / "work")([Document(id="0.0", text="another")], 0, 0)


@pytest.mark.parametrize(
    "setting", [{"least_bytes": 8}, {"keep": "last"}, {"least_left": 101}, {"memory_mb": 0}], ids=lambda setting: next(iter(setting))
)
def test_settings_that_cannot_work_are_refused_by_name(setting: dict[str, object]) -> None:
    with pytest.raises(CurationError, match=f"exact.{next(iter(setting))}"):
        Exact(**setting)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------------------- joins


def test_pieces_are_joined_by_one_newline() -> None:
    assert exact.cut(b"one two three", [(3, 8)]) == b"one\nthree"
    assert exact.cut(b"one\ntwo\nthree", [(4, 8)]) == b"one\nthree"
    assert exact.cut(b"one\ntwo\nthree", [(3, 7)]) == b"one\nthree"
    assert exact.cut(b"one two", [(0, 4)]) == b"two"
    assert exact.cut(b"one two", [(3, 7)]) == b"one"
    assert exact.cut(b"one two", [(0, 7)]) == b""
    assert exact.cut(b"abcdef", [(1, 2), (2, 4)]) == b"a\nef"


@given(st.binary(max_size=60), st.randoms(use_true_random=False))
def test_a_cut_leaves_the_rest_byte_for_byte(data: bytes, rng: random.Random) -> None:
    places = sorted(rng.sample(range(len(data) + 1), min(len(data) + 1, 6)))
    spans = list(zip(places[::2], places[1::2], strict=False))
    left = b"".join(
        data[start:end] for start, end in zip([0, *(end for _, end in spans)], [*(start for start, _ in spans), len(data)], strict=True)
    )
    assert exact.cut(data, spans).replace(b"\n", b"") == left.replace(b"\n", b"")
