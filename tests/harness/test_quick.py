"""The committed quick samples: drawn alike each time, held to the file, and never moved in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import profiles, quick
from harness.quick import Drawn
from harness.suites import SuiteError
from tests.plugin.conftest import TOY


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> profiles.Profile:
    (tmp_path / "gates").mkdir()
    gates = tmp_path / "gates" / "toy.toml"
    gates.write_bytes((TOY.parent / "toy_gates.toml").read_bytes())
    monkeypatch.setenv("TOY_GATES", str(gates))
    return profiles.load(str(TOY))


def test_a_draw_is_the_same_each_time_and_smaller_than_the_whole(toy: profiles.Profile) -> None:
    first, second = quick.draw(toy, None), quick.draw(toy, None)
    assert first == second
    assert set(first) == set(toy.suites)
    assert all(0 < len(entry.ids) <= entry.of for entry in first.values())


def test_what_is_written_is_read_and_held(toy: profiles.Profile) -> None:
    drawn = quick.draw(toy, None, {"perplexity": 90.0})
    path = quick.write(toy, drawn)
    assert path == quick.path_of(toy)
    assert quick.read(path) == drawn
    quick.hold(path, "perplexity", reversed(drawn["perplexity"].ids))
    quick.hold(path, "a suite that the file does not name", ["x"])
    with pytest.raises(SuiteError, match=r"perplexity.*1 gone, e.g. .*; 1 new, e.g. other.*harness.quick write"):
        quick.hold(path, "perplexity", [*drawn["perplexity"].ids[1:], "other"])
    assert quick.plan_line(toy, "quick") == "an evaluation, minutes: perplexity 1.5; 2 in all"
    of, ids = drawn["perplexity"].of, len(drawn["perplexity"].ids)
    minutes = 1.5 * of / ids
    assert quick.plan_line(toy, "full") == f"an evaluation, minutes, from the quick samples: perplexity {minutes:.1f}; {minutes:.0f} in all"
    quick.write(toy, quick.draw(toy, None))  # seconds that were not measured again are kept
    assert quick.read(path)["perplexity"].seconds == 90.0


def test_a_full_run_is_told_from_the_quick_one(toy: profiles.Profile) -> None:
    drawn = {"a": Drawn(ids=("1", "2"), of=20, seconds=60.0), "b": Drawn(ids=("1",), of=1, seconds=30.0), "c": Drawn(ids=("1",), of=9)}
    path = quick.path_of(toy)
    path.parent.mkdir(exist_ok=True)
    quick.write(toy, drawn)
    assert quick.plan_line(toy, "quick") == "an evaluation, minutes: a 1.0, b 0.5; 2 in all"
    assert quick.plan_line(toy, "full") == "an evaluation, minutes, from the quick samples: a 10.0, b 0.5; 10 in all"
    quick.write(toy, {"c": drawn["c"]})
    assert quick.plan_line(toy, "full") == "", "never measured"


def test_a_file_that_is_none_is_named(toy: profiles.Profile) -> None:
    path = quick.path_of(toy)
    path.parent.mkdir()
    path.write_text("{}")
    with pytest.raises(SuiteError, match=r"samples.toy\.json holds no quick samples"):
        quick.read(path)


def test_seconds_come_from_evaluations_that_computed_everything(tmp_path: Path) -> None:
    for name, cached, seconds in (("a-quick", 0, 30), ("b-quick", 5, 99), ("c-full", 0, 77), ("d-quick", 0, 40)):
        (tmp_path / "rows" / name).mkdir(parents=True)
        entry = {"perplexity": {"computed": 9, "cached": cached, "seconds": seconds}}
        (tmp_path / "rows" / name / "summary.json").write_text(json.dumps(entry))
    assert quick.measured(tmp_path) == {"perplexity": 40.0}


def test_the_command_writes_and_checks(toy: profiles.Profile, capsys: pytest.CaptureFixture[str]) -> None:
    assert quick.main(["check", str(TOY)]) == 1
    assert "new, e.g." in capsys.readouterr().err
    assert quick.main(["write", str(TOY)]) == 0
    assert quick.main(["check", str(TOY)]) == 0
    assert quick.main(["check", "no-such-profile"]) == 2


@pytest.mark.parametrize(
    ("found", "said"), [(["a", "b"], ""), (["b", "a"], ""), (["a"], "1 gone, e.g. b"), (["a", "b", "c"], "1 new, e.g. c")]
)
def test_a_difference_in_words(found: list[str], said: str) -> None:
    assert Drawn(ids=("a", "b"), of=9).differs(found) == said


@pytest.mark.parametrize("name", ["nano"])
def test_the_shipped_samples_are_todays_draw(name: str) -> None:
    profile = profiles.load(name)
    committed = quick.read(quick.path_of(profile))
    drawn = quick.draw(profile, None)
    assert set(committed) == set(drawn)  # all but suites that draw for an artifact
    for suite, entry in drawn.items():
        assert committed[suite].differs(entry.ids) == ""


@pytest.mark.slow
def test_the_shipped_samples_of_smol_are_todays_draw(hub: Path) -> None:
    profile = profiles.load("smol")
    committed = quick.read(quick.path_of(profile))
    drawn = quick.draw(profile, hub)
    assert set(committed) == set(drawn)  # all but the suite that judges a corpus
    for suite, entry in drawn.items():
        assert committed[suite].differs(entry.ids) == ""
