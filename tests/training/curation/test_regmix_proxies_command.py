"""`proxies`: from a team's shards to what `mixture` takes; stopped, it goes on; and nano, which is made of the same, is what it was."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.curation.test_regmix_chosen import LANGUAGES, corpus_documents, documents, shards
from training.curation.__main__ import main
from training.curation.documents import CurationError
from training.curation.regmix import chosen, command, files, nano, proxies, proxies_command
from training.curation.regmix.mixtures import Bounds, Mixtures, Sampling, sample
from training.curation.regmix.proxies import RUNS, TEXT, ProxyCorpora, ProxySettings
from training.pretraining.scratch import train_tokenizer
from training.recipes import nano as recipe

TINY = shlex.split(
    "--hidden 32 --layers 1 --heads 2 --intermediate 64 --vocabulary 400 --sequence 64 --batch 4 --steps 6 --documents 50 --held-out 6"
)
RUNS_HERE = 5


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three languages of the small world in three shards."""
    directory = tmp_path_factory.mktemp("corpus")
    shards(directory, documents(), [50, 60, 70])
    return directory


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search of few runs is let through: what it takes to fit is not looked at here."""
    monkeypatch.setattr(proxies, "LEAST_RUNS", RUNS_HERE)


def told(corpus: Path, directory: Path, *more: str, runs: int = RUNS_HERE) -> list[str]:
    return ["proxies", "--input", str(corpus), "--directory", str(directory), f"--runs={runs}", "--workers=1", *TINY, *more]


@pytest.fixture(scope="module")
def done(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a whole search."""
    directory = tmp_path_factory.mktemp("search")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proxies, "LEAST_RUNS", RUNS_HERE)
        assert main(told(corpus, directory)) == 0
    return directory


def tables(directory: Path) -> dict[str, bytes]:
    return {name: (directory / f"{name}.csv").read_bytes() for name in ("mixtures", "losses", "prior")}


def rows(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (directory / RUNS).glob("proxy-*.json")}


def test_the_three_files_are_what_mixture_reads(done: Path, corpus: Path) -> None:
    mixtures, losses = files.joined(files.read_mixtures(done / "mixtures.csv"), files.read_losses(done / "losses.csv"))
    prior = files.read_prior(done / "prior.csv")
    assert mixtures.domains == losses.targets == tuple(sorted(prior)) == LANGUAGES
    drawn = sample(prior, RUNS_HERE)
    assert np.array_equal(mixtures.weights_ND, drawn.weights_ND)
    assert mixtures.runs == drawn.runs
    for place, run in enumerate(losses.runs):
        row = json.loads((done / RUNS / f"{run}.json").read_text())
        assert [row["losses"][language] for language in LANGUAGES] == losses.values_NT[place].tolist()
        assert row["tokens"] == 6 * 4 * 64
    # the raw tokens are those of the text that was tokenised, by its share of all bytes
    texts = chosen.choose(sorted(corpus.iterdir()), chosen.Choice(documents=50, held_out=6))
    assert prior == chosen.raw_tokens(texts, ProxyCorpora.load(done / TEXT, LANGUAGES))


def test_nothing_held_out_is_in_what_the_runs_read(done: Path, corpus: Path) -> None:
    """In the file that the training processes read."""
    texts = chosen.choose(sorted(corpus.iterdir()), chosen.Choice(documents=50, held_out=6))
    tokenizer = train_tokenizer(chosen.tokenizer_texts(texts), 400, 64)
    for text, own in zip(ProxyCorpora.load(done / TEXT, LANGUAGES).texts, texts, strict=True):
        held, trained = corpus_documents(text.held_out), corpus_documents(text.train)
        assert not set(held) & set(trained)
        assert (len(held), len(trained)) == (6, len(own.train))
        assert [tokenizer.decode(np.frombuffer(ids, np.uint32)[:-1]) for ids in held] == list(own.held_out)


