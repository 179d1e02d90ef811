"""A crawl of one's own through `pytest -m curation`: the README's profile, outside the checkout, a WARC and a JSONL of some dozen documents."""

from __future__ import annotations

import io
import json
import random
import re
import subprocess
from pathlib import Path

import pytest

from tests.plugin.conftest import block, run_pytest
from training.recipe import WorldText
from training.world import text

pytest.importorskip("warcio", reason="a WARC is written by warcio (the extra `curation`)")

PROFILE = block("own-crawl")

RECIPE = """
layers = ["url", "language", "rules", "near", "pii"]
[language]
languages = ["eng", "tha"]
[near]
threshold = 0.7
"""

GATES = """
schema = 1

[[gate]]
name = "present"
stage = "curation"
suite = "curation"
metric = "present"
rule = "at_least"
line = 0.8
languages = "all"
reason = "no language is lost on the way"

[[gate]]
name = "least_near"
stage = "curation"
suite = "curation"
metric = "share_near"
rule = "at_least"
line = 0.05
languages = "all"
macro = true
reason = "a layer that drops nothing is switched off, or blind"

[[gate]]
name = "most_near"
stage = "curation"
suite = "curation"
metric = "share_near"
rule = "at_most"
line = 0.6
languages = "all"
macro = true
reason = "a layer that drops nearly all is mistaken"

[[gate]]
name = "unique"
stage = "curation"
suite = "curation"
metric = "duplicates_left"
rule = "at_most"
line = 0.1
languages = "all"
macro = true
reason = "no document with another .7 alike"

[[gate]]
name = "pure"
stage = "curation"
suite = "curation"
metric = "purity"
rule = "at_least"
line = 0.9
languages = "all"
macro = true
reason = "characters in the language that the corpus files them under"

[[gate]]
name = "private"
stage = "curation"
suite = "curation"
metric = "private_left"
rule = "at_most"
line = 0.1
languages = "all"
macro = true
reason = "no address is left"
"""


def texts(language: str) -> list[str]:
    """40 stories, 15 of them again with a piece more, 20 with an address."""
    made = [one.text for one in text.documents(WorldText(language=language, documents=40, seed=9))]
    longer = [f"{one} {made[-1][:20]}" for one in made[:15]]
    return [*made[:20], *longer, *(f"{one}\nMail: budi{number}@contoh.id" for number, one in enumerate(made[20:]))]


