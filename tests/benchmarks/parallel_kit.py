"""A small mirror of the four parallel data sets in the Hub's fields, with sentences of the embedded world; answers for every sample."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.suites.parallel import Parallel
from harness.rows import Rows
from harness.suites import Sample, SuiteContext, SuiteSpec, load
from training.languages import by_code
from training.recipe import WorldText
from training.world import text as world

LANGUAGES = ("eng", "ind", "tha", "ceb")


@functools.cache
def stems(language: str) -> tuple[str, ...]:
    """Beginnings of the world's stories, in one line each."""
    documents = world.documents(WorldText(language=language, documents=40, split="held_out", seed=4))  # type: ignore[arg-type]
    return tuple(" ".join(document.text.split())[:90].strip() for document in documents)


def sentence(language: str, number: int) -> str:
    """Sentence `number` in a language; different for each number."""
    return f"{stems(language)[number % 40]} {number}"


def put(hub: Path, name: str, rows: Iterable[dict[str, Any]]) -> None:
    """Write a file of the mirror and list it."""
    path, lines = hub / name, [json.dumps(row, ensure_ascii=False) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    manifest = hub / "MANIFEST.json"
    listed = json.loads(manifest.read_text()) if manifest.exists() else {}
    listed[name] = {"rows": len(lines), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    manifest.write_text(json.dumps(listed))


def flores(hub: Path, layout: str = "all", change: Callable[[dict[str, Any]], Any] = lambda row: row) -> Path:
    """FLORES-200 in one of the layouts; `change` sees each row of devtest."""
    for split, count, first in (("dev", 997, 0), ("devtest", 1012, 997)):
        edit = change if split == "devtest" else lambda row: row
        if layout == "all":
            rows = [
                {"id": i + 1, **{f"sentence_{by_code(each).flores}": sentence(each, first + i) for each in LANGUAGES}} for i in range(count)
            ]
            put(hub, f"facebook/flores/all/{split}.jsonl", [found for row in rows if (found := edit(row))])
            continue
        dataset, field = {"one": ("facebook/flores", "sentence"), "plus": ("openlanguagedata/flores_plus", "text")}[layout]
        for each in LANGUAGES:
            rows = [{"id": i + 1, field: sentence(each, first + i)} for i in range(count)]
            put(hub, f"{dataset}/{by_code(each).flores}/{split}.jsonl", [found for row in rows if (found := edit(row))])
    return hub


def pud(hub: Path) -> Path:
    """PUD in English and Thai."""
    for each in ("eng", "tha"):
        put(hub, f"universal_dependencies/pud/{each}/test.jsonl", ({"id": i, "text": sentence(each, i)} for i in range(1000)))
    return hub


def nusax(hub: Path) -> Path:
    """NusaX-MT in English and Indonesian, without its test part."""
    for split, count, first in (("train", 500, 0), ("valid", 100, 500)):
        put(
            hub,
            f"indonlp/NusaX-MT/parallel/{split}.jsonl",
            ({each: sentence(each, first + i) for each in ("eng", "ind")} for i in range(count)),
        )
    return hub


def udhr(hub: Path, heading: Callable[[str, int], int] = lambda language, number: number) -> Path:
    """The Declaration: Cebuano counts from -1 and heads no preamble; Thai divides article 25 otherwise; two paragraphs an odd article."""
    for each in LANGUAGES:
        shift, rows = (-1, []) if each == "ceb" else (0, [{"article": 0, "kind": "heading", "text": "Preamble"}])
        rows += [{"article": shift, "kind": "text", "text": sentence(each, i)} for i in range(3)]
        for number in range(1, 31):
            rows.append({"article": number + shift, "kind": "heading", "text": f"Article {heading(each, number)}"})
            count = 1 + number % 2 + (each == "tha" and number == 25)
            rows += [{"article": number + shift, "kind": "text", "text": sentence(each, 10 * number + i)} for i in range(count)]
        put(hub, f"un/udhr/{each}/train.jsonl", rows)
    return hub


def suite(name: str, *languages: str, **options: Any) -> Parallel:
    """As a profile would name it."""
    return load(SuiteSpec(suite=name, languages=languages, options=options), name)  # type: ignore[return-value]


def context(hub: Path, samples: Any = "full") -> SuiteContext:
    """A context with this mirror."""
    return SuiteContext(hub=str(hub), profile_dir=".", samples=samples)


def answered(made: Parallel, samples: Iterable[Sample], say: Callable[[Sample], str]) -> Rows:
    """The rows of a model that translates by `say` and has a log-probability of -1 nat a byte."""
    rows = []
    for sample in samples:
        answers = [
            {"text": say(sample)} if request.kind == "generate" else {"logprob": -float(len(request.continuation.encode()))}
            for request in sample.requests
        ]
        rows.append(made.row(sample, answers))
    return Rows.of(rows)
