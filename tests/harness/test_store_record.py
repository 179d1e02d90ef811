"""The record: identity, round trip, and what is said of one that was truncated, altered or does not fit."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import record as records
from harness import surroundings
from harness.record import Damaged, FileEntry, Parent, Record, changes, content_digest, differences, fingerprint, load_record, parse_record
from harness.store import Store, StoreError
from harness.surroundings import environment, git_state
from tests.harness.store_kit import published, quick


@pytest.fixture(autouse=True, scope="module")
def without_waiting() -> Iterator[None]:
    """Hundreds of publications, each as fast as memory."""
    with quick():
        yield


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.text(max_size=6), JSON, max_size=4)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@+=-]{0,12}", fullmatch=True)


@st.composite
def any_record(draw: st.DrawFn) -> Record:
    files = {
        name: FileEntry(sha256=draw(DIGESTS), bytes=draw(st.integers(0, 2**60)), content=draw(st.booleans()))
        for name in draw(st.sets(NAMES))
    }
    files.pop("record.json", None)
    parents = tuple(
        Parent(stage=draw(NAMES), variant="main", fingerprint=draw(DIGESTS), content=draw(DIGESTS)) for _ in range(draw(st.integers(0, 2)))
    )
    known = {"stage": draw(NAMES), "recipe": draw(MAPPINGS), "version": draw(st.integers(0, 9)), "data": draw(DIGESTS)}
    return Record(
        profile=draw(NAMES),
        variant=draw(NAMES),
        fingerprint=fingerprint(**known, parents=[parent.content for parent in parents]),
        content=content_digest(files),
        **known,
        parents=parents,
        files=files,
        environment=draw(MAPPINGS),
        git=draw(st.none() | MAPPINGS),
        seed=draw(st.none() | st.integers(0, 2**63)),
        started="2026-01-01T00:00:00+00:00",
        wall_seconds=draw(st.floats(0, 1e9)),
        tokens=draw(st.integers(0, 2**50)),
        build=draw(MAPPINGS),
        adopted=draw(st.booleans()),
    )


@given(any_record())
@settings(max_examples=150, deadline=None)
def test_a_record_survives_being_written_and_read(record: Record) -> None:
    assert parse_record(json.dumps(record.to_json()), "record.json") == record
    assert Record.from_json(record.to_json()) == record


@given(any_record(), st.data())
@settings(max_examples=150, deadline=None)
def test_a_flipped_byte_of_a_record_is_found(record: Record, data: st.DataObject) -> None:
    """Whatever byte flips: it is refused, or it was only white space."""
    text = bytearray(json.dumps(record.to_json(), indent=1).encode())
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] ^= data.draw(st.integers(1, 255))
    try:
        seen: Record | str = parse_record(bytes(text), "record.json")
    except Damaged as error:
        seen = str(error)
    assert seen == record or str(seen).startswith("record.json")


@given(any_record(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_truncated_record_is_refused_at_every_length(record: Record, data: st.DataObject) -> None:
    text = json.dumps(record.to_json())
    with pytest.raises(Damaged, match=r"record\.json"):
        parse_record(text[: data.draw(st.integers(0, len(text) - 1))], "record.json")


def _edited(directory: Path, reseal: bool = False, **edit: object) -> None:
    path = directory / "record.json"
    body = {**json.loads(path.read_text()), **edit}
    if reseal:
        body.pop("seal")
        body["seal"] = records.digest(body)
    path.write_text(json.dumps(body))


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        ({"tokens": "many"}, "tokens"),
        ({"schema": 2}, "schema"),
        ({"surprise": 1}, "surprise"),
        ({"files": {"a": {"sha256": "x", "bytes": 1, "content": True}}}, "files.a.sha256"),
        ({"files": {"a": {"sha256": "0" * 64, "bytes": -1, "content": True}}}, "files.a.bytes"),
        ({"parents": [{"stage": "base"}]}, "parents.0.variant"),
        ({"content": "0" * 64}, "seal"),
        ({"wall_seconds": 9.0}, "seal"),
    ],
)
def test_a_misshapen_record_names_file_and_field(tmp_path: Path, edit: dict[str, object], field: str) -> None:
    artifact = published(Store(tmp_path))
    _edited(artifact.path, **edit)
    with pytest.raises(Damaged) as caught:
        load_record(artifact.path)
    message = str(caught.value)
    assert str(artifact.path / "record.json") in message
    assert f"field {field}:" in message or f"field {field} " in message
    assert "delete" in message
    assert "pydantic" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ({"content": "0" * 64}, "content"),
        ({"fingerprint": "0" * 64}, "fingerprint"),
        ({"data": "other"}, "fingerprint"),
        ({"variant": "../../x"}, "variant"),
        ({"profile": ".hidden"}, "profile"),
    ],
)
def test_a_resealed_record_must_still_hang_together(tmp_path: Path, edit: dict[str, object], says: str) -> None:
    """A seal is no signature: whoever rewrites it (or a mirror that does) cannot point out of the store or claim another identity."""
    artifact = published(Store(tmp_path))
    _edited(artifact.path, reseal=True, **edit)
    with pytest.raises(Damaged, match=says):
        load_record(artifact.path)


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/../../b", "a\\b", ".hidden", "a/.git/b", "a//b", "./a", "record.json", "a\x00b", "a\nb", ""]
)
def test_file_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    artifact = published(Store(tmp_path))
    files = {name: FileEntry(sha256="0" * 64, bytes=1)}
    body = dataclasses.replace(artifact.record, files=files, content=content_digest(files)).to_json()
    with pytest.raises(Damaged, match="not allowed"):
        parse_record(json.dumps(body), "record.json")


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match=r"record\.json cannot be read"):
        load_record(tmp_path)


def test_content_digest_is_over_names_and_hashes_of_content_alone() -> None:
    files = {"b": FileEntry(sha256="1" * 64, bytes=1), "a": FileEntry(sha256="2" * 64, bytes=1)}
    by_hand = hashlib.sha256(f"a\0{'2' * 64}\nb\0{'1' * 64}\n".encode()).hexdigest()
    assert content_digest(files) == by_hand
    assert content_digest({**files, "log.txt": FileEntry(sha256="3" * 64, bytes=9, content=False)}) == by_hand
    assert content_digest({"c": files["b"], "a": files["a"]}) != by_hand
    assert content_digest({"b": files["a"], "a": files["b"]}) != by_hand


@given(
    st.fixed_dictionaries(
        {"stage": NAMES, "recipe": MAPPINGS, "version": st.integers(0, 5), "data": DIGESTS, "parents": st.lists(DIGESTS)}
    ),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_every_part_of_the_identity_moves_the_fingerprint(known: dict[str, object], data: st.DataObject) -> None:
    moved = {"stage": "another-one", "recipe": {"new": 1}, "version": 77, "data": "0" * 64, "parents": [*known["parents"], "1" * 64]}  # type: ignore[misc]
    part = data.draw(st.sampled_from(sorted(moved)))
    if known[part] != moved[part]:
        assert fingerprint(**{**known, part: moved[part]}) != fingerprint(**known)  # type: ignore[arg-type]
    assert fingerprint(**dict(reversed(list(known.items())))) == fingerprint(**known)  # type: ignore[arg-type]


def test_the_fingerprint_is_pinned() -> None:
    """An accidental change of the form would silently rebuild every stage of every store."""
    assert (
        fingerprint(stage="stage1", recipe={"seed": 0, "rate": 1e-4}, version=1, data="d", parents=["p"])
        == hashlib.sha256(b'{"data":"d","parents":["p"],"recipe":{"rate":0.0001,"seed":0},"stage":"stage1","version":1}').hexdigest()
    )


def test_differences_name_recipe_fields_data_parents_and_version(tmp_path: Path) -> None:
    store = Store(tmp_path)
    base = published(store, "base")
    other_base = published(store, "base", payload=b"other", seed=1)
    portions = [{"name": "ind", "tokens": 5}, {"name": "eng", "tokens": 7}]
    a = published(store, parents=[base], optimisation={"learning_rate": 1e-3}, portions=portions).record
    b = published(
        store, parents=[other_base], optimisation={"learning_rate": 2e-3}, portions=[portions[1], {"name": "mya", "tokens": 9}], seed=3
    ).record
    found = differences(a, b)
    assert "recipe.optimisation.learning_rate: 0.001 -> 0.002" in found
    assert "recipe.seed: 0 -> 3" in found
    assert any(line.startswith("recipe.portions[ind]: {") and line.endswith("-> absent") for line in found)
    assert any(line.startswith("recipe.portions[mya]: absent ->") for line in found)
    assert not any("eng" in line for line in found), "a portion that only moved to another place is the same portion"
    assert f"parent base: {base.record.content[:12]} -> {other_base.record.content[:12]}" in found
    assert differences(a, a) == []
    told = changes(a, recipe=a.recipe, version=2, data="e" * 64, parents=[])
    assert told == ["version: 1 -> 2", f"data: other rows ({'d' * 12} -> {'e' * 12})", "parents: 1 -> 0"]


@given(MAPPINGS, MAPPINGS)
@settings(max_examples=100, deadline=None)
def test_recipes_differ_in_words_exactly_when_their_digests_do(old: dict[str, object], new: dict[str, object]) -> None:
    known = {"version": 1, "data": "", "parents": ()}
    nothing = {"files": {}, "environment": {}, "git": None, "seed": None, "started": "", "wall_seconds": 0.0, "tokens": 0, "build": {}}
    names = {"profile": "p", "stage": "s", "variant": "v", "fingerprint": "", "content": ""}
    record = Record(**names, **known, **nothing, recipe={"x": old}, adopted=False)  # type: ignore[arg-type]
    assert bool(changes(record, recipe={"x": new}, version=1, data="", parents=[])) == (records.digest(old) != records.digest(new))


def test_tokenizer_digest_moves_with_the_tokenizer_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one, two = published(store, seed=1).record, published(store, seed=2, payload=b"other weights").record
    assert one.content != two.content
    assert one.tokenizer_digest == two.tokenizer_digest
    files = {**one.files, "tokenizer.json": FileEntry(sha256="0" * 64, bytes=1)}
    assert dataclasses.replace(one, files=files).tokenizer_digest != one.tokenizer_digest


@pytest.mark.parametrize(
    ("files", "torch", "visible", "expected"),
    [
        ((), "2.13.0", None, "cpu"),
        (("nvidia0", "nvidiactl"), "2.13.0", None, "cuda"),
        (("nvidiactl",), "2.13.0", None, "cpu"),  # the driver is there, no card is given
        (("nvidia1",), "2.13.0+cpu", None, "cpu"),
        (("nvidia1",), "2.13.0+cu130", "", "cpu"),
        (("dxg",), "2.13.0+cu130", "0", "cuda"),
    ],
)
def test_the_device_is_told_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: tuple[str, ...], torch: str, visible: str | None, expected: str
) -> None:
    for name in files:
        (tmp_path / name).touch()
    monkeypatch.setattr(surroundings, "DEVICES", tmp_path)
    monkeypatch.setattr(surroundings.importlib.metadata, "version", lambda name: torch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert surroundings.expected_device() == expected


def test_the_environment_is_told_without_torch() -> None:
    seen = environment(threads=3, device="cuda")
    assert seen["threads"] == 3
    assert seen["device"] == "cuda"
    assert seen["torch"] == seen["packages"]["torch"]
    heavy = "{'torch', 'pandas', 'pydantic', 'fsspec', 'transformers'}"
    code = f"import sys, harness.store as s; s.environment(); print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_git_state_tells_commit_and_dirt_and_never_a_remote(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        return subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    assert git_state(tmp_path) is None
    git("init", "-q")
    git("remote", "add", "origin", "https://user:canary-token@example.org/x.git")
    assert git_state(tmp_path) is None, "a repository without a commit"
    git("commit", "-q", "--allow-empty", "-m", "one")
    assert git_state(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "new").write_text("x")
    assert git_state(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": True}
    (tmp_path / "inner").mkdir()
    assert git_state(tmp_path / "inner") is None, "installed inside somebody else's repository"
    assert "canary" not in json.dumps(git_state(tmp_path))


def test_a_loss_that_is_not_finite_is_not_published_in_silence(tmp_path: Path) -> None:
    store = Store(tmp_path)
    from tests.harness.store_kit import fields, finished

    known = fields()
    workdir = finished(store, known)
    (workdir / "result" / "build.json").write_text('{"final_loss": NaN}')
    with pytest.raises(StoreError, match="not finite"):
        store.publish(workdir, **known)
    assert store.artifacts() == []
