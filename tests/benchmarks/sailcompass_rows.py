"""A small mirror of all of SailCompass's data, rows by us in the fields of its own files (`sail/Sailcompass_data`), and of the exam on the Hub."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites.sailcompass import BY_DATA
from tests.benchmarks import sailcompass_kit as kit
from tests.benchmarks.parallel_kit import put

HOME = "sail/Sailcompass_data"
WORDS = {
    "ind": ("padi", "ikan besar", "perahu di sungai", "pasar pagi yang ramai", "hujan", "jalan licin ke desa"),
    "jav": ("pari", "iwak gedhe", "prau ing kali", "pasar esuk sing rame", "udan", "dalan lunyu"),
    "tha": ("ข้าว", "ปลาตัวใหญ่", "เรือในแม่น้ำ", "ตลาดเช้า", "ฝน", "ถนนลื่น"),
    "vie": ("lúa", "cá lớn", "thuyền trên sông", "chợ sáng đông người", "mưa", "đường trơn"),
}
EMOTIONS = ("Sợ hãi", "Ghê tởm", "Buồn bã", "Thích thú", "Khác", "Tức giận", "Bất ngờ")


def word(language: str, number: int) -> str:
    words = WORDS[language]
    return words[number % len(words)]


def exam(language: str, options: int, number: int, **changes: Any) -> dict[str, Any]:
    """A question; marks and answers as each language's file has them."""
    marks = {"tha": ("12345", "๑๒๓๔๕")[number % 2], "vie": "A\u0412CDE" if number % 2 else "ABCDE", "jav": "abcde"}[language]
    return {
        "question_text": f"{word(language, number)} {number}",
        "options": [f"{marks[at]}. {word(language, number + at)} {at}" for at in range(options)],
        "answer_text": marks[number % options],
        **changes,
    }


def rows(data: str, language: str, count: int) -> list[dict[str, Any]]:
    """Rows of a data set that is no exam."""

    def text(number: int) -> str:
        return f"{word(language, number)} {number}"

    made: Mapping[str, Any] = {
        "xquad": lambda i: {"context": text(i // 2), "question": text(i + 1), "answer": word(language, i)},
        "tydiqa": lambda i: {"context": text(i), "question": text(i + 1), "answer": [word(language, i), word(language, i + 2)]},
        "xcopa": lambda i: kit.xcopa(count)[i],
        "xnli": lambda i: {"sentence1": text(i), "sentence2": text(i + 2), "label": ("neutral", "entailment", "contradiction")[i % 3]},
        "indonli": lambda i: {"premise": text(i), "hypothesis": text(i + 2), "label": "enc"[i % 3]},
        "wisesight": lambda i: {"texts": text(i), "category": str(i % 3)},
        "indolem": lambda i: {"text": text(i), "label": ("positive", "negative")[i % 2]},
        "vsmec": lambda i: {"text": text(i), "label": EMOTIONS[i % 7]},
        "thaisum": lambda i: {"body": text(i), "summary": word(language, i)},
        "indosum": lambda i: {"input": text(i), "target": word(language, i)},
        "xlsum": lambda i: {"text": text(i), "summary": word(language, i)},
        "flores": lambda i: {"source": f"Sentence number {i}.", "target": text(i)},
        "belebele": lambda i: {
            "flores_passage": text(i // 2),
            "question": text(i + 1),
            **{f"mc_answer{n}": f"{word(language, i + n)} {n}" for n in range(1, 5)},
            "correct_answer_num": str(1 + i % 4),
        },
    }
    return [made[data](number) for number in range(count)]


def fill(hub: Path, data: str, language: str, count: int = 6) -> dict[str, int]:
    """Write the files of a task, `count` rows in all, and say so as its option `counts`."""
    task = BY_DATA[data][language]
    if data.startswith("m3exam"):
        options = task.counts or (4,)
        share = [count // len(task.files)] * len(task.files)
        for file, size, several in zip(task.files, share, options if len(task.files) > 1 else (4,), strict=True):
            write_json(hub / HOME / file, [exam(language, several, number) for number in range(size)])
        return {language: sum(share)}
    family = data.partition("_")[0]
    made = rows("flores" if family == "flores" else family, language, count)
    if task.files[0].endswith(".json"):
        write_json(hub / HOME / task.files[0], made)
    else:
        put(hub, f"{HOME}/{task.files[0]}", made)
    return {language: count}


def write_json(path: Path, made: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(made), ensure_ascii=False), encoding="utf-8")