def test_it_says_the_command_that_takes_its_files(done: Path, corpus: Path, few: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Given again where all is done it runs nothing, and writes the same files."""
    before, kept = tables(done), rows(done)
    assert main(told(corpus, done)) == 0
    assert (tables(done), rows(done)) == (before, kept)
    out, err = capsys.readouterr()
    line = shlex.split(out.strip().splitlines()[-1])
    assert line[:4] == ["python", "-m", "training.curation", "mixture"]
    given = command.parser().parse_args(line[4:])
    assert (given.mixtures, given.losses, given.prior) == tuple(done / f"{name}.csv" for name in ("mixtures", "losses", "prior"))
    assert (
        Sampling(
            temperature=given.temperature,
            weakest=given.weakest,
            strongest=given.strongest,
            bounds=Bounds(epochs=given.epochs),
            seed=given.seed,
        )
        == Sampling()
    )
    assert [line.split()[0] for line in err.splitlines() if line.split()[0] in LANGUAGES] == list(LANGUAGES)


@pytest.mark.slow
def test_stopped_it_goes_on_and_ends_the_same(
    done: Path, corpus: Path, few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[str] = []

    def stop(run: str, number: int, of: int) -> None:
        ended.append(run)
        if len(ended) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(proxies_command, "tell", stop)
        assert main(told(corpus, tmp_path / "search")) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    assert not (tmp_path / "search" / "losses.csv").exists()
    kept = {name: written for name, written in rows(tmp_path / "search").items() if name.removesuffix(".json") in ended}
    assert len(kept) == 2
    assert main(told(corpus, tmp_path / "search")) == 0
    assert tables(tmp_path / "search") == tables(done)
    assert kept.items() <= rows(tmp_path / "search").items()


@pytest.mark.slow
def test_more_runs_go_on_from_fewer(done: Path, corpus: Path, few: None, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(done, tmp_path / "more")
    kept = rows(tmp_path / "more")
    assert main(told(corpus, tmp_path / "more", runs=RUNS_HERE + 1)) == 0
    assert kept.items() < rows(tmp_path / "more").items()
    for name in ("mixtures", "losses"):
        before, after = ((directory / f"{name}.csv").read_text().splitlines() for directory in (done, tmp_path / "more"))
        assert after[: len(before)] == before
        assert len(after) == len(before) + 1


def test_a_tokenizer_and_a_prior_of_ones_own(
    corpus: Path, few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handed: list[tuple[Mixtures, ProxyCorpora]] = []
    monkeypatch.setattr(proxies_command, "run_proxies", lambda mixtures, corpora, *rest: handed.append((mixtures, corpora)))
    train_tokenizer(["selamat pagi", "สวัสดี"] * 3, 300, 64).save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "prior.csv").write_text("language,tokens\nvie,475e9\nind,325e9\nkhm,2e9\n")
    more = ["--tokenizer", str(tmp_path / "tokenizer"), "--prior", str(tmp_path / "prior.csv")]
    assert main(told(corpus, tmp_path / "search", *more)) == 2
    assert "has no row of 'tha', which the text has" in capsys.readouterr().err
    assert main(told(corpus, tmp_path / "search", *more, "--languages", "vie", "ind")) == 0
    prior = files.read_prior(tmp_path / "search" / "prior.csv")
    assert prior == {"ind": 325e9, "vie": 475e9}
    ((mixtures, corpora),) = handed
    assert np.array_equal(mixtures.weights_ND, sample(prior, RUNS_HERE).weights_ND)
    assert corpora.languages == ("ind", "vie")
    assert len(corpora.token_bytes_V) == len(json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"])
    assert main(told(corpus, tmp_path / "other", "--prior", str(tmp_path / "prior.csv"), "--languages", "vie", "tha")) == 2
    (tmp_path / "prior.csv").write_text("language,tokens\nvie,475e9\nind,325e9\ntha,61e9\nkhm,2e9\n")
    assert main(told(corpus, tmp_path / "other", "--prior", str(tmp_path / "prior.csv"))) == 2
    assert "has 'khm', of which the text has no document" in capsys.readouterr().err


def test_a_directory_of_other_settings_or_other_text_is_refused(
    done: Path, corpus: Path, few: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (tables(done), rows(done))
    for more, said in (
        (["--steps", "7"], "was begun with settings.steps 6 and is now to go on with 7"),
        (["--epochs", "9"], "was begun with sampling.bounds.epochs 15.0 and is now to go on with 9.0"),
        (["--held-out", "5"], "was begun with choice.held_out 6.0 and is now to go on with 5.0"),
    ):
        assert main(told(corpus, done, *more)) == 2
        found = capsys.readouterr().err
        assert said in found
        assert "or another --directory" in found
    shards(tmp_path, documents()[:-1], [50, 60, 69])
    assert main(told(tmp_path, done)) == 2
    assert "was begun with other text: --input has changed" in capsys.readouterr().err
    (tmp_path / "nano" / RUNS).mkdir(parents=True)
    (tmp_path / "nano" / RUNS / "proxy-000.json").write_text("{}")
    assert main(told(corpus, tmp_path / "nano")) == 2
    assert "holds proxies that another command began" in capsys.readouterr().err
    assert (tables(done), rows(done)) == before


@pytest.mark.parametrize(("more", "message"), [
    (["--runs", "63"], "--runs 63: a regression needs 64 runs"),
    (["--languages", "ind", "xyz"], "--languages xyz: the shards have no document of it"),
    (["--documents", "70", "--held-out", "45"], "ind (60 documents), tha (60 documents), vie (60 documents): too few"),
    (["--documents", "20"], "leaves 14 to train on"),
    (["--hidden", "30", "--heads", "4"], "--hidden 30: a multiple of twice the 4 heads"),
    (["--steps", "0"], "--steps 0: 1 or more"),
    (["--learning-rate", "0"], "--learning-rate 0: more than 0"),
    (["--vocabulary", "200"], "--vocabulary: architecture.vocabulary 200 does not hold the 256 bytes"),
    (["--tokenizer", "nowhere"], "--tokenizer nowhere: no tokenizer files"),
    (["--prior", "nowhere.csv"], "nowhere.csv cannot be read as CSV"),
    (["--temperature", "-1"], "a temperature of 0 or more"),
    (["--sequence", "20000"], "less than one row of 20000: hold out more"),
    (["--workers", "0"], "0 workers: 1 or more"),
    (["--input", "nowhere"], "--input nowhere: no such file"),
])  # fmt: skip
def test_what_it_cannot_work_with_is_one_line_and_status_2(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main([*told(corpus, tmp_path / "search", runs=64), *more]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert not (tmp_path / "search" / RUNS).exists()


def test_what_was_begun_and_did_nothing_binds_to_nothing(corpus: Path, few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that does not learn, mended in the same directory."""

    def fail(*rest: object) -> None:
        raise CurationError("the proxies stopped")

    monkeypatch.setattr(proxies_command, "run_proxies", fail)
    for rate in (1e30, 1e-3):
        assert main(told(corpus, tmp_path, f"--learning-rate={rate}")) == 2
        assert json.loads((tmp_path / proxies_command.BEGUN).read_text())["settings"]["optimisation"]["learning_rate"] == rate


@pytest.mark.slow
def test_the_whole_way_to_a_mixture(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """64 runs, and the command that it says: the mixture is of the corpus' languages and keeps the epochs."""
    assert main(told(corpus, tmp_path / "search", runs=70)) == 0
    line = shlex.split(capsys.readouterr().out.strip().splitlines()[-1])
    assert main([*line[3:], "--simulated", "5000", "--top", "50"]) == 0
    mixture = files.read_mixture(tmp_path / "search" / "mixture.csv")
    assert set(mixture) == set(LANGUAGES)
    made = json.loads((tmp_path / "search" / "mixture.json").read_text())
    assert (made["runs"]["fitted"], made["runs"]["unseen"]) == (64, 6)
    assert made["prior"]["values"] == files.read_prior(tmp_path / "search" / "prior.csv")
    assert max(made["found"]["epochs"].values()) <= 15


# ------------------------------------------------------------------------------------------------------------------ sizes, nano


def options(*more: str) -> Any:
    return proxies_command.parser().parse_args(["--input", "a", "--directory", "b", *more])


def test_the_sizes_are_nanos_and_regmix() -> None:
    """RegMix's: 1.31M parameters besides the embeddings, 1.05 billion tokens, warm-up of 100 steps to a constant 4e-4."""
    from training.models.load import new_model
    from training.pretraining.schedule import learning_rate

    assert proxies_command.settings_of(options()) == ProxySettings()
    settings = proxies_command.settings_of(options("--size", "1M"))
    model = new_model(settings.architecture, settings.architecture.vocabulary, 0)
    sizes = {name: weights.numel() for name, weights in model.named_parameters()}
    embeddings = sizes.pop("model.embed_tokens.weight") + sizes.pop("lm_head.weight")
    assert embeddings == 2 * 256 * 50_432
    assert (
        sum(sizes.values()) - sum(size for name, size in sizes.items() if "norm" in name) == 2 * (4 * 256**2 + 3 * 256 * 512) == 1_310_720
    )
    assert settings.tokens == 1001 * 512 * 2048
    rates = [learning_rate(settings.optimisation, step, settings.steps) for step in range(settings.steps)]
    assert rates[:2] == pytest.approx([4e-6, 8e-6])
    assert rates[98] < 4e-4
    assert set(rates[99:]) == {4e-4}
    over = proxies_command.settings_of(options("--size", "1M", "--heads", "4", "--sequence", "512", "--learning-rate", "1e-3"))
    assert (over.architecture.heads, over.architecture.kv_heads, over.architecture.context, over.sequence) == (4, 4, 512, 512)
    assert (over.optimisation.learning_rate, over.steps) == (1e-3, 1001)


def test_nano_is_made_of_the_same_and_hands_over_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mixtures and prior are, byte for byte, those that its committed mixture was made of; its text is the world's, said anew here."""
    from training.recipe import WorldText
    from training.world import text as world

    def world_texts(language: str, count: int, seed: int) -> list[str]:
        return [one.text for one in world.documents(WorldText(language=language, documents=count, seed=seed))]

    handed: list[Sequence[str]] = []

    def hand_over(told: Sequence[str]) -> int:
        handed.append(told)
        return 0

    monkeypatch.setattr(command, "main", hand_over)

    def write_alone(mixtures: Any, corpora: ProxyCorpora, settings: ProxySettings, directory: Path, *rest: Any) -> None:
        assert settings == ProxySettings()
        tokenizer = train_tokenizer((line for one in nano.PRIOR for line in world_texts(one, 150, 33)), 2048, context=1024)
        sides = {one: (world_texts(one, 300, 31), world_texts(one, 24, 32)) for one in nano.PRIOR}
        assert corpora.digest() == ProxyCorpora.of(tokenizer, sides).digest()
        files.write_table(directory / "mixtures.csv", mixtures.runs, mixtures.domains, mixtures.weights_ND)

    monkeypatch.setattr(nano, "run_proxies", write_alone)
    assert nano.main(["--directory", str(tmp_path)]) == 0
    held = recipe.MIXTURE.parent
    for name in ("mixtures.csv", "prior.csv"):
        assert (tmp_path / name).read_bytes() == (held / name).read_bytes()
    given = command.parser().parse_args(handed[0])
    assert (given.temperature, given.weakest, given.strongest, given.epochs, given.seed) == (0.25, 2.0, 20.0, 200.0, 42)
    assert given.output == tmp_path / "mixture.csv"
    with pytest.raises(CurationError, match="a regression needs 64 runs"):
        proxies.enough(63)
