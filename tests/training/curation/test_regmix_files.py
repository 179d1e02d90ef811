"""CSV in and out: joined by names, never by position; what is amiss is named; the mixture as portions of stage 1."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.curation.documents import CurationError
from training.curation.regmix import command, files
from training.curation.regmix.files import with_mixture
from training.curation.regmix.nano import SAMPLING
from training.recipe import ContinuePretraining, Optimisation, Portion, TextFiles
from training.recipes import nano

MIXTURES = "run,ind,tha\np-1,0.25,0.75\np-2,0.5,0.5\np-10,1,0\n"
LOSSES = "run,ind,tha\np-1,1.5,1.25\np-2,1.25,1.5\np-10,1,2\n"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_join_by_run_and_columns_by_name_whatever_their_order(tmp_path: Path) -> None:
    plain = files.joined(files.read_mixtures(written(tmp_path / "m.csv", MIXTURES)), files.read_losses(written(tmp_path / "l.csv", LOSSES)))
    moved = files.joined(
        files.read_mixtures(written(tmp_path / "m2.csv", "tha,run,ind\n0,p-10,1\n0.75,p-1,0.25\n0.5,p-2,0.5\n")),
        files.read_losses(written(tmp_path / "l2.csv", "\ufefftha, ind ,index\n2,1,p-10\n\n1.5,1.25,p-2\n1.25,1.5,p-1\n")),
    )
    assert plain[0].runs == plain[1].runs == moved[0].runs == moved[1].runs == ("p-1", "p-2", "p-10")
    assert plain[0].domains == moved[0].domains == plain[1].targets == moved[1].targets == ("ind", "tha")
    assert np.array_equal(plain[0].weights_ND, moved[0].weights_ND)
    assert np.array_equal(plain[1].values_NT, moved[1].values_NT)
    assert plain[1].values_NT.tolist() == [[1.5, 1.25], [1.25, 1.5], [1, 2]]


@pytest.mark.parametrize(("text", "message"), [
    ("ind,tha\n.5,.5\n", "no column 'run' or 'index'; it has ind, tha"),
    ("run\np\n", "no column beside 'run'"),
    ("run,a,b\np,.5,.4\n", r"run p: its weights sum to 0.9000, not to 1 within 0.005"),
    ("run,a,b\np,1.5,-.5\n", "run p, column b: a weight of -0.5 is under 0"),
    ("run,a,b\np,nan,1\n", "line 2, column a: 'nan' is not a finite number"),
    ("run,a,b\np,,1\n", "line 2, column a: '' is not a finite number"),
    ("run,a,b\np,inf,1\n", "'inf' is not a finite number"),
    ("run,a,b\np,.5,.5\np,.4,.6\n", "two rows are of run 'p'"),
    ("run,a,a\np,.5,.5\n", "two of one name"),
    ("run,a,\np,.5,.5\n", "a column without a name"),
    ("run,a,b\np,.5\n", "line 2: the row has another number of cells"),
    ("run,a,b\n", "holds no row"),
    ("", "holds no row"),
])  # fmt: skip
def test_what_is_amiss_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CurationError, match=message) as caught:
        files.read_mixtures(written(tmp_path / "runs.csv", text))
    assert "runs.csv" in str(caught.value)


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(CurationError, match=r"none.csv cannot be read"):
        files.read_mixtures(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"run,a\np,\xff\n")
    with pytest.raises(CurationError, match=r"b.csv cannot be read"):
        files.read_losses(tmp_path / "b.csv")


def test_rows_rounded_to_three_places_are_normalised(tmp_path: Path) -> None:
    read = files.read_mixtures(written(tmp_path / "m.csv", "index,a,b\n1,.333,.671\n2,.3,.695\n"))
    assert np.allclose(read.weights_ND.sum(1), 1, atol=1e-15)
    assert read.weights_ND[0, 0] == pytest.approx(0.333 / 1.004)


def test_a_run_in_one_file_alone_is_refused(tmp_path: Path) -> None:
    mixtures = files.read_mixtures(written(tmp_path / "m.csv", MIXTURES))
    losses = files.read_losses(written(tmp_path / "l.csv", LOSSES.replace("p-2", "p-3")))
    with pytest.raises(CurationError, match=r"1 runs have a mixture and no losses \(p-2\); rows are joined by their run"):
        files.joined(mixtures, losses)


def test_losses_are_above_zero_and_targets_exist(tmp_path: Path) -> None:
    path = written(tmp_path / "l.csv", "run,a,b\np,0,1\n")
    with pytest.raises(CurationError, match=r"column a: a loss of 0.0 is not above 0"):
        files.read_losses(path)
    assert files.read_losses(path, ["b"]).targets == ("b",)
    with pytest.raises(CurationError, match="has no column 'c'; it has a, b"):
        files.read_losses(path, ["c"])


def test_priors(tmp_path: Path) -> None:
    assert files.read_prior(written(tmp_path / "p.csv", "domain,weight\nb,3\na,1\n")) == {"b": 3, "a": 1}
    assert files.read_prior(written(tmp_path / "p.csv", "language,tokens\nb,3e9\na,1e9\n")) == {"b": 3e9, "a": 1e9}
    with pytest.raises(CurationError, match="line 3: 'a' stands there twice"):
        files.read_prior(written(tmp_path / "p.csv", "language,tokens\na,3\na,1\n"))
    with pytest.raises(CurationError, match="no column 'tokens' or 'weight'"):
        files.read_prior(written(tmp_path / "p.csv", "language,size\na,3\n"))


def test_tables_and_mixtures_read_back_as_they_were(tmp_path: Path) -> None:
    values = np.array([[0.1 + 0.2, 1 / 3], [1e-17 + 1, 2.5]])
    files.write_table(tmp_path / "t.csv", ("r1", "r2"), ("x", "y"), values)
    assert np.array_equal(files.read_losses(tmp_path / "t.csv").values_NT, values)
    mixture = {"tha": 1 / 3, "ind": 2 / 3}
    files.write_mixture(tmp_path / "m.csv", mixture, {"tha": 1.5, "ind": 0.25})
    assert files.read_mixture(tmp_path / "m.csv") == mixture
    assert (tmp_path / "m.csv").read_text().splitlines()[:2] == ["language,weight,epochs", f"tha,{1 / 3!r},1.5000"]
    with pytest.raises(CurationError, match="is no mixture"):
        files.read_mixture(written(tmp_path / "m.csv", "language,weight\na,.5\n"))


@given(
    st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 1000), min_size=1).filter(lambda raw: sum(raw.values()) > 0),
    st.integers(1, 10**12),
)
def test_a_mixture_in_tokens_is_whole_and_exact(raw: dict[str, int], tokens: int) -> None:
    mixture = {name: weight / sum(raw.values()) for name, weight in raw.items()}
    made = files.in_tokens(mixture, tokens)
    assert sum(made.values()) == tokens
    assert list(made) == [name for name in raw if raw[name]]
    for language, count in made.items():
        assert abs(count - mixture[language] * tokens) <= 1 + 1e-9 * tokens


def test_tokens_are_of_a_mixture() -> None:
    with pytest.raises(CurationError, match="no mixture: weights of 0 or more that sum to 1"):
        files.in_tokens({"a": 0.9}, 10)


# --------------------------------------------------------------------------------------------------------------- a recipe anew


def recipe(*portions: tuple[str, str, int]) -> ContinuePretraining:
    """(name, language, tokens) each."""
    made = tuple(
        Portion(name=name, language=language, tokens=tokens, sources=(TextFiles(path=name, language=language),))
        for name, language, tokens in portions
    )
    return ContinuePretraining(portions=made, optimisation=Optimisation(learning_rate=1e-3), seed=5)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 10_000)), min_size=1, max_size=8),
    st.lists(st.integers(0, 50), min_size=3, max_size=3).filter(any),
)
def test_a_recipe_takes_a_mixture_and_keeps_its_tokens(given_: list[tuple[str, int]], raw: list[int]) -> None:
    before = recipe(*((f"p{number}", language, tokens) for number, (language, tokens) in enumerate(given_)))
    own = {language: sum(tokens for name, tokens in given_ if name == language) for language, _ in given_}
    weights = {language: weight for language, weight in zip("abc", raw, strict=True) if language in own}
    if not sum(weights.values()):
        return
    mixture = {language: weight / sum(weights.values()) for language, weight in weights.items()}
    after = with_mixture(before, mixture)
    assert after.tokens == before.tokens
    found = {portion.name: portion for portion in after.portions}
    for portion in before.portions:
        wanted = mixture[portion.language] * before.tokens * portion.tokens / own[portion.language]
        count = found[portion.name].tokens if portion.name in found else 0
        assert abs(count - wanted) < 1 + 1e-6
        if portion.name in found:
            assert dataclasses.replace(found[portion.name], tokens=portion.tokens) == portion
    assert [portion.name for portion in after.portions] == [portion.name for portion in before.portions if portion.name in found]
    assert dataclasses.replace(after, portions=before.portions) == before


def test_a_recipe_and_a_mixture_are_of_the_same_languages(tmp_path: Path) -> None:
    before = recipe(("first", "a", 30), ("second", "a", 10), ("third", "b", 60))
    assert [(one.name, one.tokens) for one in with_mixture(before, {"a": 0.8, "b": 0.2}).portions] == [
        ("first", 60),
        ("second", 20),
        ("third", 20),
    ]
    assert [one.name for one in with_mixture(before, {"a": 0, "b": 1}).portions] == ["third"]
    with pytest.raises(CurationError, match="the mixture has 'c', of which the recipe has no portion"):
        with_mixture(before, {"a": 0.5, "b": 0.4, "c": 0.1})
    with pytest.raises(CurationError, match="the recipe has portions in 'b', of which the mixture says nothing"):
        with_mixture(before, {"a": 1.0})
    for bad in ({"a": 0.5, "b": 0.4}, {"a": 1.5, "b": -0.5}, {"a": float("nan"), "b": 1.0}, {}):
        with pytest.raises(CurationError, match="no mixture"):
            with_mixture(before, bad)


def test_a_found_mixture_becomes_the_portions_of_nanos_stage_1(tmp_path: Path) -> None:
    languages = nano.STAGE1
    files.write_mixture(tmp_path / "mixture.csv", {language: 1 / len(languages) for language in languages}, None)
    honest = nano.stage1()
    made = with_mixture(honest, files.read_mixture(tmp_path / "mixture.csv"))
    assert made.tokens == honest.tokens
    assert max(one.tokens for one in made.portions) - min(one.tokens for one in made.portions) <= 1
    assert [one.sources for one in made.portions] == [one.sources for one in honest.portions]


@pytest.mark.slow
def test_nanos_mixture_is_what_its_proxies_speak_for(tmp_path: Path) -> None:
    """The command, on the committed runs, writes the committed mixture; stage 1 draws it to the token."""
    held = nano.MIXTURE.parent
    drawn = [f"--{name}={getattr(SAMPLING, name)}" for name in ("temperature", "weakest", "strongest")]
    inputs = [f"--{name}={held / name}.csv" for name in ("mixtures", "losses", "prior")]
    assert command.main([*inputs, *drawn, f"--epochs={SAMPLING.bounds.epochs}", f"--output={tmp_path / 'mixture.csv'}"]) == 0
    again, kept = files.read_mixture(tmp_path / "mixture.csv"), files.read_mixture(nano.MIXTURE)
    assert list(again) == list(kept)
    assert list(again.values()) == pytest.approx(list(kept.values()), abs=0.02)  # LightGBM's sums depend on the machine's threads
    stage1 = nano.stage1()
    assert {one.language for one in stage1.portions} == set(kept)
    assert all(abs(one.tokens - kept[one.language] * nano.STAGE1_TOKENS) <= 0.5 for one in stage1.portions)
