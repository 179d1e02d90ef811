"""How a model is asked to translate: a few sentences with their translations, then a sentence alone; drafted by us, labels in English.

English: SHOT
Tagalog: ITS TRANSLATION
                              (an empty line, and so on)
English: SENTENCE
Tagalog:
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence

from training.languages import by_code

Shots = Sequence[tuple[str, str]]  # source, target

# UTF-8 bytes of the Universal Declaration's articles over those of the English ones; a language not named: 1.2.
BYTES = {"eng": 1.0, "cmn": 0.8, "vie": 1.6, "tha": 2.6, "lao": 2.9, "khm": 2.9, "mya": 4.3}
OTHERS = 1.2
ROOM = 1.5  # a translation may be this much longer than expected
LEAST = 32
TOKENS = {"eng": 0.4, "vie": 0.8}  # a byte at the worst (an English tokenizer takes .23 and .68 of these two, .42 of Ilocano)
LATIN, SCRIPTS = 0.6, 1.0  # of the others in Latin letters, and in other scripts: a token a byte


def plain(source: str, target: str, shots: Shots, sentence: str) -> str:
    """The prompt for a model that goes on with text; no space after the last colon."""
    ours, theirs = by_code(source).name, by_code(target).name
    told = "".join(f"{ours}: {text}\n{theirs}: {translation}\n\n" for text, translation in shots)
    return f"{told}{ours}: {sentence}\n{theirs}:"


def talk(source: str, target: str, shots: Shots, sentence: str) -> str:
    """The prompt for a chat model, JSON {"messages": [...]}: each shot is a turn."""
    task = f"Translate from {by_code(source).name} into {by_code(target).name}. Answer with the translation alone.\n\n"
    messages = []
    for text, translation in shots:
        messages += [{"role": "user", "content": task + text}, {"role": "assistant", "content": translation}]
    messages.append({"role": "user", "content": task + sentence})
    return json.dumps({"messages": messages}, ensure_ascii=False)


def most_tokens(source: str, target: str, sentence: str, cap: int) -> int:
    """How many tokens a translation may take: by the bytes of the sentence, whatever the tokenizer."""
    expected = len(sentence.encode("utf-8")) * BYTES.get(target, OTHERS) / BYTES.get(source, OTHERS)
    return min(cap, max(LEAST, math.ceil(expected * ROOM * tokens_a_byte(target))))


def tokens_a_byte(language: str) -> float:
    """The most tokens that a byte of the language is taken to need."""
    return TOKENS.get(language, LATIN if by_code(language).script == "Latin" else SCRIPTS)


def drawn(ids: Iterable[str], count: int, seed: int) -> list[str]:
    """`count` of the ids, by hash: the same for every language and direction, whatever the order."""
    return sorted(ids, key=lambda one: hashlib.sha256(f"shot/{seed}/{one}".encode()).hexdigest())[:count]
