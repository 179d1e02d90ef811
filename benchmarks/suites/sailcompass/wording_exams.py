"""Words of ours for exams and for options that are named by a letter, in SailCompass's layout: drafted by us, reviewed by no native speaker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.suites.sailcompass.layout import Wording

# The fifth option of generated Belebele: that the answer is not known.
UNKNOWN = {"ind": "Saya tidak tahu.", "tha": "ไม่ทราบ", "vie": "Tôi không rõ."}
MARKS = {"ind": "ABCDE", "jav": "ABCDE", "tha": "12345", "vie": "ABCDE"}  # before the options of an exam

# A question, its options, and which is right.
Question = tuple[str, tuple[str, ...], int]
QUESTIONS: Mapping[str, tuple[Question, ...]] = {
    "jav": (
        ("Anak sapi diarani ....", ("gudel", "pedhet", "cempe", "belo"), 1),
        ("Srengenge mlethek saka sisih ....", ("kulon", "lor", "wetan", "kidul"), 2),
        ("Bapake ibu diarani ....", ("simbah kakung", "paklik", "bulik", "kangmas"), 0),
    ),
    "tha": (
        ("สัตว์ในข้อใดออกลูกเป็นไข่", ("แมว", "วัว", "เป็ด", "ช้าง"), 2),
        ("หนึ่งสัปดาห์มีกี่วัน", ("เจ็ดวัน", "ห้าวัน", "สิบวัน", "สามสิบวัน"), 0),
        ("น้ำเดือดกลายเป็นอะไร", ("น้ำแข็ง", "ไอน้ำ", "หิมะ", "น้ำค้าง"), 1),
    ),
    "vie": (
        ("Con vật nào sau đây đẻ trứng?", ("Mèo", "Bò", "Vịt", "Voi"), 2),
        ("Một tuần có bao nhiêu ngày?", ("Bảy ngày", "Năm ngày", "Mười ngày", "Ba mươi ngày"), 0),
        ("Nước sôi biến thành gì?", ("Nước đá", "Hơi nước", "Tuyết", "Sương"), 1),
    ),
}
EXAM = {
    "jav": ("Wangsulana pitakon ing ngisor iki.", "Wangsulana pitakon iki nganggo siji aksara pilihan.", "Pitakon", "Wangsulan:"),
    "tha": ("ตอบคำถามต่อไปนี้", "ตอบคำถามต่อไปนี้ด้วยหมายเลขของตัวเลือกเพียงข้อเดียว", "คำถาม", "คำตอบ:"),
    "vie": ("Trả lời câu hỏi sau.", "Trả lời câu hỏi sau bằng một chữ cái của lựa chọn.", "Câu hỏi", "Trả lời:"),
}


def listed(options: Sequence[str], marks: str) -> str:
    """Options, a line each, with their marks."""
    return "\n".join(f"{mark}. {option}" for mark, option in zip(marks, options, strict=False))


def _exam(language: str) -> Wording:
    system, _, question, lead = EXAM[language]
    return Wording(
        system=system,
        item=f"{question}: {{question_text}}",
        lead=lead,
        shots=tuple(({"question_text": text}, options[right]) for text, options, right in QUESTIONS[language]),
        labels={str(number): f"{{options_{number - 1}}}" for number in range(1, 6)},
    )


def _exam_generated(language: str) -> Wording:
    _, system, question, lead = EXAM[language]
    marks = MARKS[language]
    return Wording(
        system=system,
        item=f"{question}: {{question_text}}\n{{full_options}}",
        lead=lead,
        shots=tuple(
            ({"question_text": text, "full_options": listed(options, marks)}, marks[right]) for text, options, right in QUESTIONS[language]
        ),
    )


# A passage, a question on it, options, and which is right.
PASSAGES: Mapping[str, tuple[tuple[str, Question], ...]] = {
    "ind": (
        ("Toko roti Pak Amat tutup setiap hari Jumat.", ("Kapan toko itu tutup?", ("Senin", "Rabu", "Jumat", "Minggu"), 2)),
        ("Sungai itu berhulu di gunung dan bermuara di laut utara.", ("Di mana sungai itu bermuara?", ("Di danau", "Di laut utara", "Di rawa", "Di kota"), 1)),
        ("Dewi memelihara kambing, bukan ayam.", ("Apa yang dipelihara Dewi?", ("Kambing", "Ayam", "Sapi", "Bebek"), 0)),
    ),
    "tha": (
        ("ร้านขนมของลุงแดงปิดทุกวันศุกร์", ("ร้านปิดวันไหน", ("วันจันทร์", "วันพุธ", "วันศุกร์", "วันอาทิตย์"), 2)),
        ("แม่น้ำสายนี้เริ่มจากภูเขาและไหลลงทะเลทางเหนือ", ("แม่น้ำไหลลงที่ใด", ("ทะเลสาบ", "ทะเลทางเหนือ", "หนองน้ำ", "ในเมือง"), 1)),
        ("ดาวเลี้ยงแพะ ไม่ได้เลี้ยงไก่", ("ดาวเลี้ยงอะไร", ("แพะ", "ไก่", "วัว", "เป็ด"), 0)),
    ),
    "vie": (
        ("Tiệm bánh của ông Tư nghỉ vào thứ Sáu hằng tuần.", ("Tiệm nghỉ ngày nào?", ("Thứ Hai", "Thứ Tư", "Thứ Sáu", "Chủ nhật"), 2)),
        ("Con sông bắt nguồn từ núi và đổ ra biển phía bắc.", ("Con sông đổ ra đâu?", ("Ra hồ", "Ra biển phía bắc", "Ra đầm", "Vào phố"), 1)),
        ("Mai nuôi dê chứ không nuôi gà.", ("Mai nuôi con gì?", ("Dê", "Gà", "Bò", "Vịt"), 0)),
    ),
}  # fmt: skip
READING = {
    "ind": ("Baca teks berikut, lalu jawab pertanyaannya dengan satu huruf pilihan.", "Teks", "Pertanyaan", "Jawaban:"),
    "tha": ("อ่านข้อความต่อไปนี้แล้วตอบคำถามด้วยตัวอักษรของตัวเลือกเพียงข้อเดียว", "ข้อความ", "คำถาม", "คำตอบ:"),
    "vie": ("Đọc đoạn văn sau rồi trả lời câu hỏi bằng một chữ cái của lựa chọn.", "Đoạn văn", "Câu hỏi", "Trả lời:"),
}


def _belebele_generated(language: str) -> Wording:
    system, passage, question, lead = READING[language]
    return Wording(
        system=system,
        item=f"{passage}: {{flores_passage}}\n{question}: {{question}}\n{{options}}",
        lead=lead,
        shots=tuple(
            (
                {"flores_passage": text, "question": asked, "options": listed([*options, UNKNOWN[language]], "ABCDE")},
                "ABCD"[right],
            )
            for text, (asked, options, right) in PASSAGES[language]
        ),
    )


EXAMS: Mapping[tuple[str, str], Wording] = {
    **{("m3exam", language): _exam(language) for language in EXAM},
    **{("m3exam_generated", language): _exam_generated(language) for language in EXAM},
    **{("belebele_generated", language): _belebele_generated(language) for language in READING},
}
