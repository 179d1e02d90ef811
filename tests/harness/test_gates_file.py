"""The gates file, its calibration and its command line: every mistake in a file is one clear message."""

from __future__ import annotations

import dataclasses
import datetime
import subprocess
import sys
from pathlib import Path

import pytest

from harness import gates
from harness.gates import Calibrated, GatesError, expected_detectable, load_gates
from tests.harness.gates_kit import LEARNS, METRICS, calibrate, loaded, measured, profile_at, without

# ------------------------------------------------------------------------------------------------------------- the file


def test_a_list_of_languages_becomes_a_guard_each_and_macro_one_gate(tmp_path: Path) -> None:
    """The full name is STAGE.name.LANG; the family is what the file says about the stage; parents are resolved."""
    found = loaded(tmp_path, LEARNS, {**LEARNS, "macro": True}, {**LEARNS, "name": "keeps", "rule": "retains", "languages": "parent.seen"})
    assert [gate.name for gate in found] == ["stage1.learns.ind", "stage1.learns.tha", "stage1.learns.macro", "stage1.keeps.eng"]
    assert [gate.tier for gate in found] == ["guard", "guard", "macro", "guard"]
    assert {gate.family for gate in found} == {4}
    assert {gate.against for gate in found} == {"expand"}
    assert found[2].languages == ("ind", "tha")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("all", ["eng", "ind", "tha"]),
        ("stage.seen", ["eng", "ind", "tha"]),
        ("stage.new", ["ind", "tha"]),
        ("base.new", ["eng"]),
        ("stage1.new", ["ind", "tha"]),
        ("parent.seen", ["eng"]),
        (["tha"], ["tha"]),
    ],
)
def test_what_languages_may_say(tmp_path: Path, said, expected: list[str]) -> None:
    """Words and lists, in the profile's order."""
    assert [gate.languages[0] for gate in loaded(tmp_path, {**LEARNS, "languages": said})] == expected


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({**LEARNS, "langauges": "all"}, r"gate 1 \('learns'\): unknown key 'langauges'; did you mean 'languages'\?"),
        (without("reason"), "'reason' is missing"),
        ({**LEARNS, "reason": ""}, "reason = '': "),
        ({**LEARNS, "reason": "two\nlines"}, "reason = "),
        ({**LEARNS, "rule": "improve_on"}, r"no rule 'improve_on'; did you mean 'improves_on'\?. Rules: at_least"),
        ({**LEARNS, "suite": "perplexty"}, r"profile toy has no suite 'perplexty'; did you mean 'perplexity'\?"),
        ({**LEARNS, "metric": "bits"}, r"suite perplexity has no metric 'bits'. Metrics: bits_per_byte"),
        ({**LEARNS, "stage": "stage3"}, r"no stage 'stage3'; did you mean 'stage2'\?"),
        ({**LEARNS, "languages": ["inn"]}, r"no language 'inn'; did you mean 'ind'\?"),
        ({**LEARNS, "languages": []}, "an empty list"),
        ({**LEARNS, "languages": ["ind", "ind"]}, "names one twice"),
        ({**LEARNS, "languages": "stage.nwe"}, r"did you mean 'stage.new'\?"),
        ({**LEARNS, "stage": "stage2"}, "is empty: stage2 adds no language"),
        ({**LEARNS, "suite": "choice", "metric": "margin"}, "suite choice has no tha"),
        ({**LEARNS, "suite": "choice", "metric": "margin", "languages": ["ind"], "against": "base"}, "does not run on base"),
        ({**LEARNS, "against": "stage2"}, "no ancestor of stage1"),
        ({**LEARNS, "against": "release"}, "write 'blessed'"),
        ({**LEARNS, "stage": "base", "languages": "all"}, "base has 0 parents"),
        (without("against"), "improves_on needs `against`"),
        (without("margin"), "exactly one of"),
        ({**LEARNS, "relative": 0.1}, "exactly one of"),
        ({**LEARNS, "line": 1.0}, "no `line`"),
        ({**LEARNS, "margin": -0.1}, "margin = -0.1"),
        ({**LEARNS, "margin": "wide"}, "margin = 'wide'"),
        ({**without("margin"), "relative": 1.5}, "relative = 1.5"),
        ({**LEARNS, "rule": "at_least"}, "at_least takes `line`"),
        ({**without("margin"), "rule": "matches", "line": 1.0}, "matches with a `line`"),
        ({**LEARNS, "name": "a b"}, "name = 'a b'"),
        ({**LEARNS, "macro": True, "languages": ["ind"]}, "a macro gate over ind alone"),
        ({**LEARNS, "waiver": {"who": "me", "why": "x"}}, "until"),
        ({**LEARNS, "waiver": {"who": "me", "why": "x", "until": datetime.date(2026, 1, 1), "when": "y"}}, "unknown key 'when'"),
    ],
)
def test_a_mistake_is_one_message_with_file_gate_and_mend(tmp_path: Path, table: dict, message: str) -> None:
    """Nothing in a file is passed over."""
    with pytest.raises(GatesError, match=message) as caught:
        loaded(tmp_path, table)
    assert "toy.toml: gate 1" in str(caught.value)
    assert "\n" not in str(caught.value).replace("two\\nlines", "")