def write_warc(path: Path, bodies: list[str]) -> None:
    """The bodies as pages of a WARC file, one host each."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for number, body in enumerate(bodies):
            paragraphs = "".join(f"<p>{line}</p>" for line in body.split("\n"))
            page = f"<html><head><title>{number}</title></head><body><article>{paragraphs}</article></body></html>"
            head = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
            url = f"https://host{number}.example/page"
            writer.write_record(writer.create_warc_record(url, "response", payload=io.BytesIO(page.encode()), http_headers=head))


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a crawl (Thai pages in a WARC, English documents in JSONL) and what gates it."""
    directory = tmp_path_factory.mktemp("crawl-outside")
    (directory / "crawl").mkdir()
    write_warc(directory / "crawl/pages.warc.gz", texts("tha"))
    rows = [{"text": one, "language": "en", "url": f"https://e{n}.example/"} for n, one in enumerate(texts("eng"))]
    (directory / "crawl/mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, content in (("my_profile.py", PROFILE), ("recipe.toml", RECIPE), ("gates.toml", GATES)):
        (directory / name).write_text(content, encoding="utf-8")
    return directory


def gated(directory: Path, recipe: str = RECIPE, profile: str = "my_profile.py") -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """The run of a recipe, and the verdict of each gate."""
    (directory / "recipe.toml").write_text(recipe, encoding="utf-8")
    result = run_pytest(directory, ["-m", "curation", f"--gate-profile={profile}"])
    return result, dict(re.findall(r"curation\.(\w+\.\w+) .* (pass|fail|inconclusive|not run)\b", result.stdout))


def test_a_crawl_of_ones_own_is_gated(outside: Path) -> None:
    result, verdicts = gated(outside)
    assert result.returncode == 0, result.stdout + result.stderr
    assert verdicts == dict.fromkeys(
        ("present.eng", "present.tha", "least_near.macro", "most_near.macro", "unique.macro", "pure.macro", "private.macro"), "pass"
    )


def test_without_truth_is_said_where_the_profile_does_not_say_it(outside: Path) -> None:
    (outside / "with_truth.py").write_text(PROFILE.replace('options={"truth": False}, ', ""), encoding="utf-8")
    (outside / "gates.toml").write_text(GATES.replace('"duplicates_left"', '"recall"'), encoding="utf-8")
    result, _ = gated(outside, profile="with_truth.py")
    (outside / "gates.toml").write_text(GATES, encoding="utf-8")
    assert result.returncode not in (0, 1), result.stdout
    assert "judge it with truth = False" in result.stdout


ASKED = (
    PROFILE.replace(
        'options={"truth": False}, stages=("curation",))}',
        'options={"truth": False, "asked": 0.5}, stages=("curation",)), "perplexity": QUIZ}',
    )
    .replace("import CrawlFiles,", "import CrawlFiles, TextFiles, encode,")
    .replace(
        "profile = Profile(",
        """QUIZ = SuiteSpec(
    suite="perplexity",
    languages=("eng",),
    options={"sources": {"eng": [encode(TextFiles(path="held_out.jsonl", language="eng"))]}},
)
profile = Profile(""",
        1,
    )
    .replace("gates.toml", "gates_asked.toml")
)
GATE = """
schema = 1

[[gate]]
name = "uncontaminated"
stage = "curation"
suite = "curation"
metric = "evaluation_left"
rule = "at_most"
line = 0.1
languages = "all"
macro = true
reason = "documents that hold more than half of a text that a suite asks"
"""


def test_a_crawl_that_holds_what_the_suites_ask_is_red_unless_it_is_decontaminated(outside: Path) -> None:
    """Half of the English pages carry a held-out text; the count of what is left is not the layer's."""
    rng, words = random.Random(3), " ".join(texts("eng")).split()
    held_out = [" ".join(rng.choices(words, k=40)) for _ in range(30)]
    (outside / "held_out.jsonl").write_text("".join(json.dumps({"text": one}) + "\n" for one in held_out), encoding="utf-8")
    pages = [f"{one}\n{piece}" for one, piece in zip(texts("eng"), held_out, strict=False)]
    (outside / "crawl/asked.jsonl").write_text("".join(json.dumps({"text": one, "language": "en"}) + "\n" for one in pages))
    (outside / "asked.py").write_text(ASKED, encoding="utf-8")
    (outside / "gates_asked.toml").write_text(GATE, encoding="utf-8")
    layers = 'layers = ["language", "decontaminate"]\n[language]\nlanguages = ["eng", "tha"]\n'
    try:
        result, verdicts = gated(outside, layers, "asked.py")
        assert (result.returncode, verdicts) == (0, {"uncontaminated.macro": "pass"}), result.stdout + result.stderr
        result, verdicts = gated(outside, layers.replace(', "decontaminate"', ""), "asked.py")
        assert (result.returncode, verdicts) == (1, {"uncontaminated.macro": "fail"}), result.stdout + result.stderr
        assert "of perplexity" in result.stdout  # under the failure stands which text it is
    finally:
        (outside / "crawl/asked.jsonl").unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "red"),
    [
        ('layers = ["url", "language", "rules"]', {"least_near.macro", "unique.macro", "private.macro"}),
        (RECIPE.replace('["eng", "tha"]', '["eng"]'), {"present.tha"}),
        (RECIPE.replace("0.7", "0.05"), {"most_near.macro"}),
    ],
    ids=["no near, no pii", "a language not wanted", "too greedy"],
)
def test_a_chain_at_fault_turns_its_gates_red(outside: Path, recipe: str, red: set[str]) -> None:
    result, verdicts = gated(outside, recipe)
    assert result.returncode == 1, result.stdout + result.stderr
    assert red <= {name for name, verdict in verdicts.items() if verdict == "fail"}, verdicts


def test_a_page_more_is_another_corpus(outside: Path) -> None:
    """The content of the files is in the fingerprint: the plan says that the stage is built again."""

    def plan() -> str:
        (outside / "recipe.toml").write_text(RECIPE, encoding="utf-8")
        return run_pytest(outside, ["-m", "curation", "--gate-profile=my_profile.py", "--collect-only"]).stdout

    assert re.search(r"curation +reuse", plan())
    with (outside / "crawl/mine.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"text": "One page more came in that night.", "language": "en"}) + "\n")
    assert re.search(r"curation +build +.*data", plan()), plan()
