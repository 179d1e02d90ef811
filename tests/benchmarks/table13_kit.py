"""A small mirror of what the paper's list takes from elsewhere than SailCompass, rows by us in the Hub's fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.benchmarks import sailcompass_rows
from tests.benchmarks.parallel_kit import put
from tests.benchmarks.sailcompass_rows import word

META = "meta-llama/Meta-Llama-3.1-8B-Instruct-evals/Llama-3.1-8B-Instruct-evals__multilingual_mmlu_th__details/latest.jsonl"
SUBJECTS = ("anatomy", "virology")


def indoculture(count: int = 6, as_text: bool = True) -> list[dict[str, Any]]:
    options = [[f"{letter}. {word('ind', n + at)} {at}" for at, letter in enumerate("ABC")] for n in range(count)]
    return [
        {
            "province": f"Jambi {n}",
            "context": f"Di pasar ada {n}.",
            "options": repr(options[n]) if as_text else options[n],
            "answer": "ABC"[n % 3],
        }
        for n in range(count)
    ]


def mmlu(count: int = 8) -> list[dict[str, Any]]:
    def row(n: int) -> dict[str, Any]:
        choices = {letter: f"{word('tha', n + at)} {at}" for at, letter in enumerate("ABCD")}
        return {
            "subtask_name": f"mmlu_th_chat.{SUBJECTS[n % 2]}",
            "input_question": f"{word('tha', n)} {n}",
            "input_choice_list": dict(reversed(choices.items())),
            "input_correct_responses": ["ABCD"[n % 4]],
        }

    return [{**row(0), "subtask_name": "mmlu_de_chat.anatomy"}, *(row(n) for n in range(count))]


def m3exam(count: int = 6) -> list[dict[str, Any]]:
    return [sailcompass_rows.exam("tha", (2, 4, 5)[n % 3], n, background="เรื่องยาว" if n < 2 else "", subject="thai") for n in range(count)]


def vmlu(count: int = 6, subject: str = "01") -> list[dict[str, Any]]:
    return [
        {
            "id": f"{subject}-{n:04}",
            "question": f"{word('vie', n)} {n}",
            "choices": [f"{letter}. {word('vie', n + at)} {at}" for at, letter in enumerate("ABCDE"[: 4 + n % 2])],
            "answer": "ABCD"[n % 4],
        }
        for n in range(count)
    ]


def tatabahasa(count: int = 6) -> list[dict[str, Any]]:
    return [
        {
            "question": f"Ayat {word('ind', n)} {n}",
            "instruction": f"Pilih {n}" if n % 2 else None,
            "choices": {letter: {"text": f"{word('ind', n + at)} {at}", "answer": at == n % 4} for at, letter in enumerate("ABCD")},
            "website": "x",
        }
        for n in range(count)
    ]


def fill(hub: Path, row: str) -> dict[str, Any]:
    """Write what a multiple-choice row of the list reads; returns the option that says how short it is."""
    match row:
        case "indoculture_ind":
            put(hub, "indolem/IndoCulture/default/test.jsonl", indoculture())
        case "mmlu_tha":
            put(hub, META, mmlu(14))
        case "m3exam_tha":
            put(hub, "chiayewken/m3exam/thai/test.jsonl", m3exam())
            put(hub, "chiayewken/m3exam/thai/dev.jsonl", [{**one, "question_text": f"ตัวอย่าง {n}"} for n, one in enumerate(m3exam(7))])
        case "vmlu_vie":
            put(hub, "tridm/VMLU/default/validation.jsonl", vmlu())
            shown = [{**one, "question": f"Mẫu {one['question']}"} for subject in ("01", "02") for one in vmlu(4, subject)]
            put(hub, "tridm/VMLU/default/train.jsonl", shown)
            return {"counts": {"vie": 6}}
        case "tatabahasa_zsm":
            put(hub, "SEACrowd/tatabahasa/tatabahasa_source/train.jsonl", tatabahasa())
            return {"counts": {"zsm": 6}}
    return {}
