"""The README's "bring your own": its 20 lines are run as they stand, on a Llama of our own making, outside the checkout."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.plugin.conftest import block, run_pytest
from training.recipe import Architecture, WorldText


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a small random Llama, two files of text, and the README's profile and gates."""
    from training.models import load
    from training.pretraining.scratch import train_tokenizer
    from training.world import text

    directory = tmp_path_factory.mktemp("outside")
    train = [document.text for document in text.documents(WorldText(language="sun", documents=250, seed=3))]
    held_out = [document.text for document in text.documents(WorldText(language="sun", documents=30, split="held_out"))]
    for name, texts in (("train", train), ("held_out", held_out)):
        lines = [json.dumps({"text": each}, ensure_ascii=False) for each in texts]
        (directory / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = train_tokenizer(train, 512, 512)
    architecture = Architecture(family="llama", vocabulary=512, hidden=48, intermediate=96, layers=2, heads=2, kv_heads=1, context=512)
    model = load.new_model(architecture, len(tokenizer), seed=0, eos_token_id=tokenizer.eos_token_id)
    load.save_checkpoint(model, tokenizer, directory / "llama")
    (directory / "my_profile.py").write_text(block("own-profile"), encoding="utf-8")
    (directory / "gates.toml").write_text(block("own-gates"), encoding="utf-8")
    return directory


def test_the_lines_of_the_readme_gate_a_llama_of_ones_own(outside: Path) -> None:
    result = run_pytest(outside, ["-m", "stage1", "--gate-profile=my_profile.py"])
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"stage1\.learns\.fao .* pass", result.stdout)


def test_too_few_held_out_documents_never_pass(outside: Path) -> None:
    text = (outside / "held_out.jsonl").read_text(encoding="utf-8").splitlines()[:19]
    (outside / "short.jsonl").write_text("\n".join(text) + "\n", encoding="utf-8")
    (outside / "short_profile.py").write_text(block("own-profile").replace("held_out.jsonl", "short.jsonl"), encoding="utf-8")
    result = run_pytest(outside, ["-m", "stage1", "--gate-profile", "short_profile.py"])
    assert result.returncode == 3, result.stdout + result.stderr
    assert re.search(r"stage1\.learns\.fao .* inconclusive", result.stdout)
    assert "20" in result.stdout


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"stage1": StageEntry', '"stage7": StageEntry', "no stage 'stage7'"),
        ('adds=("fao",)', 'adds=("fo",)', "adds fo, not among the profile's languages"),
        ("profile = Profile(", "my_profile = Profile(", "must define `profile"),
        ("import Path", "import Pathh", "cannot be loaded"),
        ('"perplexity": SuiteSpec(suite="perplexity"', '"other": SuiteSpec(suite="perplexity"', "has no suite 'perplexity'"),
    ],
)
def test_a_broken_profile_is_one_clear_usage_error(outside: Path, old: str, new: str, said: str) -> None:
    source = block("own-profile")
    assert old in source
    (outside / "broken.py").write_text(source.replace(old, new, 1), encoding="utf-8")
    result = run_pytest(outside, ["-m", "stage1", "--gate-profile", "broken.py"])
    assert result.returncode == 4
    assert said in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_a_profile_that_is_not_there(outside: Path) -> None:
    result = run_pytest(outside, ["-m", "stage1", "--gate-profile", "nowhere.py"])
    assert result.returncode == 4
    assert "no profile file nowhere.py" in result.stdout + result.stderr
