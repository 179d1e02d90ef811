"""Instructions: the commands `messages` and `select`, from start to end, CPU seconds of all processes and peak memory.

SEATRIALS_SPEED_CONVERSATIONS=50000 SEATRIALS_SPEED_CANDIDATES=20000 pytest benchmarks/speed/test_instructions.py -s

Conversations are words of no language at random, a tenth of them near copies. Candidates are random directions of 1,024 numbers in two cells, nearly none
alike: the worst case, as each is compared with all that are taken.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

import numpy as np

from benchmarks.speed.side_by_side import Measured, in_processes

CONVERSATIONS = int(os.environ.get("SEATRIALS_SPEED_CONVERSATIONS", "50000"))
CANDIDATES = int(os.environ.get("SEATRIALS_SPEED_CANDIDATES", "20000"))
DIMENSIONS, WORDS, COPIES = 1_024, 200, 10


def say(what: str, rows: int, measured: Measured) -> None:
    print(
        f"\n{what}: {rows:,} rows, {measured.seconds:.1f} CPU s ({rows / measured.seconds:,.0f} a second), peak {measured.peak_mb:,.0f} MB"
    )


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "training.curation", *map(str, words)]


def test_messages(tmp_path: Path) -> None:
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(20_000)]
    made: list[list[str]] = []
    with (tmp_path / "chat.jsonl").open("w") as file:
        for number in range(CONVERSATIONS):
            if number % COPIES or not made:
                said = rng.choices(words, k=WORDS)
            else:
                said = list(rng.choice(made))
                said[rng.randrange(WORDS)] = rng.choice(words)
            made.append(said)
            turns = [("user", " ".join(said[: WORDS // 4])), ("assistant", " ".join(said[WORDS // 4 :]))]
            messages = [{"role": role, "content": content} for role, content in turns]
            file.write(json.dumps({"id": number, "language": ("ind", "tha")[number % 2], "messages": messages}) + "\n")
    measured = in_processes(
        command("messages", "--input", tmp_path / "chat.jsonl", "--output", tmp_path / "out", "--workers", 1),
        told=tmp_path / "out" / "report.json",
    )
    say("messages", CONVERSATIONS, measured)
    dropped = sum(1 for _ in (tmp_path / "out" / "dropped.jsonl").open())
    assert 0.3 * CONVERSATIONS / COPIES / 2 < dropped < 1.1 * CONVERSATIONS / COPIES  # half of the copies are in the other language


def test_select(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rng = np.random.default_rng(0)
    columns = {
        "id": [f"s{number}" for number in range(CANDIDATES)],
        "language": ["ind"] * CANDIDATES,
        "category": [("chat", "math")[number % 2] for number in range(CANDIDATES)],
        "reward": rng.random(CANDIDATES),
        "perplexity": 1 + 9 * rng.random(CANDIDATES),
        "embedding": list(rng.standard_normal((CANDIDATES, DIMENSIONS), dtype=np.float32)),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "scored.parquet")
    (tmp_path / "quotas.csv").write_text(f"language,category,quota\nind,chat,{CANDIDATES}\nind,math,{CANDIDATES}\n")
    inputs = ("--input", tmp_path / "scored.parquet", "--quotas", tmp_path / "quotas.csv")
    measured = in_processes(command("select", *inputs, "--output", tmp_path / "out"), told=tmp_path / "out" / "report.json")
    say("select", CANDIDATES, measured)
    kept = pyarrow.parquet.read_metadata(tmp_path / "out" / "selected.parquet").num_rows
    rejected = sum(1 for _ in (tmp_path / "out" / "rejected.jsonl").open())
    assert kept + rejected == CANDIDATES
    assert kept > 0.99 * CANDIDATES  # random directions: the worst case that the text above promises
