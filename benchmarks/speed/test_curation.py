"""Curation: near-deduplication beside datatrove and text-dedup, extraction, every layer, the chain.

python -m benchmarks.speed.curation_corpus --documents 200000 --directory .seatrials/speed      # and 50000; else the first test does it
SEATRIALS_SPEED_DOCUMENTS=200000 SEATRIALS_SPEED_DATATROVE=PYTHON SEATRIALS_SPEED_TEXT_DEDUP=PYTHON \
    pytest benchmarks/speed/test_curation.py -s

Each test prints a row as it ends, and the README's tables stand together at the end. Work is a command, measured with all its processes (`processes.py`): CPU seconds and peak memory. The corpus
(`curation_corpus.py`) is generated under SEATRIALS_SPEED_DIRECTORY, once a size; a quarter of it gives the growth with size, as the exponent
of CPU seconds in documents. The peers' environments are named by their interpreters (peers/*.py say what to install). SEATRIALS_SPEED_WORKERS: processes.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.speed import curation_inputs, near_truth
from benchmarks.speed.curation_corpus import Corpus, generate
from benchmarks.speed.side_by_side import ROOT, Measured, in_processes, side_by_side

DOCUMENTS = int(os.environ.get("SEATRIALS_SPEED_DOCUMENTS", "20000"))
ROUNDS = int(os.environ.get("SEATRIALS_SPEED_ROUNDS", "1"))
WORKERS = int(os.environ.get("SEATRIALS_SPEED_WORKERS", os.cpu_count() or 1))
CORE_HOUR = float(os.environ.get("SEATRIALS_SPEED_CORE_HOUR", "0.04"))  # dollars; what clouds ask for a core of a large machine, about
DIRECTORY = Path(os.environ.get("SEATRIALS_SPEED_DIRECTORY", ".seatrials/speed"))
PAIRS, DROPPED = 10_000, 1_000  # sampled for recall and precision
CHAIN = ("ids", "url", "lines", "language", "rules", "near", "exact", "pii")  # the default one
OTHERS = ("perplexity", "quality", "decontaminate")  # layers that want a text, examples, evaluation text (`curation_inputs.py`)

# name -> (variable with the interpreter, driver, its arguments, settings of ours at equal parameters, who reads its clusters)
PEERS = {
    "datatrove 0.10.1, 25 bands of 10": (
        "SEATRIALS_SPEED_DATATROVE",
        "datatrove_minhash.py",
        ["--bands", "25", "--rows", "10"],
        ["near.bands=25", "near.rows=10"],
        near_truth.of_datatrove,
    ),
    "datatrove 0.10.1, 16 bands of 8": (
        "SEATRIALS_SPEED_DATATROVE",
        "datatrove_minhash.py",
        ["--bands", "16", "--rows", "8"],
        ["near.permutations=128", "near.bands=16", "near.rows=8"],
        near_truth.of_datatrove,
    ),
    "text-dedup 0.4.0, 25 bands of 10": (
        "SEATRIALS_SPEED_TEXT_DEDUP",
        "text_dedup_minhash.py",
        ["--permutations", "256", "--threshold", "0.7"],
        ["near.bands=25", "near.rows=10"],
        near_truth.of_text_dedup,
    ),
}

# The tables: name -> the heads of their columns.
TABLES = {
    "near-deduplication": "case | documents | GB | ours, CPU s | theirs, CPU s | ratio | peak of ours, MB | of theirs | dropped by ours | "
    "by theirs | precision at .7 of ours | of theirs",
    "recall": "case | scripts | similarity | pairs | ours | theirs",
    "layers": "work | documents | CPU s | documents/s/core | GB/core-hour | exponent | peak at a quarter, MB | at all | kept",
    "steps": "dropped by",
    "a terabyte": "at | core-hours | $",
}
said: dict[str, list[str]] = {name: [] for name in TABLES}


def say(table: str, *cells: object) -> None:
    """A row of a table, now and at the end."""
    line = f"| {' | '.join(map(str, cells))} |"
    said[table].append(line)
    print(f"\n{table} {line}", flush=True)


@pytest.fixture(scope="session", autouse=True)
def tables() -> Iterator[None]:
    """Print what all tests have said."""
    yield
    for name, heads in TABLES.items():
        if said[name]:
            print(f"\n\n{name}\n\n| {heads} |\n{'|---' * (heads.count('|') + 1)}|\n" + "\n".join(said[name]))


def needed(*layers: str) -> None:
    """Skip where a layer cannot be had."""
    try:
        from training.curation.settings import layer_class

        for layer in layers:
            if layer != "ids":
                layer_class(layer)
    except ImportError as error:
        pytest.skip(f"{', '.join(layers)}: {error}")


@pytest.fixture
def output() -> Iterator[Path]:
    """A directory for what a piece of work writes, gone afterwards."""
    made = DIRECTORY.absolute() / "output"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    yield made
    shutil.rmtree(made)


def corpus(documents: int) -> Corpus:
    return generate(DIRECTORY.absolute(), documents, workers=WORKERS)


def ours(do: str, made: Corpus, output: Path, layers: str = "", settings: Sequence[str] = ()) -> list[str]:
    """The command of a piece of our work."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.speed.curation_work",
        do,
        "--input",
        str(made.directory / "shards"),
        "--output",
        str(output),
    ]
    command += ["--workers", str(WORKERS), *(["--layers", layers] if layers else [])]
    return command + [part for one in settings for part in ("--set", one)]


def anew(command: Sequence[str]) -> Measured:
    """Measure a command that finds its output directory empty."""
    shutil.rmtree(command[list(command).index("--output") + 1], ignore_errors=True)
    return in_processes(command)


def gigabytes(made: Corpus) -> float:
    return made.bytes / 1e9


