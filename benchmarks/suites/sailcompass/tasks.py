"""The tasks of SailCompass: data file, configuration, kind, fields and counts, as its repository has them (6093e6c, 2024-12-03)."""

from __future__ import annotations

import dataclasses
from typing import Literal

Kind = Literal["likelihood", "answer", "option", "text"]

EXAM_FILES = {"jav": "javanese", "tha": "thai", "vie": "vietnamese"}
SHORT = {"tha": "th", "ind": "id", "vie": "vi", "jav": "jv"}
FLORES = {"tha": "tha_Thai", "ind": "ind_Latn", "vie": "vie_Latn"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One task in one language. `files` are those of `sail/Sailcompass_data`, `stems` their configurations, one each."""

    name: str
    data: str
    language: str
    likelihood: bool
    files: tuple[str, ...]
    stems: tuple[str, ...]
    gold: str  # the field of the answer
    max_tokens: int = 0
    shots: int = 3
    rows: int = 0  # of all files together; 0 where the original states no count
    counts: tuple[int, ...] = ()  # an exam's files: how many options their questions have

    @property
    def kind(self) -> Kind:
        """How it is judged: by likelihood, or what is generated: an answer (exact, F1), an option's letter, or a text (chrF++, BLEU)."""
        if self.likelihood:
            return "likelihood"
        if self.data.endswith("_generated"):
            return "option"
        return "answer" if self.data in ("xquad", "tydiqa") else "text"


def _tasks() -> tuple[Task, ...]:
    found: list[Task] = []

    def add(data: str, language: str, files: str, stems: str, gold: str, counts: tuple[int, ...] = (), **more: int) -> None:
        found.append(
            Task(
                name=f"{data}_{language}",
                data=data,
                language=language,
                likelihood="max_tokens" not in more,
                files=tuple(files.split()),
                stems=tuple(stems.split()),
                gold=gold,
                counts=counts,
                **more,
            )
        )

    for language, limit in (("tha", 155), ("vie", 95)):
        short = SHORT[language]
        add("xquad", language, f"xquad/xquad_{short}.json", f"xquad/xquad_{short}", "answer", max_tokens=limit, rows=1190)
    add("tydiqa", "ind", "tydiqa_id/validation.jsonl", "tydiqa_id/tydiqa_id", "answer", max_tokens=100)
    for language, limit in (("tha", 350), ("ind", 140), ("vie", 225)):
        short, file = SHORT[language], f"flores200/{FLORES[language]}_devtest.jsonl"
        add("flores_from_eng", language, file, f"flores200/flores_en_{short}", "target", max_tokens=limit, rows=1012)
        add("flores_to_eng", language, file, f"flores200/flores_{short}_en", "source", max_tokens=100, rows=1012)
    add("thaisum", "tha", "thaisum/trunc_thaisum_test_1000.jsonl", "thaisum/thaisum_th", "summary", max_tokens=550, shots=1, rows=1000)
    add("indosum", "ind", "indosum/trunc_test_1000.jsonl", "indosum/indosum_id", "target", max_tokens=240, shots=1, rows=1000)
    add("xlsum", "vie", "xlsum_vi/test_1000.jsonl", "xlsum_vi/xlsum_vi", "summary", max_tokens=180, shots=1, rows=1000)
    for language, counts in (("tha", (2, 4, 5)), ("vie", (2, 3, 4)), ("jav", ())):
        short, file = SHORT[language], f"m3exam/{EXAM_FILES[language]}-questions-test"
        add("m3exam_generated", language, f"{file}.json", f"m3exam/m3exam_{short}", "answer_text", max_tokens=10)
        files = " ".join(f"{file}-{count}.json" for count in counts) or f"{file}.json"
        stems = " ".join(f"m3exam/m3exam_{short}_ppl{count}" for count in counts) or f"m3exam/m3exam_{short}_ppl"
        add("m3exam", language, files, stems, "answer_text", counts)
    for language, code in FLORES.items():
        short, file = SHORT[language], f"belebele/{code}.jsonl"
        add("belebele", language, file, f"belebele/belebele_{short}_ppl", "correct_answer_num", rows=900)
        add("belebele_generated", language, file, f"belebele/belebele_{short}", "correct_answer_num", max_tokens=10, rows=900)
        add("xcopa", language, f"xcopa/{short}_test.jsonl", f"xcopa/xcopa_{short}_ppl", "label", rows=500)
    for language in ("tha", "vie"):
        short = SHORT[language]
        add("xnli", language, f"xnli/{short}_xnli_test.jsonl", f"xnli/xnli_{short}_ppl", "label")
    add("indonli", "ind", "indonli/test.jsonl", "indonli/indonli_id_ppl", "label")
    add("wisesight", "tha", "wisesight_senti/test.jsonl", "wisesight_senti/wisesenti_th_ppl", "category")
    add("indolem", "ind", "indolem_senti/test.jsonl", "indolem_senti/indolem_id", "label")
    add("vsmec", "vie", "vsmec/test.json", "vsmec/vsmec_vi", "label")
    return tuple(found)


TASKS = _tasks()