@pytest.mark.parametrize(
    ("head", "tables", "message"),
    [
        ("schema = 2\n", [LEARNS], "schema is 2"),
        ("", [LEARNS], "schema is None"),
        ("schema = 1\nstrict = true\n", [LEARNS], "unknown key 'strict'"),
        ("schema = 1\n", [], "certifies nothing"),
        ("schema = = 1\n", [], "not readable TOML"),
        ("schema = 1\ngate = 3\n", [], "no \\[\\[gate\\]\\]"),
        ("schema = 1\n", [LEARNS, LEARNS], "two gates are called stage1.learns.ind"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, head: str, tables: list[dict], message: str) -> None:
    """Wrong schema, unknown top keys, no gates, no TOML, doubled names."""
    with pytest.raises(GatesError, match=message):
        loaded(tmp_path, *tables, head=head)


def test_a_missing_file(tmp_path: Path) -> None:
    """The message names the path."""
    with pytest.raises(GatesError, match=r"no gates file .*none\.toml"):
        load_gates(tmp_path / "none.toml", profile_at(tmp_path / "none.toml"))


def test_the_digest_is_of_what_is_said(tmp_path: Path) -> None:
    """A comment does not move it; a margin and a calibration do."""
    loaded(tmp_path, LEARNS)
    path = tmp_path / "gates" / "toy.toml"
    first = gates.gates_digest(path)
    path.write_text("# why\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert gates.gates_digest(path) == first
    path.write_text(path.read_text(encoding="utf-8").replace("0.1", "0.2"), encoding="utf-8")
    second = gates.gates_digest(path)
    assert second != first
    calibrate(tmp_path, {})
    assert gates.gates_digest(path) not in (first, second)


def test_the_digest_moves_when_a_waiver_expires(tmp_path: Path) -> None:
    """Else a stored certificate would go on showing it."""
    from harness.gates_file import digest_of

    until = datetime.date(2026, 6, 30)
    loaded(tmp_path, {**LEARNS, "waiver": {"who": "me", "why": "x", "until": until}})
    path = tmp_path / "gates" / "toy.toml"
    days = [digest_of(path, until + datetime.timedelta(days=shift)) for shift in (-1, 0, 1, 2)]
    assert days[0] == days[1] != days[2] == days[3]


def test_a_margin_that_cannot_be_told_from_nought_is_refused(tmp_path: Path) -> None:
    """By sampling error, or by seeds; absolute or relative; against a blessed reference the seeds count twice."""
    calibrate(tmp_path, {"stage1.learns.ind": measured()})
    assert loaded(tmp_path, LEARNS)[0].calibrated is not None
    with pytest.raises(GatesError, match=r"stage1\.learns\.ind: its margin of 0.04 cannot be told from nought"):
        loaded(tmp_path, {**LEARNS, "margin": 0.04})
    with pytest.raises(GatesError, match="cannot be told"):
        loaded(tmp_path, without("margin", relative=0.02))
    assert loaded(tmp_path, {**LEARNS, "margin": 0.04}, calibrated=False)[0].calibrated is None
    calibrate(tmp_path, {"stage1.learns.ind": measured(seed_sd=0.1)})
    with pytest.raises(GatesError, match=r"between seeds 0\.1"):
        loaded(tmp_path, LEARNS)
    calibrate(tmp_path, {"stage1.learns.ind": measured(seed_sd=0.03)})
    assert loaded(tmp_path, {**LEARNS, "margin": 0.09})
    with pytest.raises(GatesError, match=r"between seeds 0\.042"):
        loaded(tmp_path, {**LEARNS, "margin": 0.09, "against": "blessed"})


@pytest.mark.parametrize("entry", [measured(seed_sd=-1), measured(degrees=0), {"seed_sd": 1}, {"seed_sd": "x"}, None])
def test_a_broken_calibration_is_an_error(tmp_path: Path, entry) -> None:
    """A calibration is never half read."""
    calibrate(tmp_path, {"stage1.learns.ind": entry})
    with pytest.raises(GatesError, match=r"is not a calibration .* run `python -m harness.calibrate` again"):
        loaded(tmp_path, LEARNS)


def test_the_expected_detectable_difference_is_near_the_exact_one(tmp_path: Path) -> None:
    """The formula without scipy is within two per cent of the t quantiles from 10 degrees on."""
    from scipy import stats

    for degrees in (10, 19, 30, 100):
        gate = dataclasses.replace(loaded(tmp_path, LEARNS)[0], calibrated=Calibrated(**measured(seed_sd=0.0, degrees=degrees)))
        exact = 0.02 * (stats.t.ppf(0.95, degrees) + stats.t.ppf(0.9, degrees))
        assert expected_detectable(gate) == pytest.approx(exact, rel=0.02)


def test_importing_the_gates_is_light() -> None:
    """pytest's own process pays for it in every run: no numpy, scipy, pydantic or torch on import."""
    code = "import sys, harness.gates; print([name for name in ('numpy', 'scipy', 'pydantic', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --------------------------------------------------------------------------------------------------- the command line


def test_the_command_line(tmp_path: Path, monkeypatch, capsys) -> None:
    """lint names a mistake and exits 2; explain says each gate in words with what it can tell apart."""
    from harness import gates_command

    calibrate(tmp_path, {"stage1.learns.ind": measured()})
    waiver = {"who": "me", "why": "because", "until": datetime.date(2020, 1, 1)}
    loaded(
        tmp_path,
        LEARNS,
        {**LEARNS, "macro": True, "waiver": waiver},
        without("margin", name="keeps", rule="retains", against="blessed", relative=0.05),
    )
    path = tmp_path / "gates" / "toy.toml"
    monkeypatch.setattr(gates_command.profiles, "load", lambda name: profile_at(path))
    monkeypatch.setattr(gates_command, "suite_metrics", lambda profile, suite: METRICS[suite])
    assert gates.main(["lint", "toy"]) == 0
    said = capsys.readouterr().out
    assert "5 gates (stage1 5); 1 calibrated" in said
    assert "stage1.learns.macro: its waiver (me) expired on 2020-01-01" in said
    assert gates.main(["explain", "toy", "stage1.learns"]) == 0
    said = capsys.readouterr().out
    assert "bits_per_byte of perplexity (lower is better) in ind must be better than that of expand by more than 0.1" in said
    assert "in the mean of ind, tha" in said
    assert "detectable at 90 % power: 0.06" in said
    assert "about 20 clusters" in said
    assert gates.main(["explain", "toy", "stage1.keeps.ind"]) == 0
    assert "must not be worse than that of the blessed and the release baseline by 5.0% of its score" in capsys.readouterr().out
    assert gates.main(["explain", "toy", "nothing"]) == 2
    assert "no gate nothing" in capsys.readouterr().err
    assert gates.main(["lint", str(path)]) == 0
    capsys.readouterr()
    path.write_text(path.read_text(encoding="utf-8").replace("improves_on", "improve"), encoding="utf-8")
    assert gates.main(["lint", "toy"]) == 2
    assert "no rule 'improve'" in capsys.readouterr().err


def test_lint_says_where_pairs_are_too_few_for_an_uncalibrated_margin(tmp_path: Path, monkeypatch, capsys) -> None:
    """By the share of answers that change, where nothing was measured and the sample is committed: 2.93 sqrt(d / n)."""
    import json

    from scipy import stats

    from harness import gates_command

    exact = (stats.norm.ppf(0.95) + stats.norm.ppf(0.9)) * (0.25 / 600) ** 0.5
    assert gates.pairs_detectable(600, 0.25) == pytest.approx(exact, rel=1e-4)
    accuracy = {**LEARNS, "suite": "choice", "metric": "accuracy", "rule": "retains", "against": "expand", "languages": ["ind"]}
    loaded(tmp_path, {**accuracy, "name": "narrow", "margin": 0.06}, {**accuracy, "name": "wide", "margin": 0.08})
    path = tmp_path / "gates" / "toy.toml"
    (tmp_path / "samples").mkdir()
    drawn = {"choice": {"ids": [f"ind/{place}" for place in range(600)], "of": 900, "seconds": None}}
    (tmp_path / "samples" / "toy.json").write_text(json.dumps({"schema": 1, "suites": drawn}))
    monkeypatch.setattr(gates_command.profiles, "load", lambda name: profile_at(path))
    monkeypatch.setattr(gates_command, "suite_metrics", lambda profile, suite: METRICS[suite])
    assert gates.main(["lint", "toy"]) == 0
    said = capsys.readouterr().out
    assert "uncalibrated: all gates: margin not held against a detectable difference" in said
    assert "stage1.narrow.ind: uncalibrated, and its margin of 0.06 is below the 0.07068 that the 600 committed pairs" in said
    assert "stage1.wide.ind" not in said


def test_a_file_that_no_profile_uses_is_linted_for_its_words(tmp_path: Path, monkeypatch, capsys) -> None:
    """Names cannot be checked there, and the message says so."""
    from harness import gates_command

    monkeypatch.setattr(gates_command.profiles, "BUILT_IN", {})
    loaded(tmp_path, LEARNS)
    assert gates.main(["lint", str(tmp_path / "gates" / "toy.toml")]) == 0
    assert "no profile uses the file" in capsys.readouterr().out


def test_the_shipped_gates_are_well_formed() -> None:
    """Every gates file of the house, each table with its reason."""
    from harness import goldens
    from harness.gates_file import check_words

    files = sorted((goldens.root() / "gates").glob("*.toml"))
    assert "nano.toml" in {path.name for path in files}
    for path in files:
        assert check_words(path) > 0
