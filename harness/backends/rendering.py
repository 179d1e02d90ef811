"""From a suite's requests to token ids, by the checkpoint's own tokenizer: the only place where text becomes tokens.

The document prefix. A text is scored after one fixed token, the separator that stands before every document in training:
`<|endoftext|>` where the vocabulary has it, else the tokenizer's end-of-sequence token, else its beginning-of-sequence token.
The prefix is part of a score (SmolLM2: +.045 bits per byte for English with another one), so it is recorded and never varied.

The border. The choices of an item share the tokens of their context. Where a tokenizer merges across the border between context and
continuation (scripts without spaces), every continuation of that context is encoded on its own instead, for the whole item alike.

Requests of lm-eval tasks (`settings["encoding"] == "lm_eval"`) are rendered as its `hf` model does: no prefix of ours, special tokens
as the tokenizer adds them, trailing spaces of the context moved to the continuation.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.suites import Request, Sample


class BackendError(Exception):
    """A checkpoint or request that a backend cannot serve; the message names it and the mend."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """A request in token ids. `context` is never empty for likelihood; rolling: `context` is the prefix, `continuation` the text."""

    kind: str
    context: tuple[int, ...]
    continuation: tuple[int, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    truncated: int = (
        0  # tokens that the model's window had no room for: of the context's left, the continuation's end, the generation limit
    )
    border: bool = False  # context and continuation were encoded apart
    messages: str = ""  # of a whole conversation, as JSON: for a server that has the chat template; `context` says the same in tokens


def model_window(checkpoint: Path | str) -> int:
    """The context length of a checkpoint in tokens, from its config.json. Raises BackendError."""
    path = Path(checkpoint) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackendError(f"{path} cannot be read ({error}): give a directory in the Hugging Face format") from error
    window = config.get("max_position_embeddings") or config.get("n_positions")
    if not isinstance(window, int) or window < 2:
        raise BackendError(f"{path} states no context length (max_position_embeddings)")
    return window


class Renderer:
    """Renders requests for one checkpoint. `window` is the number of input tokens the model may see at once."""

    def __init__(self, tokenizer: Any, window: int) -> None:
        """Take a transformers tokenizer and the model's window (`model_window`)."""
        from training.pretraining.corpus import tokenise

        self.tokenizer = tokenizer
        self.window = window
        self.prefix = self._prefix()
        # The choices of an item ask for their context's tokens again and again.
        self._encoded = functools.lru_cache(256)(lambda text: next(tokenise(tokenizer, [text])).tolist())

    def _prefix(self) -> int:
        from training.pretraining.corpus import end_of_document
        from training.pretraining.sources import SourceError

        try:
            return end_of_document(self.tokenizer)
        except SourceError as error:
            raise BackendError(f"a document has no prefix to be scored after: {error}") from error

    @property
    def facts(self) -> dict[str, Any]:
        """What of the rendering bears on a score."""
        token = self.tokenizer.convert_ids_to_tokens(self.prefix)
        return {"prefix": token, "prefix_id": self.prefix, "window": self.window}

    def sample(self, sample: Sample) -> list[Rendered]:
        """Render the requests of a sample, in order. Raises BackendError naming the sample."""
        try:
            borders: dict[str, bool] = {}
            for request in sample.requests:
                if request.kind == "loglikelihood" and self._plain(request):
                    borders[request.context] = borders.get(request.context, False) or not self._joins(request)
            found = [self.request(request, borders.get(request.context, False)) for request in sample.requests]
            return _share([one for one in found if one.kind == "whole"], found)
        except (BackendError, UnicodeError, TypeError) as error:
            raise BackendError(f"sample {sample.sample}: {error}") from error

    @staticmethod
    def _plain(request: Request) -> bool:
        return not request.settings.get("encoding") and not request.settings.get("chat")

    def _joins(self, request: Request) -> bool:
        context = self.encode(request.context)
        return self.encode(request.context + request.continuation)[: len(context)] == context

    def encode(self, text: str) -> list[int]:
        """The token ids of a text as in training: a special token that it spells out is characters. UnicodeEncodeError for a surrogate."""
        text.encode("utf-8")
        return list(self._encoded(text))

    def parse(self, text: str) -> list[int]:
        """The token ids of a text whose special tokens are meant: a rendered conversation."""
        text.encode("utf-8")
        return self.tokenizer.encode(text, add_special_tokens=False)

    def request(self, request: Request, border: bool = False) -> Rendered:
        """Render one request; `border` encodes context and continuation apart."""
        if request.kind == "rolling" and request.settings.get("first") == "unscored":
            return self._whole(request)
        if request.kind == "rolling":
            return self._rolling(request)
        if request.kind == "loglikelihood":
            return self._loglikelihood(request, border)
        if request.kind == "generate":
            return self._generate(request)
        if request.kind == "logits_difference":
            tokens = (self.prefix, *self.encode(request.context))[: self.window]
            return Rendered(kind=request.kind, context=tokens)
        if request.kind == "fact":
            return Rendered(kind="fact", context=(), settings={"name": request.context, **request.settings})
        raise BackendError(f"no request kind {request.kind!r}")

    def _rolling(self, request: Request) -> Rendered:
        like_lm_eval = request.settings.get("encoding") == "lm_eval"
        window = min(self.window, int(request.settings.get("window", self.window)))
        stride = window if like_lm_eval else max(1, window // 2)
        if like_lm_eval:
            tokens, prefix = self._special(request.context), self._lm_eval_prefix()
        else:
            tokens, prefix = self.encode(request.context), self.prefix
        if not tokens:
            raise BackendError("an empty text has no log-probability; leave it out of the suite")
        return Rendered(kind="rolling", context=(prefix,), continuation=tuple(tokens), settings={"window": window, "stride": stride})

    def _whole(self, request: Request) -> Rendered:
        """A text by itself, special tokens as the tokenizer adds them; its first token is given, not predicted."""
        tokens = self._special(request.context)
        cut = max(0, len(tokens) - self.window)
        tokens = tokens[cut:]
        if len(tokens) < 2:
            raise BackendError("a text of one token predicts nothing; leave it out of the suite")
        return Rendered(kind="whole", context=tuple(tokens[:1]), continuation=tuple(tokens[1:]), truncated=cut)

    def _lm_eval_prefix(self) -> int:
        bos = self.tokenizer.bos_token_id
        return (
            self.prefix
            if bos is None and self.tokenizer.eos_token_id is None
            else (bos if bos is not None else self.tokenizer.eos_token_id)
        )

    def _special(self, text: str) -> list[int]:
        """Encode as lm-eval's `hf` does: the tokenizer's own special tokens, but never a second beginning-of-sequence token."""
        text.encode("utf-8")
        if text.startswith(self.tokenizer.decode([self._lm_eval_prefix()])):
            return self.parse(text)
        return self.tokenizer.encode(text)

    def _chat(self, context: str) -> str:
        """The text of a conversation: `context` is JSON, {"messages": [{role, content}], "add_generation_prompt": bool}."""
        talk = json.loads(context)
        return self.conversation(talk["messages"], bool(talk.get("add_generation_prompt", True)))

    def conversation(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """Messages in the tokenizer's own chat template; without the prompt the last message is left open. Raises BackendError."""
        if not self.tokenizer.chat_template:
            raise BackendError("the suite asks for a chat template and the tokenizer has none; leave `chat` out or add chat_template.jinja")
        return str(
            self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt, continue_final_message=not add_generation_prompt
            )
        )

    def _pair(self, request: Request, border: bool) -> tuple[list[int], list[int]]:
        context, continuation = request.context, request.continuation
        if request.settings.get("chat"):
            context = self._chat(context)
        if request.settings.get("encoding") != "lm_eval":
            if request.settings.get("chat"):
                return self.parse(context), self.parse(continuation)
            before = [self.prefix, *self.encode(context)]
            if border:
                return before, self.encode(continuation)
            return before, self.encode(context + continuation)[len(before) - 1 :]
        if not context:
            tokens = self.parse(continuation)
            prefix = self._lm_eval_prefix()
            return ([prefix], tokens) if tokens[:1] != [prefix] else (tokens[:1], tokens[1:])
        stripped = context.rstrip()
        continuation, context = context[len(stripped) :] + continuation, stripped
        encode = self.parse if request.settings.get("chat") else self._special
        before = encode(context)
        return before, encode(context + continuation)[len(before) :]

    def _loglikelihood(self, request: Request, border: bool) -> Rendered:
        context, continuation = self._pair(request, border)
        if not continuation:
            raise BackendError("an empty continuation has no log-probability")
        over = max(0, len(continuation) - self.window)  # scored on its first tokens, after one of the context
        continuation = continuation[: self.window]
        cut = max(0, len(context) + len(continuation) - 1 - self.window)
        return Rendered(
            kind="loglikelihood", context=tuple(context[cut:]), continuation=tuple(continuation), truncated=cut + over, border=border
        )

    def _prompt(self, request: Request) -> list[int]:
        chat, text = request.settings.get("chat", False), request.context
        if chat == "auto" and not self.tokenizer.chat_template:  # a base model: it goes on from what the user said
            chat, text = False, "\n\n".join(message["content"] for message in json.loads(text)["messages"]) + "\n\n"
        if chat:
            text = self._chat(text)
        if request.settings.get("encoding") == "lm_eval" and not chat:
            return self._special(text)
        return self.parse(text) if chat else [self.prefix, *self.encode(text)]

    def tokens(self, request: Request) -> int:
        """How many tokens the context of a `generate` or `loglikelihood` request takes, its prefix included and nothing cut.

        A suite that fits its samples to a length asks it of texts that are never asked for again: nothing is kept.
        """
        if request.settings.get("chat") or request.settings.get("encoding"):
            return len(self._prompt(request))
        from training.pretraining.corpus import tokenise

        return 1 + len(next(tokenise(self.tokenizer, [request.context])))

    def _generate(self, request: Request) -> Rendered:
        settings = request.settings
        if settings.get("temperature", 0):
            raise BackendError("generation is greedy: temperature must be 0 (a sampled answer is not the model's one answer)")
        asked = int(settings.get("max_tokens", 256))
        if asked < 1:
            raise BackendError(f"max_tokens is {asked}: it must be 1 or more")
        tokens = self._prompt(request)
        # A limit that leaves no room for a prompt is cut to what the prompt leaves, half the window at least.
        limit = asked if asked < self.window else max(self.window - max(1, len(tokens)), self.window // 2)
        room = self.window - limit
        stop: Sequence[str] = settings.get("stop", ())
        cut = max(0, len(tokens) - room)
        return Rendered(
            kind="generate",
            context=tuple(tokens[cut:]) or (self.prefix,),
            settings={"max_tokens": limit, "stop": [stop] if isinstance(stop, str) else [text for text in stop if text]},
            truncated=cut + asked - limit,
            messages="" if cut else self._messages(request),
        )

    def _messages(self, request: Request) -> str:
        chat = request.settings.get("chat", False)
        if not chat or (chat == "auto" and not self.tokenizer.chat_template):
            return ""
        talk = json.loads(request.context)
        return json.dumps(talk["messages"], ensure_ascii=False) if talk.get("add_generation_prompt", True) else ""


def _share(whole: Sequence[Rendered], found: list[Rendered]) -> list[Rendered]:
    """Move what all whole texts of a sample begin with into their `context`, so that it is read once; each keeps a token of its own."""
    texts = [one.context + one.continuation for one in whole]
    if len(texts) < 2 or len({text[0] for text in texts}) > 1:
        return found
    most = min(len(text) for text in texts) - 1
    common = next((at for at in range(most) if len({text[at] for text in texts}) > 1), most)
    return [
        dataclasses.replace(one, context=text[:common], continuation=text[common:])
        if one.kind == "whole" and (text := one.context + one.continuation)
        else one
        for one in found
    ]
