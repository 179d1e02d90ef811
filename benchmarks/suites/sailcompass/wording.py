"""Instructions, shots and labels of `sailcompass-like`, in SailCompass's layout: drafted by us, reviewed by no native speaker.

A prompt is an instruction, worked examples and the item, in the language of the item. `{field}` is filled from the item's row; labels
stand in the order in which ties are broken. Exams and options are in `wording_exams.py`, translation and summaries in `wording_texts.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.suites.sailcompass.layout import Wording
from benchmarks.suites.sailcompass.wording_exams import EXAMS
from benchmarks.suites.sailcompass.wording_texts import TEXTS

# The question that XCOPA's `cause` and `effect` stand for, as the row's field `full_question`.
ASKED = {
    "ind": {"cause": "Mengapa hal itu terjadi?", "effect": "Apa akibatnya?"},
    "tha": {"cause": "เกิดขึ้นเพราะอะไร", "effect": "แล้วเกิดอะไรขึ้น"},
    "vie": {"cause": "Vì sao điều đó xảy ra?", "effect": "Kết quả là gì?"},
}


def _xcopa(language: str, system: str, premise: str, question: str, lead: str, *shots: tuple[str, str, str]) -> Wording:
    return Wording(
        system=system,
        item=f"{premise}: {{premise}}\n{question}: {{full_question}}",
        lead=lead,
        shots=tuple(({"premise": text, "full_question": ASKED[language][asked]}, answer) for text, asked, answer in shots),
        labels={"0": "{choice1}", "1": "{choice2}"},
    )


def _passage(system: str, passage: str, question: str, lead: str, field: str, *shots: tuple[str, str, str], choices: int = 0) -> Wording:
    return Wording(
        system=system,
        item=f"{passage}: {{{field}}}\n{question}: {{question}}",
        lead=lead,
        shots=tuple(({field: text, "question": asked}, answer) for text, asked, answer in shots),
        labels={chr(64 + number): f"{{mc_answer{number}}}" for number in range(1, choices + 1)},
    )


_IND = (
    (
        "Warung Bu Sari buka pukul enam pagi. Pembelinya kebanyakan nelayan yang baru pulang dari laut.",
        "Siapa pembeli warung Bu Sari?",
        "Nelayan",
    ),
    (
        "Jembatan lama di desa itu rusak karena banjir. Warga membangun yang baru dari kayu ulin.",
        "Dari apa jembatan baru dibangun?",
        "Kayu ulin",
    ),
    ("Rini belajar menari sejak kecil. Tahun ini ia mengajar dua puluh anak di balai desa.", "Di mana Rini mengajar?", "Di balai desa"),
)
_JAV = (
    (
        "Warunge Bu Sari bukak jam enem esuk. Sing tuku akeh-akehe nelayan sing lagi mulih saka segara.",
        "Sapa sing tuku ing warunge Bu Sari?",
        "Nelayan",
    ),
    (
        "Kreteg lawas ing desa iku rusak amarga banjir. Warga mbangun sing anyar saka kayu jati.",
        "Kreteg anyar digawe saka apa?",
        "Kayu jati",
    ),
    ("Rini sinau njoged wiwit cilik. Taun iki dheweke mulang rong puluh bocah ing bale desa.", "Ing ngendi Rini mulang?", "Ing bale desa"),
)
_THA = (
    ("ร้านของป้าสายเปิดตอนหกโมงเช้า ลูกค้าส่วนใหญ่เป็นชาวประมงที่เพิ่งกลับจากทะเล", "ลูกค้าส่วนใหญ่ของร้านป้าสายคือใคร", "ชาวประมง"),
    ("สะพานเก่าของหมู่บ้านพังเพราะน้ำท่วม ชาวบ้านจึงสร้างสะพานใหม่ด้วยไม้ไผ่", "สะพานใหม่สร้างด้วยอะไร", "ไม้ไผ่"),
    ("มะลิเรียนรำมาตั้งแต่เด็ก ปีนี้เธอสอนเด็กยี่สิบคนที่ศาลากลางหมู่บ้าน", "มะลิสอนที่ไหน", "ศาลากลางหมู่บ้าน"),
)
_VIE = (
    (
        "Quán của cô Sáu mở cửa lúc sáu giờ sáng. Khách phần lớn là ngư dân vừa đi biển về.",
        "Khách của quán cô Sáu phần lớn là ai?",
        "Ngư dân",
    ),
    ("Cây cầu cũ của làng hỏng vì lũ. Người dân dựng cầu mới bằng gỗ lim.", "Cầu mới được làm bằng gì?", "Gỗ lim"),
    ("Lan học múa từ nhỏ. Năm nay cô dạy hai mươi em ở nhà văn hóa.", "Lan dạy ở đâu?", "Ở nhà văn hóa"),
)

LIKE: Mapping[tuple[str, str], Wording] = {
    ("xcopa", "ind"): _xcopa(
        "ind", "Baca kalimat berikut, lalu jawab pertanyaannya.", "Kalimat", "Pertanyaan", "Jawaban:",
        ("Lantai dapur basah.", "cause", "Air dari ember tumpah."),
        ("Budi lupa membawa payung.", "effect", "Bajunya basah kehujanan."),
        ("Toko roti itu tutup lebih awal.", "cause", "Semua rotinya sudah habis terjual."),
    ),
    ("xcopa", "tha"): _xcopa(
        "tha", "อ่านประโยคต่อไปนี้แล้วตอบคำถาม", "ประโยค", "คำถาม", "คำตอบ:",
        ("พื้นครัวเปียก", "cause", "น้ำในถังหก"),
        ("สมชายลืมเอาร่มมา", "effect", "เสื้อของเขาเปียกฝน"),
        ("ร้านขนมปังปิดเร็วกว่าทุกวัน", "cause", "ขนมปังขายหมดแล้ว"),
    ),
    ("xcopa", "vie"): _xcopa(
        "vie", "Đọc câu sau rồi trả lời câu hỏi.", "Câu", "Câu hỏi", "Trả lời:",
        ("Sàn bếp bị ướt.", "cause", "Xô nước bị đổ."),
        ("Nam quên mang ô.", "effect", "Áo của cậu bị ướt mưa."),
        ("Tiệm bánh đóng cửa sớm.", "cause", "Bánh đã bán hết."),
    ),
    ("belebele", "ind"): _passage("Baca teks berikut, lalu jawab pertanyaannya.", "Teks", "Pertanyaan", "Jawaban:", "flores_passage", *_IND, choices=4),
    ("belebele", "jav"): _passage("Wacanen teks iki, banjur wangsulana pitakone.", "Teks", "Pitakon", "Wangsulan:", "flores_passage", *_JAV, choices=4),
    ("belebele", "tha"): _passage("อ่านข้อความต่อไปนี้แล้วตอบคำถาม", "ข้อความ", "คำถาม", "คำตอบ:", "flores_passage", *_THA, choices=4),
    ("belebele", "vie"): _passage("Đọc đoạn văn sau rồi trả lời câu hỏi.", "Đoạn văn", "Câu hỏi", "Trả lời:", "flores_passage", *_VIE, choices=4),
    ("xquad", "tha"): _passage("อ่านข้อความต่อไปนี้แล้วตอบคำถามด้วยคำจากข้อความ", "ข้อความ", "คำถาม", "คำตอบ:", "context", *_THA),
    ("xquad", "vie"): _passage("Đọc đoạn văn sau rồi trả lời câu hỏi bằng lời trong đoạn văn.", "Đoạn văn", "Câu hỏi", "Trả lời:", "context", *_VIE),
    ("tydiqa", "ind"): _passage("Baca teks berikut, lalu jawab pertanyaannya dengan kata-kata dari teks.", "Teks", "Pertanyaan", "Jawaban:", "context", *_IND),
    ("xnli", "tha"): Wording(
        system="อ่านข้อความสองข้อความ แล้วบอกว่าข้อความที่สองเป็นจริงตามข้อความแรกหรือไม่ ตอบว่า จริง ไม่จริง หรือ ไม่แน่",
        item="ข้อความแรก: {sentence1}\nข้อความที่สอง: {sentence2}",
        lead="คำตอบ:",
        shots=(
            ({"sentence1": "เรือออกจากภูเก็ตเมื่อวันจันทร์", "sentence2": "วันพุธเรือยังจอดอยู่ที่ภูเก็ต"}, "ไม่จริง"),
            ({"sentence1": "มะลิซื้อไก่สามตัวที่ตลาด", "sentence2": "มะลิไปตลาด"}, "จริง"),
            ({"sentence1": "ลุงปลูกข้าวโพดหลังบ้าน", "sentence2": "ลุงเอาข้าวโพดไปขายในเมือง"}, "ไม่แน่"),
        ),
        labels={"neutral": "ไม่แน่", "entailment": "จริง", "contradiction": "ไม่จริง"},
    ),
    ("xnli", "vie"): Wording(
        system="Đọc hai câu rồi cho biết câu thứ hai có đúng theo câu thứ nhất không. Trả lời đúng, sai hoặc chưa rõ.",
        item="Câu thứ nhất: {sentence1}\nCâu thứ hai: {sentence2}",
        lead="Trả lời:",
        shots=(
            ({"sentence1": "Con tàu rời Hải Phòng hôm thứ Hai.", "sentence2": "Thứ Tư con tàu vẫn ở Hải Phòng."}, "sai"),
            ({"sentence1": "Lan mua ba con gà ở chợ.", "sentence2": "Lan đã đi chợ."}, "đúng"),
            ({"sentence1": "Bác trồng ngô sau nhà.", "sentence2": "Bác bán ngô trên phố."}, "chưa rõ"),
        ),
        labels={"neutral": "chưa rõ", "entailment": "đúng", "contradiction": "sai"},
    ),
    ("indolem", "ind"): Wording(
        system="Baca ulasan berikut, lalu tentukan apakah penulisnya puas atau kecewa.",
        item="Ulasan: {text}",
        lead="Penulis:",
        shots=(
            ({"text": "Kamarnya bersih dan pelayannya ramah, lain kali saya menginap di sini lagi."}, "puas"),
            ({"text": "Air panas mati dan sarapan datang terlambat satu jam."}, "kecewa"),
            ({"text": "Pemandangan dari balkon indah sekali, anak-anak tidak mau pulang."}, "puas"),
        ),
        labels={"positive": "puas", "negative": "kecewa"},
    ),
    ("vsmec", "vie"): Wording(
        system="Đọc câu sau rồi chọn cảm xúc của người viết: Sợ hãi, Ghê tởm, Buồn bã, Thích thú, Khác, Tức giận hoặc Bất ngờ.",
        item="Câu: {text}",
        lead="Cảm xúc:",
        shots=(
            ({"text": "mai được nghỉ rồi , cả nhà đi biển thôi"}, "Thích thú"),
            ({"text": "con mèo nhà mình mất hôm qua , nhớ nó quá"}, "Buồn bã"),
            ({"text": "chuyến xe cuối chạy lúc mấy giờ vậy mọi người"}, "Khác"),
        ),
        labels={one: one for one in ("Sợ hãi", "Ghê tởm", "Buồn bã", "Thích thú", "Khác", "Tức giận", "Bất ngờ")},
    ),
    ("indonli", "ind"): Wording(
        system="Baca dua kalimat, lalu tentukan apakah kalimat kedua benar menurut kalimat pertama. Jawab dengan ya, tidak, atau mungkin.",
        item="Kalimat pertama: {premise}\nKalimat kedua: {hypothesis}",
        lead="Jawaban:",
        shots=(
            ({"premise": "Kapal itu berangkat dari Ambon hari Senin.", "hypothesis": "Kapal itu masih di Ambon hari Rabu."}, "tidak"),
            ({"premise": "Tuti membeli tiga ekor ayam di pasar.", "hypothesis": "Tuti pergi ke pasar."}, "ya"),
            ({"premise": "Paman menanam jagung di belakang rumah.", "hypothesis": "Paman menjual jagung itu ke kota."}, "mungkin"),
        ),
        labels={"n": "mungkin", "e": "ya", "c": "tidak"},
    ),
    ("wisesight", "tha"): Wording(
        system="อ่านข้อความต่อไปนี้แล้วบอกความรู้สึกของผู้เขียน ตอบว่า ดี เฉย ๆ หรือ แย่",
        item="ข้อความ: {texts}",
        lead="ความรู้สึก:",
        shots=(
            ({"texts": "ร้านนี้เปิดกี่โมง มีที่จอดรถไหม"}, "เฉย ๆ"),
            ({"texts": "ก๋วยเตี๋ยวอร่อยมาก พรุ่งนี้จะมากินอีก"}, "ดี"),
            ({"texts": "รอชั่วโมงครึ่ง ของที่ได้ก็แตก ไม่ซื้ออีกแล้ว"}, "แย่"),
        ),
        labels={"0": "ดี", "1": "เฉย ๆ", "2": "แย่"},
    ),
    **EXAMS,
    **TEXTS,
}  # fmt: skip