@pytest.mark.parametrize("case", PEERS)
def test_near_deduplication(case: str, output: Path) -> None:
    """Row: case, documents, GB, CPU s of ours and theirs, ratio, peak MB of both, dropped by both, precision at .7 of both; then recall by similarity."""
    needed("near")
    variable, driver, arguments, settings, labels_of = PEERS[case]
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"name the interpreter of an environment with {case.partition(',')[0]} in {variable}")
    made = corpus(DOCUMENTS)
    mine, other = output / "ours", output / "theirs"
    theirs = [
        python,
        str(ROOT / "benchmarks" / "speed" / "peers" / driver),
        "--input",
        str(made.directory / "shards"),
        "--output",
        str(other),
    ]
    found = side_by_side(
        {"ours": ours("layer", made, mine, "near", settings), "theirs": [*theirs, "--workers", str(WORKERS), *arguments]}, ROUNDS, anew
    )
    labels = {"ours": near_truth.of_ours(made, mine), "theirs": labels_of(made, other)}
    right = {name: near_truth.precision(made, each, 0.7, DROPPED) for name, each in labels.items()}
    a, b = found["ours"], found["theirs"]
    costs = (f"{a.seconds:.1f}", f"{b.seconds:.1f}", f"{b.seconds / a.seconds:.1f}", f"{a.peak_mb:.0f}", f"{b.peak_mb:.0f}")
    found_right = (a.result["dropped"], b.result["dropped"], f"{right['ours']:.3f}", f"{right['theirs']:.3f}")
    say("near-deduplication", case, made.documents, f"{gigabytes(made):.2f}", *costs, *found_right)
    pairs, similar = near_truth.planted(made, PAIRS)
    latin = near_truth.spaced(made, pairs)
    for where, some in (("five scripts", slice(None)), ("Latin", latin)):
        curves = {name: near_truth.recall(each, pairs[some], similar[some]) for name, each in labels.items()}
        for name, (count, share) in curves["ours"].items():
            say("recall", case, where, name, count, f"{share:.3f}", f"{curves['theirs'][name][1]:.3f}")
    assert right["ours"] >= 0.99
    for name, (count, share) in near_truth.recall(labels["ours"], pairs, similar).items():
        if float(name.split()[0]) >= 0.9 and count:
            assert share > 0.99, f"pairs of similarity {name}"


def row(name: str, small: Corpus, large: Corpus, few: Measured, many: Measured, kept: str) -> None:
    """A row: name, documents, documents/s/core, GB/core-hour, exponent of growth, peak MB at a quarter and at all, what is kept."""
    exponent = math.log(many.seconds / few.seconds) / math.log(large.documents / small.documents)
    rates = (f"{large.documents / many.seconds:,.0f}", f"{gigabytes(large) * 3600 / many.seconds:.2f}", f"{exponent:.2f}")
    say("layers", name, large.documents, f"{many.seconds:.1f}", *rates, f"{few.peak_mb:.0f}", f"{many.peak_mb:.0f}", kept)


def at_both_sizes(do: str, layers: str, output: Path) -> tuple[Corpus, Corpus, Measured, Measured]:
    """A quarter and all, measured in one run."""
    small, large = corpus(DOCUMENTS // 4), corpus(DOCUMENTS)
    if do == "extract":
        small, large = curation_inputs.pages(small), curation_inputs.pages(large)
    works = {
        name: ours(do, made, output / name, layers, curation_inputs.settings(layers, made))
        for name, made in (("few", small), ("many", large))
    }
    found = side_by_side(works, ROUNDS, anew)
    return small, large, found["few"], found["many"]


@pytest.mark.parametrize("what", ["read", "hash", "documents", "pass"])
def test_floor(what: str, output: Path) -> None:
    """What no layer can do without: reading the text column, hashing each text, making documents of them, passing them on to new shards."""
    needed()
    small, large, few, many = at_both_sizes("floor", what, output)
    row(f"floor: {what}", small, large, few, many, "-")


def test_extract(output: Path) -> None:
    """A tenth of the corpus, from HTML pages in WARC files: unpacked, decoded, their main text taken."""
    needed()
    small, large, few, many = at_both_sizes("extract", "", output)
    row("extract", small, large, few, many, f"{many.result['kept'] / many.result['documents']:.3f}")
    assert many.result["documents"] == large.documents
    assert many.result["kept"] > 0.99 * large.documents


@pytest.mark.parametrize("layer", [*CHAIN, *OTHERS])
def test_layer(layer: str, output: Path) -> None:
    """Each layer alone, on the whole corpus."""
    needed(layer)
    small, large, few, many = at_both_sizes("layer", layer, output)
    row(f"layer: {layer}", small, large, few, many, f"{many.result['kept'] / many.result['documents']:.3f}")
    assert many.result["documents"] == large.documents


def test_default_chain(output: Path) -> None:
    """The whole chain, and what a terabyte costs at its rate: as if the rate held, and as if the growth went on."""
    needed(*CHAIN)
    small, large, few, many = at_both_sizes("chain", "", output)
    row("the default chain", small, large, few, many, f"{many.result['kept'] / many.result['documents']:.3f}")
    say("steps", ", ".join(f"{name} {count}" for name, count in many.result["steps"].items()))
    exponent = max(1.0, math.log(many.seconds / few.seconds) / math.log(large.documents / small.documents))
    times = 1e12 / large.bytes
    for how, grown in (("this rate", times), (f"this growth, {exponent:.2f}", times**exponent)):
        hours = many.seconds * grown / 3600
        say("a terabyte", how, f"{hours:,.0f}", f"{hours * CORE_HOUR:,.0f} at ${CORE_HOUR} a core-hour")
    assert many.result["documents"] == large.documents
