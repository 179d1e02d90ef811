"""The near layer, whole: against brute force, under shuffling, at the edges, resumed, and in processes and on Ray."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.curation import near_kit as kit
from training.curation import near_clusters
from training.curation.documents import CurationError, Document
from training.curation.engine import Engine
from training.curation.near import Near
from training.curation.near_bands import caught

# One row a band: a pair of J >= .3 is missed with probability .7^128 < 1e-19.
SURE = Near(permutations=128, bands=128, rows=1, shingle=1, threshold=0.3)
UNITS = st.sampled_from(["a", "B", "b", "c", "d", "ก", "ข", "中"])
TEXTS = st.lists(UNITS, max_size=6).flatmap(lambda units: st.sampled_from([" ", "  ", "\n"]).map(lambda space: space.join(units) or " "))


def corpus(number: int, seed: int = 0) -> list[str]:
    """Families of a text and its edits, from near to far, and texts of nobody; words and Thai."""
    source = random.Random(seed)
    words = ["".join(source.choices("abcdefghiklmnoprstu", k=source.randint(2, 9))) for _ in range(3000)]
    thai = [chr(point) for point in range(0x0E01, 0x0E2F)]
    texts: list[str] = []
    while len(texts) < number:
        known, space = (words, " ") if source.random() < 0.7 else (thai, "")
        units = source.choices(known, k=source.randint(30, 150))
        for _ in range(source.choice([1, 1, 2, 3, 6])):
            edited = list(units)
            for _ in range(source.choice([0, 1, 1, 2, 3, 5])):
                edited[source.randrange(len(edited))] = source.choice(known)
            texts.append(space.join(edited))
    return source.sample(texts, number)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(TEXTS, max_size=14),
    st.integers(1, 2),
    st.sampled_from([0.3, 0.5, 2 / 3, 1.0]),
    st.sampled_from(["longest", "first"]),
    st.integers(1, 9),
)
def test_as_brute_force_says(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], n: int, threshold: float, keep: Any, size: int
) -> None:
    made = kit.documents(texts)
    said = kit.run(dataclasses.replace(SURE, shingle=n, threshold=threshold, keep=keep), made, tmp_path_factory.mktemp("near"), size)
    assert kit.partition(said) == kit.clusters(len(made), kit.alike(made, n, threshold))
    place = {document.id: (-len(document.text) if keep == "longest" else 0, number) for number, document in enumerate(made)}
    assert all(
        place[one] == min(place[other] for other in cluster)
        for cluster in kit.partition(said)
        for one in {*kit.kept(said).values()} & cluster
    )
    found = {document.id: kit.shingle_set(document.text, n) for document in made}
    for dropped, one in kit.kept(said).items():
        assert said[dropped] == f"kept is {one} (Jaccard {kit.jaccard(found[dropped], found[one]):.2f})"


def test_recall_over_similarity_is_the_theory_s(tmp_path: Path) -> None:
    """300 pairs at each similarity, without verification, within 4 standard deviations; at .9 none may be missed but with probability .004."""
    words, layer = random.Random(5), Near(shingle=1, verify=False)
    for similarity in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        texts = [text for _ in range(300) for text in kit.pair(similarity, 100, words)]
        caught_here = len(kit.run(layer, kit.documents(texts), tmp_path / str(similarity)))
        expected = float(caught(similarity, 25, 10))
        assert abs(caught_here - 300 * expected) <= 4 * (300 * expected * (1 - expected)) ** 0.5 + 1, similarity
        if similarity >= 0.9:
            assert caught_here >= 299


@pytest.mark.parametrize(
    "layer", [Near(), Near(permutations=128, threshold=0.8), Near(hash="sha1", threshold=0.6)], ids=["default", "sft", "sha1"]
)
def test_verified_clusters_are_true_and_hold_what_is_most_alike(tmp_path: Path, layer: Near) -> None:
    """Precision 1: each cluster hangs together by pairs of the threshold. Recall: all pairs of .9, since 25 bands of 10 catch those."""
    made = [document for document in kit.documents(corpus(400)) if layer.hash == "splitmix" or document.text.isascii()]
    found = kit.partition(kit.run(layer, made, tmp_path))
    numbers = {document.id: number for number, document in enumerate(made)}
    true = kit.alike(made, 5, layer.threshold)
    inside = [pair for cluster in found for pair in true if {made[pair[0]].id, made[pair[1]].id} <= cluster]
    ids = [{made[int(name[1:])].id for name in cluster} for cluster in kit.clusters(len(made), inside)]
    assert found
    assert {frozenset(cluster) for cluster in ids} == found
    together = {frozenset((numbers[a], numbers[b])) for cluster in found for a in cluster for b in cluster if a != b}
    sure = 0.9 if layer.permutations == 256 else 1.0
    assert all(frozenset(pair) in together for pair in kit.alike(made, 5, sure))


@pytest.mark.parametrize("verify", [True, False])
def test_neither_order_nor_shards_change_the_partition(tmp_path: Path, verify: bool) -> None:
    made, layer = kit.documents(corpus(300, seed=1)), Near(verify=verify, keep="first")
    first = kit.run(layer, made, tmp_path / "first")
    shuffled = random.Random(3).sample(made, len(made))
    assert kit.partition(kit.run(layer, shuffled, tmp_path / "shuffled", size=70)) == kit.partition(first)
    assert kit.run(layer, made, tmp_path / "shards", size=37) == first


@pytest.mark.parametrize("verify", [True, False])
def test_a_second_run_drops_nothing(tmp_path: Path, verify: bool) -> None:
    """Documents left in two clusters share no band, or were found apart; neither changes when others go."""
    made, layer = kit.documents(corpus(300, seed=2)), Near(verify=verify)
    said = kit.run(layer, made, tmp_path / "one")
    assert len(said) > 50
    assert kit.run(layer, [document for document in made if document.id not in said], tmp_path / "two") == {}


def test_exact_duplicates_always_go_and_texts_without_words_never(tmp_path: Path) -> None:
    made = kit.documents(["Halo", "satu dua tiga", " halo ", "x", "SATU  dua tiga", "halo", " ", "\n", " \u200b", "ก ข", "กข"])
    for layer in (Near(), Near(permutations=128, threshold=0.8), Near(threshold=1.0), Near(verify=False)):
        said = kit.run(layer, made, tmp_path / f"{layer.permutations}{layer.threshold}{layer.verify}")
        assert kit.kept(said) == {"d0": "d2", "d5": "d2", "d1": "d4", "d10": "d9"}
        assert set(said.values()) == {"kept is d2 (Jaccard 1.00)", "kept is d4 (Jaccard 1.00)", "kept is d9 (Jaccard 1.00)"}
    assert kit.kept(kit.run(Near(keep="first"), made, tmp_path / "first")) == {"d2": "d0", "d5": "d0", "d4": "d1", "d10": "d9"}


def test_languages_are_kept_apart_where_asked(tmp_path: Path) -> None:
    texts = corpus(100, seed=4)
    made = [
        Document(id=f"{language}{at}", text=text, language=language) for at, text in enumerate(texts) for language in ("ind", "zsm", "")
    ]
    language = {document.id: document.language for document in made}
    apart = kit.kept(kit.run(Near(permutations=128, threshold=0.8, per_language=True), made, tmp_path / "apart"))
    assert apart
    assert all(language[dropped] == language[one] for dropped, one in apart.items())
    together = kit.kept(kit.run(Near(permutations=128, threshold=0.8), made, tmp_path / "together"))
    assert len(together) >= 200
    assert len(together) - 200 == len(apart) / 3


def test_what_is_not_verified_says_so(tmp_path: Path) -> None:
    one, other = kit.pair(0.95, 100, random.Random(0))
    assert kit.run(Near(shingle=1, verify=False, keep="first"), kit.documents([one, other]), tmp_path) == {
        "d1": "kept is d0 (not verified)"
    }


def test_a_chance_star_centre_loses_no_pair(tmp_path: Path) -> None:
    """In a bucket the first is far from all; the others are two chains whose ends are far from each other."""
    chain = [set(range(at, at + 10)) for at in (100, 1, 2, 3, 4, 5, 6, 50, 51, 53, 54)]
    hashes = np.array([value for links in chain for value in sorted(links)], dtype=np.uint64)
    np.save(tmp_path / "sets.npy", hashes)
    numbers = np.arange(len(chain))
    group = near_clusters.Group(
        numbers=numbers,
        buckets=near_clusters.Buckets(members=numbers, starts=np.array([0, len(chain)])),
        rank=numbers[::-1].copy(),
        places=[(tmp_path / "sets.npy", 10 * at, 10 * at + 10) for at in range(len(chain))],
    )
    roots, similar, compared = near_clusters.compare(group, threshold=9 / 11)
    assert roots.tolist() == [0, 1, 1, 1, 1, 1, 1, 7, 7, 9, 9]
    assert similar.tolist() == [1, 5 / 15, 6 / 14, 7 / 13, 8 / 12, 9 / 11, 1, 9 / 11, 1, 9 / 11, 1]
    assert compared <= 10 + 55


@pytest.mark.parametrize(("limit", "most"), [("AT_ONCE", 3), ("HASHES_AT_ONCE", 40)])
def test_groups_are_cut_anywhere_with_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int) -> None:
    made = kit.documents(corpus(200, seed=6))
    whole = kit.run(Near(), made, tmp_path / "whole", size=50)
    tasks: list[near_clusters.Group] = []

    def seen(group: near_clusters.Group, threshold: float, compare=near_clusters.compare):
        tasks.append(group)
        return compare(group, threshold)

    monkeypatch.setattr(near_clusters, "compare", seen)
    assert kit.run(Near(), made, tmp_path / "one", size=50) == whole
    assert len(tasks) == 1
    tasks.clear()
    monkeypatch.setattr(near_clusters, limit, most)
    assert kit.run(Near(), made, tmp_path / "cut", size=50) == whole
    assert len(tasks) > 10
    for task in tasks:
        shingles = sum(stop - start for _, start, stop in task.places)
        size = len(task.buckets.members) if limit == "AT_ONCE" else shingles
        assert size <= most or len(set(near_clusters.components(task.buckets, len(task.numbers)).tolist())) == 1


def test_prepared_again_the_plan_is_the_same_and_half_a_plan_is_refused(tmp_path: Path) -> None:
    paths = kit.shards(kit.documents(corpus(200, seed=7)), tmp_path / "shards", 60)
    plans = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Near().prepare(paths, tmp_path / name, kit.HERE)
        plans.append({path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())})
    assert plans[0] == plans[1]
    assert json.loads(plans[0]["plan.json"])["counts"]["documents"] == 200
    (tmp_path / "one" / "plan.json").unlink()
    with pytest.raises(CurationError, match="no whole plan"):
        Near().judge(tmp_path / "one")


def test_no_shard_empty_shards_and_no_duplicates(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    Near().prepare([], tmp_path / "none", kit.HERE)
    assert Near().judge(tmp_path / "none")([], 0, 0) == []
    assert kit.run(Near(), [], tmp_path / "empty") == {}
    assert kit.run(Near(), kit.documents(["satu dua", "tiga empat", "lima enam"]), tmp_path / "distinct", size=1) == {}


def test_rows_without_id_or_language_have_names_all_the_same(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"text": ["satu dua", None, "satu dua"]}), tmp_path / "part.parquet")
    (tmp_path / "work").mkdir()
    Near(per_language=True).prepare([tmp_path / "part.parquet"], tmp_path / "work", kit.HERE)
    decisions = Near().judge(tmp_path / "work")(kit.documents(["satu dua", "satu dua"]), 0, 1)
    assert [decision.detail for decision in decisions] == ["", "kept is part.parquet#1 (Jaccard 1.00)"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"threshold": 0.0}, "threshold is 0.0"),
        ({"threshold": 1.2}, "threshold is 1.2"),
        ({"bands": 30, "rows": 10}, "need 300 permutations"),
        ({"rows": 300}, "0 bands of 300"),
        ({"permutations": 0}, "1 at least"),
        ({"keep": "last"}, "longest, first"),
        ({"hash": "md5"}, "splitmix, sha1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(CurationError, match=message):
        Near(**changed)


def test_the_banding_that_is_asked_for() -> None:
    assert Near().banding() == (25, 10)
    assert Near(permutations=128, threshold=0.8).banding() == (9, 13)
    assert Near(bands=32).banding() == (32, 8)
    assert Near(permutations=128, rows=8).banding() == (16, 8)
    assert Near(bands=14, rows=8).banding() == (14, 8)


@pytest.mark.slow
@pytest.mark.parametrize("engine", [Engine(workers=2), Engine(runner="ray")], ids=["processes", "ray"])
def test_the_plan_is_the_same_wherever_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    made = kit.documents(corpus(300, seed=8))
    here = kit.run(Near(), made, tmp_path / "here", size=60)
    monkeypatch.setattr("training.curation.near.HERE", 0)  # so that buckets and groups are spread too
    assert kit.run(Near(), made, tmp_path / "there", size=60, engine=engine) == here
