"""Words of ours for translation and summaries, in SailCompass's layout: drafted by us, reviewed by no native speaker."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.suites.sailcompass.layout import Wording

# What stands before a sentence, in the language of the prompt: the other language, English.
NAMES = {"ind": ("Bahasa Indonesia", "Bahasa Inggris"), "tha": ("ไทย", "อังกฤษ"), "vie": ("Tiếng Việt", "Tiếng Anh")}
SYSTEM = {
    "ind": ("Tulis kalimat berikut dalam bahasa Indonesia.", "Tulis kalimat berikut dalam bahasa Inggris."),
    "tha": ("เขียนประโยคต่อไปนี้เป็นภาษาไทย", "เขียนประโยคต่อไปนี้เป็นภาษาอังกฤษ"),
    "vie": ("Viết câu sau bằng tiếng Việt.", "Viết câu sau bằng tiếng Anh."),
}
ENGLISH = (
    "The market opens before sunrise.",
    "My grandmother planted this mango tree thirty years ago.",
    "The ferry to the island was late because of heavy rain.",
)
OTHER = {
    "ind": (
        "Pasar buka sebelum matahari terbit.",
        "Nenek saya menanam pohon mangga ini tiga puluh tahun yang lalu.",
        "Kapal feri ke pulau itu terlambat karena hujan lebat.",
    ),
    "tha": ("ตลาดเปิดก่อนพระอาทิตย์ขึ้น", "ยายของฉันปลูกต้นมะม่วงต้นนี้เมื่อสามสิบปีก่อน", "เรือข้ามฟากไปเกาะมาช้าเพราะฝนตกหนัก"),
    "vie": ("Chợ mở cửa trước khi mặt trời mọc.", "Bà tôi trồng cây xoài này cách đây ba mươi năm.", "Chuyến phà ra đảo bị trễ vì mưa to."),
}


def _translation(language: str, to_english: bool) -> Wording:
    other, english = NAMES[language]
    pairs = zip(ENGLISH, OTHER[language], strict=True)
    return Wording(
        system=SYSTEM[language][to_english],
        item=f"{other}: {{target}}" if to_english else f"{english}: {{source}}",
        lead=f"{english if to_english else other}:",
        shots=tuple(({"source": source, "target": target}, source if to_english else target) for source, target in pairs),
    )


TEXTS: Mapping[tuple[str, str], Wording] = {
    **{("flores_from_eng", language): _translation(language, False) for language in NAMES},
    **{("flores_to_eng", language): _translation(language, True) for language in NAMES},
    ("thaisum", "tha"): Wording(
        system="อ่านข่าวแล้วสรุปสั้น ๆ เป็นภาษาไทย ตามตัวอย่าง",
        item="ข่าว: {body}",
        lead="สรุป:",
        shots=(
            (
                {
                    "body": "เมื่อเช้าวันเสาร์ ชาวบ้านกว่าสองร้อยคนช่วยกันซ่อมสะพานไม้ที่ถูกน้ำพัดเสียหายเมื่อเดือนก่อน ผู้ใหญ่บ้านบอกว่าใช้ไม้ที่วัดบริจาค และคาดว่ารถจะผ่านได้"
                    "ในวันจันทร์ ระหว่างนี้นักเรียนยังต้องนั่งเรือข้ามคลองไปโรงเรียน"
                },
                "ชาวบ้านช่วยกันซ่อมสะพานที่น้ำพัดเสียหาย คาดว่ารถจะผ่านได้ในวันจันทร์",
            ),
        ),
    ),
    ("indosum", "ind"): Wording(
        system="Baca berita berikut, lalu tulis ringkasannya dalam bahasa Indonesia seperti pada contoh.",
        item="Berita: {input}",
        lead="Ringkasan:",
        shots=(
            (
                {
                    "input": "Lebih dari dua ratus warga bekerja bakti memperbaiki jembatan kayu yang rusak diterjang banjir bulan lalu. Kepala desa mengatakan kayunya "
                    "sumbangan dari masjid setempat, dan mobil diperkirakan dapat lewat pada hari Senin. Sementara itu anak-anak masih naik perahu ke sekolah."
                },
                "Warga memperbaiki jembatan yang rusak karena banjir. Mobil diperkirakan dapat lewat pada hari Senin.",
            ),
        ),
    ),
    ("xlsum", "vie"): Wording(
        system="Đọc bản tin sau rồi viết tóm tắt bằng tiếng Việt như trong ví dụ.",
        item="Bản tin: {text}",
        lead="Tóm tắt:",
        shots=(
            (
                {
                    "text": "Sáng thứ Bảy, hơn hai trăm người dân cùng nhau sửa cây cầu gỗ bị lũ cuốn hỏng tháng trước. Trưởng thôn cho biết gỗ do nhà chùa góp, và xe có thể "
                    "qua cầu từ thứ Hai. Trong lúc chờ, học sinh vẫn phải đi đò đến trường."
                },
                "Người dân sửa cây cầu bị lũ làm hỏng, xe có thể qua lại từ thứ Hai.",
            ),
        ),
    ),
}  # fmt: skip
