"""A small mirror of SailCompass's data in the Hub's fields and in `sail/Sailcompass_data`'s, and a checkout in its layout; texts by us."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.suites import Sample, SuiteContext, SuiteSpec, load
from tests.benchmarks.parallel_kit import put

EVENTS = ("Air naik", "Ikan habis", "Perahu pulang", "Padi menguning", "Anak tertidur", "Lampu padam", "Pasar ramai", "Jalan licin")


def xcopa(count: int = 500, **changes: Any) -> list[dict[str, Any]]:
    return [
        {
            "premise": f"{EVENTS[i % 8]} {i}.",
            "choice1": f"{EVENTS[(i + 1) % 8]} sekali.",
            "choice2": f"{EVENTS[(i + 3) % 8]} di desa seberang sungai.",
            "question": ("cause", "effect")[i % 2],
            "label": i // 2 % 2,
            "idx": i,
            **changes,
        }
        for i in range(count)
    ]


def belebele(count: int = 900) -> list[dict[str, Any]]:
    choices = {f"mc_answer{n}": f"{EVENTS[n]}" for n in range(1, 5)}
    return [
        {
            "link": f"page {i // 2}",
            "flores_passage": f"{EVENTS[i // 2 % 8]} {i // 2}.",
            "question": f"Apa {i}?",
            **choices,
            "correct_answer_num": str(1 + i % 4),
        }
        for i in range(count)
    ]


def put_xcopa(hub: Path, rows: Sequence[dict[str, Any]], language: str = "id") -> None:
    put(hub, f"cambridgeltl/xcopa/{language}/test.jsonl", rows)


def samples(
    hub: Path | None, task: str, *languages: str, originals: Sequence[Path] = (), size: Any = "full", **options: Any
) -> list[Sample]:
    suite = load(SuiteSpec(suite="sailcompass", languages=languages, options={"task": task, **options}), task)
    context = SuiteContext(hub=str(hub) if hub else None, profile_dir=".", samples=size, originals=tuple(map(str, originals)))
    return list(suite.samples(context))


def _round(shots: str, last: str) -> str:
    return (
        f"dict(begin=[dict(role='SYSTEM', prompt=system)], round=[{shots}dict(role='HUMAN', prompt=item), dict(role='BOT', prompt={last})])"
    )


def configuration(data: str, item: str, template: str) -> str:
    return f"""
system = '''Asked by a test.\\n'''
item = '''{item}'''
x_infer_cfg = dict(prompt_template=dict(template={template}), inferencer=dict(type=None))
x_datasets = [dict(abbr='x', path='./data/{data}', infer_cfg=x_infer_cfg)]
"""


def checkout(home: Path) -> Path:
    """A checkout with XCOPA and the Thai exam, prompts by us."""
    for folder in ("xcopa", "m3exam"):
        (home / "configs/datasets" / folder).mkdir(parents=True)
    likely = "{ans: " + _round("", "'So: {{choice{ans}}}'.format(ans=int(ans)+1)") + " for ans in ['0', '1']}"
    text = configuration("xcopa/id_test.jsonl", "Say: {premise} {full_question}", likely)
    (home / "configs/datasets/xcopa/xcopa_id_ppl_aa11.py").write_text(text, encoding="utf-8")
    for count in (2, 4, 5):
        last = "'Pick: {options_' + {1: '0', 2: '1', 3: '2', 4: '3', 5: '4'}[ans] + '}'"
        template = "{str(ans): " + _round("", last) + f" for ans in [{', '.join(map(str, range(1, count + 1)))}]}}"
        text = configuration(f"m3exam/thai-questions-test-{count}.json", "Exam: {question_text}", template)
        (home / f"configs/datasets/m3exam/m3exam_th_ppl{count}_aa11.py").write_text(text, encoding="utf-8")
    (home / "datasets").mkdir()
    (home / "datasets/xcopa_sea.py").write_text(
        "import os\nos.remove('never')\ndef f():\n"
        "    a = {'cause': {'id': 'x', 'th': 'x', 'vi': 'x'}, 'effect': {'id': 'y', 'th': 'y', 'vi': 'y'}}\n"
        "    a = {'cause': {'id': 'Because?', 'th': '', 'vi': ''}, 'effect': {'id': 'Then?', 'th': '', 'vi': ''}}\n",
        encoding="utf-8",
    )
    return home
