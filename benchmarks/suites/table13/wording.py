"""The words around a question, in the language of the question: drafted by us, reviewed by no native speaker."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words:
    """`context` is a line with {} for the context; an empty instruction is none."""

    question: str
    answer: str
    context: str = "{}"
    instruction: str = ""


WORDS: Mapping[tuple[str, str], Words] = {
    ("indoculture", "ind"): Words(question="Kalimat", answer="Lanjutan", context="Daerah: {}"),
    ("mmlu", "tha"): Words(question="คำถาม", answer="คำตอบ"),
    ("m3exam", "tha"): Words(question="คำถาม", answer="คำตอบ"),
    ("vmlu", "vie"): Words(question="Câu hỏi", answer="Trả lời", instruction="Chọn câu trả lời đúng cho mỗi câu hỏi."),
    ("tatabahasa", "zsm"): Words(question="Soalan", answer="Jawapan", context="Arahan: {}"),
}
