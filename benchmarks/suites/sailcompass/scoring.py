"""What each kind of SailCompass's tasks is measured by: the metrics, and the values of one item's row."""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.suites.parallel.counting import Counting
from benchmarks.suites.parallel.scores import BLEU_COLUMNS, CHRF_COLUMNS
from benchmarks.suites.sailcompass import answers, options
from benchmarks.suites.sailcompass.tasks import Kind
from harness.suites import Metric, Sample, SuiteError

SHOWN = 240
CHANCE = {
    "xcopa": 0.5, "belebele": 0.25, "indonli": 1 / 3, "wisesight": 1 / 3, "xnli": 1 / 3, "indolem": 0.5, "vsmec": 1 / 7,
}  # fmt: skip
# What is cut away before an answer, each with the space that follows it; the order decides where a text holds several.
PREFIXES = tuple(
    f"{lead} "
    for lead in (
        "คำตอบ:", "trả lời:", "jawaban:", "wangsulan:", "ไทย:", "bahasa indonesia:", "tiếng việt:", "bahasa inggris:", "อังกฤษ:", "tiếng anh:",
        "สรุป:", "ringkasan:",
    )
)  # fmt: skip
Shown = dict[str, str]


def metrics(kind: Kind, data: str, title: str, modes: Sequence[str] = ("generate",)) -> tuple[Metric, ...]:
    """The metrics of a task, their names beginning with `title`; `modes` are those of an answer in words."""

    def share(name: str, column: str, chance: float | None, binary: bool = True) -> Metric:
        return Metric(name=f"{title}_{name}", numerator=column, direction="higher", chance=chance, ceiling=1.0, binary=binary)

    def corpus(name: str, columns: Sequence[str]) -> Metric:
        return Metric(
            name=f"{title}_{name}",
            reducer=f"benchmarks.suites.parallel.scores:{name}",
            columns=tuple(columns),
            direction="higher",
            ceiling=100.0,
        )

    match kind:
        case "likelihood":
            return share("accuracy", "correct", CHANCE.get(data)), Metric(name=f"{title}_margin", numerator="margin", direction="higher")
        case "option":
            return share("accuracy", "correct", 0.0), share("named", "named", None)
        case "answer":
            said = (share("exact", "exact", 0.0), share("f1", "f1", 0.0, binary=False)) if "generate" in modes else ()
            bits = Metric(name=f"{title}_answer_bits_per_byte", numerator="bits", denominator="bytes", direction="lower")
            return (*said, bits) if "likelihood" in modes else said
    return corpus("chrf", CHRF_COLUMNS), corpus("bleu", BLEU_COLUMNS)


def likelihood(sample: Sample, found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], Shown]:
    """The label of the least loss a token, over the whole text."""
    gold = sample.data["gold"]
    scores = answers.whole_scores([one["logprob"] for one in found], [one["tokens"] for one in found])
    predicted = answers.predict(scores)
    others = min(score for index, score in enumerate(scores) if index != gold)
    shown = {"item": _last(sample.requests[gold].context), "predicted": _end(sample.requests[predicted].context)}
    return {"correct": float(predicted == gold), "margin": others - scores[gold]}, shown


def answer(
    sample: Sample, found: Mapping[str, Mapping[str, Any]], words: Callable[[], Callable[[str], Sequence[str]]]
) -> tuple[dict[str, float], Shown]:
    """By mode of asking: exact match and F1 of what was generated, the best of the golds; bits of the first gold over its bytes."""
    gold = sample.data["gold"]
    values: dict[str, float] = {}
    text = ""
    if "generate" in found:
        text, count = found["generate"]["text"], words()
        values["exact"] = float(any(answers.exact(text, one, PREFIXES) for one in gold))
        values["f1"] = max(answers.f1(text, one, PREFIXES, count) for one in gold)
    if "likelihood" in found:
        values |= {"bits": -found["likelihood"]["logprob"] / math.log(2), "bytes": float(len(f" {gold[0]}".encode()))}
    return values, _shown(sample, text)


def option(sample: Sample, text: str, data: str, parse: options.Parse) -> tuple[dict[str, float], Shown]:
    """Whether the option that the text names is the gold; `named` is whether it names any."""
    said = options.named(text, data, sample.language, parse)
    values = {"correct": float(said == sample.data["gold"][0]), "named": float(bool(said))}
    return values, _shown(sample, text) | {"option": said}


def text(sample: Sample, said: str) -> tuple[dict[str, float], Shown]:
    """sacreBLEU's counts (13a, chrF++) of the normalised prediction and the gold, both in lower case; the gold keeps its punctuation."""
    gold = sample.data["gold"][0]
    return _counting().of(answers.predicted(said.lower(), PREFIXES), gold.lower()), _shown(sample, said)


@functools.cache
def _counting() -> Counting:
    return Counting(None)


def _shown(sample: Sample, text: str) -> Shown:
    return {"item": _last(sample.requests[0].context), "gold": sample.data["gold"][0][:SHOWN], "answer": text[:SHOWN]}


def _last(prompt: str) -> str:
    """The item itself, after the shots."""
    return prompt.rpartition("\n\n")[2][-SHOWN:]


def _end(prompt: str) -> str:
    return prompt.rpartition("\n")[2][-SHOWN:]


def words(language: str, originals: bool) -> Callable[[str], Sequence[str]]:
    """What F1 counts: words between blanks; in Thai, which has none, pythainlp's words (as the original) or, in ours, characters."""
    if language != "tha":
        return str.split
    if not originals:
        return lambda text: [character for character in text if not character.isspace()]
    if importlib.util.find_spec("pythainlp") is None:
        raise SuiteError("SailCompass counts F1 of Thai over pythainlp's words; pip install pythainlp")
    from pythainlp import word_tokenize

    return lambda text: word_tokenize(text, join_broken_num=True, keep_whitespace=False)
