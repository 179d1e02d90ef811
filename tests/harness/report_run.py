"""A small run for the report's tests, made by the store, the rules and the plugin's own summary: no model is behind it.

Three stages of a three-language profile: base passes, expand is exact, stage1 learns one language and not the other. Sample texts hold
what a page must survive: markup, quotes, right-to-left text and its controls, NUL, lone surrogates, one long word.
"""

from __future__ import annotations

import dataclasses
import json
import math
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness import profiles
from harness.certificate import Certificate
from harness.evaluation import write_rows
from harness.gates import Gate, gates_digest, gates_of, judge_stage, load_gates
from harness.plugin.collection import properties
from harness.plugin.options import PIPELINE, SELECTED
from harness.plugin.summary import ROW, Summary
from harness.rules import rows_lookup, suite_metrics
from harness.store import Artifact, Store, fingerprint
from harness.suites import Row
from training.recipe import encode

SCRIPT = "</div><script>alert('x')</script><img src=https://example.org/x.png onerror=alert(1)>"
HOSTILE = {
    "text": f"{SCRIPT} \"quoted\" 'single' & &amp; {{{{ 7 * 7 }}}}",
    "right to left": "\u202eevil\u2069 السلام عليكم \u2067unclosed",
    "odd": "nul \x00 bell \x07 escape \x1b[31m lone \ud800 next\x85line",
    "long": "w" * 4_000,
    "สวัสดี": "ตลาดริมแม่น้ำขายมะม่วง ข้าว และปลา",
}
PROFILE = """
from pathlib import Path

from harness.profiles import Profile, StageEntry
from harness.suites import SuiteSpec
from training.recipe import ContinuePretraining, ExpandBlocks, Optimisation, Portion, WorldText, encode

TEXTS = {language: [encode(WorldText(language=language, documents=40, split="held_out"))] for language in ("eng", "ind", "tha")}

def portion(language):
    return Portion(name=language, language=language, tokens=8_000, sources=(WorldText(language=language, documents=9, seed=1),))


recipe = ContinuePretraining(portions=(portion("eng"), portion("ind"), portion("tha")), optimisation=Optimisation(learning_rate=1e-2))
profile = Profile(
    name="seen",
    languages=("eng", "ind", "tha"),
    stages={
        "base": StageEntry(recipe=recipe, adds=("eng",)),
        "expand": StageEntry(recipe=ExpandBlocks(new_blocks=1)),
        "stage1": StageEntry(recipe=recipe, adds=("ind", "tha")),
        "stage2": StageEntry(recipe=recipe),
    },
    suites={
        "perplexity": SuiteSpec(suite="perplexity", languages=("eng", "ind", "tha"), options={"sources": TEXTS}),
        "choice": SuiteSpec(suite="choice", languages=("eng", "ind"), stages=("expand", "stage1", "stage2")),
    },
    gates=Path(__file__).parent / "gates.toml",
    directory=Path(__file__).parent,
)
"""
GATES = """
schema = 1

[[gate]]
name = "speaks"
stage = "base"
suite = "perplexity"
metric = "bits_per_byte"
rule = "at_most"
line = 3.0
languages = "stage.new"
reason = "more than three bits a byte is no model <of> anything"

[[gate]]
name = "same"
stage = "expand"
suite = "perplexity"
metric = "bits_per_byte"
rule = "matches"
against = "base"
margin = 0.0001
languages = ["eng"]
reason = "expansion is the identity"

[[gate]]
name = "learns"
stage = "stage1"
suite = "perplexity"
metric = "bits_per_byte"
rule = "improves_on"
against = "expand"
margin = 0.2
languages = "stage.new"
reason = "the new languages are learned"

[[gate]]
name = "chooses"
stage = "stage1"
suite = "choice"
metric = "margin"
rule = "retains"
against = "expand"
margin = 0.05
languages = ["eng", "ind"]
macro = true
reason = "choices are kept"

[[gate]]
name = "learns"
stage = "stage2"
suite = "perplexity"
metric = "bits_per_byte"
rule = "improves_on"
against = "stage1"
margin = 0.1
languages = ["tha"]
reason = "annealing helps"
"""
BITS = {  # bits a byte of each language, stage by stage
    "base": {"eng": 1.8, "ind": 2.9, "tha": 3.1},
    "expand": {"eng": 1.8, "ind": 2.9, "tha": 3.1},
    "stage1": {"eng": 1.82, "ind": 2.1, "tha": 3.3},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """Where the run lies."""

    store: Store
    record: Path
    profile: Path
    artifacts: Mapping[str, Artifact]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The gates of the run record."""
        return json.loads(self.record.read_text())["gates"]


def make(
    directory: Path,
    bits: Mapping[str, Mapping[str, float]] = BITS,
    selected: tuple[str, ...] = ("stage1",),
    ungated: bool = False,
    sure: bool = False,
) -> Made:
    """Make profile, store, rows, verdicts and the run's record below `directory`; stages that `bits` lacks are `not run`.

    `sure` lets the choice gate pass too; else it is inconclusive.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "seen.py"
    path.write_text(PROFILE)
    (directory / "gates.toml").write_text(GATES)
    profile = profiles.load(str(path))
    store = Store(directory / "store")
    artifacts: dict[str, Artifact] = {}
    rows: dict[str, Path] = {}
    for number, stage in enumerate(bits):
        parents = [artifacts[parent] for parent in profile.parents(stage)]
        artifacts[stage] = _publish(store, profile, stage, parents, number)
        rows[stage] = _evaluate(store, artifacts[stage], bits[stage], number, sure)
    gates = load_gates(profile.gates, profile)
    metrics = {suite: suite_metrics(profile, suite) for suite in profile.suites}
    reports = []
    for stage in profile.ancestry(selected[-1]):
        own = gates_of(gates, stage)
        certificate = _certificate(stage, own, artifacts, rows, metrics, ungated)
        for gate in own:
            command = f"pytest -m {gate.stage} -k {gate.name} --gate-profile={path}"
            reports.append(properties(gate, certificate.verdicts[gate.name], certificate, command))
    return Made(store=store, record=_record(store, profile, path, reports, selected, ungated), profile=path, artifacts=artifacts)


def copied(made: Made, here: Path) -> Made:
    """The same run in a directory of its own, that a test may change."""
    home = made.profile.parent
    shutil.copytree(home, here)
    record = here / made.record.relative_to(home)
    record.write_text(record.read_text().replace(str(home), str(here)))
    return dataclasses.replace(made, store=Store(here / "store"), record=record, profile=here / "seen.py")


def _certificate(
    stage: str, own: tuple[Gate, ...], artifacts: Mapping[str, Artifact], rows: Mapping[str, Path], metrics: Any, ungated: bool
) -> Certificate:
    if stage not in artifacts:
        return Certificate.not_run(stage, own, "blocked by stage1.learns.tha (fail)")
    record = artifacts[stage].record
    return Certificate(
        stage=stage,
        verdicts=judge_stage(own, rows_lookup(rows, {}), metrics),
        fingerprint=record.fingerprint,
        content=record.content,
        rows={name: str(path) for name, path in rows.items()},
        ungated=ungated,
    )


def _record(store: Store, profile: profiles.Profile, path: Path, reports: list[Any], selected: tuple[str, ...], ungated: bool) -> Path:
    """The record as the plugin's summary writes it."""
    judged = [value for report in reports for key, value in report if key == ROW]
    stages = {row["stage"]: {key: row[key] for key in ("fingerprint", "content", "rows")} for row in judged if row["content"]}
    pipeline = SimpleNamespace(
        store=store,
        stages_of_record=lambda _: stages,
        backend_version=lambda: "hf of this test",
        samples="full",
        settings=SimpleNamespace(backend="hf", ungated=ungated, store=store.root, hub=None, profile=profile),
        gates_digest=gates_digest(profile.gates),
        profile=profile,
    )
    config = SimpleNamespace(stash={PIPELINE: pipeline, SELECTED: selected}, option=SimpleNamespace(gate_profile=str(path)))
    summary = Summary(config)  # type: ignore[arg-type]
    for report in reports:
        summary.pytest_runtest_logreport(SimpleNamespace(user_properties=report, failed=False, nodeid=""))  # type: ignore[arg-type]
    return summary.write_record()


def _publish(store: Store, profile: profiles.Profile, stage: str, parents: list[Artifact], number: int) -> Artifact:
    recipe = profile.stages[stage].recipe
    contents = [parent.record.content for parent in parents]
    identity = {"stage": stage, "recipe": encode(recipe), "version": recipe.version, "data": "d" * 64}
    found = fingerprint(**identity, parents=contents)
    workdir = store.workdir(found, stage)
    result = workdir / "result"
    result.mkdir(parents=True)
    header = b'{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    (result / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes([number] * 4))
    (result / "config.json").write_text('{"model_type": "qwen2"}')
    if stage != "expand":
        noise = random.Random(number)
        lines = [
            {
                "step": i,
                "loss": 2 + 4 * math.exp(-i / 90) + noise.gauss(0, 0.12),
                "learning_rate": 1e-2 * (1 + math.cos(i / 600 * math.pi)) / 2,
            }
            for i in range(1, 601)
        ]
        (result / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    packages = {"torch": f"2.{11 + number}.0", "transformers": "5.23.0"}
    build = {"tokens": 24_000 * (number + 1), "seconds": 75.5, "environment": {"packages": packages}, "portions": {"eng": {"epochs": 1.25}}}
    (result / "build.json").write_text(json.dumps(build))
    (workdir / "done.json").write_text('{"ok": true}')
    return store.publish(workdir, profile=profile.name, fingerprint=found, parents=parents, seed=7, **identity)


def _evaluate(store: Store, artifact: Artifact, bits: Mapping[str, float], number: int, sure: bool) -> Path:
    """Rows and summary as the evaluation child writes them. The noise of a sample is the same on every stage."""
    output = store.root / "rows" / f"{artifact.record.content[:12]}-0f1e2d3c-quick"  # as the pipeline names them
    output.mkdir(parents=True)
    texts, items = [], []
    for language, level in bits.items():
        for index in range(40):
            shared = random.Random(f"{language}{index}").gauss(0, 0.15)
            # a change is never the same everywhere; without a change the rows are equal
            own = random.Random(f"{language}{index}{number}").gauss(0, 0.04) if number > 1 else 0.0
            values = {"bits": 500 * (level + shared + own), "bytes": 500.0, "nats": 300 * (level + shared + own), "tokens": 150.0}
            name = f"{language}/{index}"
            texts.append(
                Row(
                    sample=name,
                    cluster=f"document {index}",
                    language=language,
                    stratum=("seen", "unseen")[index % 2],
                    values=values,
                    shown=HOSTILE,
                )
            )
            margin = random.Random(f"{language}{index}{number > 1 and not sure}").gauss(0.4, 1.0)
            marks = {"margin": margin, "correct": float(margin > 0), "margin_per_byte": margin / 9, "correct_per_byte": float(margin > 0)}
            if language != "tha" and number:
                items.append(Row(sample=name, cluster=name, language=language, values=marks, shown=HOSTILE))
    summary = {}
    for suite, rows in (("perplexity", texts), ("choice", items)):
        if rows:
            write_rows(output / f"{suite}.parquet", rows)
            counts = {language: sum(row.language == language for row in rows) for language in bits}
            facts = {
                "languages": counts,
                "clusters": 40,
                "truncated": 3,
                "backend": "hf",
                "dtype": "float32",
                "drafted by": "us; not reviewed by a native speaker",
            }
            summary[suite] = {"rows": len(rows), "seconds": 1.25, "cached": 0, "computed": len(rows), "facts": facts}
    (output / "summary.json").write_text(json.dumps(summary))
    return output
