"""Answers requests from an OpenAI-compatible server: log-probabilities and text from `completions`, conversations from `chat/completions`.

Prompts are sent as token ids wherever the server takes them, so that the rendering stays ours and a prompt has exactly one beginning. Where it
takes text alone, every token that it returns must be ours. Which of the two holds is found out by a probe before the first request.

    URL = http://host:port/v1            the one model it serves
    URL = http://host:port/v1#MODEL      one of several

A server's weights cannot be digested. Its answers are filed under the digest of the checkpoint directory that is given beside the URL (the
tokenizer comes from there), the URL, the served model's name and the server's version: serving other weights under the same URL and name needs
another name. `python -m harness.backends parity DIR --backends hf,URL` shows whether the server serves that directory.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from harness.answers import Answer
from harness.backends.pieces import SPARE, Piece, Scored, Sums, cut, decoded, pieces
from harness.backends.rendering import BackendError, Rendered
from harness.backends.wire import Malformed, Refused, Wire, address

SCORER = 1  # raised when this file would give another number for the same reply
CONCURRENCY = 8
PROBED = 8  # tokens of the probe
STOPS = 4  # what the protocol promises to take; further ones are cut here


class Unlike(BackendError):
    """The server scored other tokens than those it was given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Served:
    """What a server says of itself. `window` is in tokens, 0 where it does not say."""

    base: str
    model: str
    vllm: bool
    version: str
    window: int


def served(url: str) -> Served:
    """Ask the server what it serves. Raises BackendError where it cannot be reached or the model is not among them."""
    base, wanted = address(url)
    wire = Wire(base)
    there = wire.models()
    names = [one["id"] for one in there]
    if wanted and wanted not in names:
        raise BackendError(f"{base} serves no {wanted!r}: it serves {', '.join(names) or 'nothing'}")
    if not wanted and len(names) != 1:
        raise BackendError(f"{base} serves {len(names)} models ({', '.join(names[:8])}): name one as {base}#MODEL")
    entry = there[names.index(wanted) if wanted else 0]
    vllm, told = entry.get("owned_by") == "vllm", wire.version()
    window = entry.get("max_model_len")
    version = f"{SCORER} {base} model {entry['id']} {'vllm ' if vllm else ''}{told or 'version unknown'}"
    return Served(base=base, model=entry["id"], vllm=vllm, version=version, window=window if isinstance(window, int) else 0)


class ServerBackend:
    """One served model. `ends` are the tokens that end a text (sent where the server takes such)."""

    def __init__(
        self, what: Served, tokenizer: Any, *, ends: Sequence[int] = (), concurrency: int = 0, timeout: float | None = None
    ) -> None:
        """Take what `served` found; at most `concurrency` requests are under way at once (0: 8)."""
        self.served = what
        self.tokenizer = tokenizer
        self.ends = list(ends)
        self.concurrency = concurrency or CONCURRENCY
        self.wire = Wire(what.base, timeout)
        self._prompt: Callable[[Sequence[int]], str | list[int]] | None = None  # how tokens are sent; None: not yet known
        self._scores = False  # whether a likelihood has been probed

    def answers(self, requests: Sequence[Rendered]) -> Iterator[tuple[list[tuple[int, Answer]], int]]:
        """Yield (answers as (index into `requests`, answer), tokens read) as they come. Raises BackendError, once all that came was yielded."""
        scored = [piece for index, request in enumerate(requests) if request.kind != "generate" for piece in pieces(index, request)]
        written = [index for index, request in enumerate(requests) if request.kind == "generate"]
        self.wire.stopped.clear()
        self._learn(scored, [requests[index].context for index in written if not requests[index].messages])
        sums = Sums(requests, scored)
        pool = concurrent.futures.ThreadPoolExecutor(self.concurrency)
        todo: dict[concurrent.futures.Future[Any], Piece | int] = {}
        try:
            todo |= {pool.submit(self._score, piece, f"request {piece.owner + 1} of {len(requests)}"): piece for piece in scored}
            todo |= {pool.submit(self._write, requests[index], f"request {index + 1} of {len(requests)}"): index for index in written}
            failure: BackendError | None = None
            for future in concurrent.futures.as_completed(todo):
                try:
                    found = future.result()
                except concurrent.futures.CancelledError:
                    continue
                except BackendError as error:  # what is under way ends, and its answers are kept: they were paid for
                    failure = failure or error
                    self._stop(todo)
                    continue
                job = todo[future]
                if isinstance(job, int):
                    yield [(job, {"text": found})], len(requests[job].context) + requests[job].settings["max_tokens"]
                elif (answer := sums.add(job, found)) is not None:
                    yield [(job.owner, answer)], len(requests[job.owner].context) + len(requests[job.owner].continuation)
            if failure is not None:
                raise failure
        finally:
            self._stop(todo)
            pool.shutdown(wait=True, cancel_futures=True)

    def _stop(self, todo: Mapping[concurrent.futures.Future[Any], Any]) -> None:
        self.wire.stopped.set()
        for future in todo:
            future.cancel()

    # ------------------------------------------------------------------------------------------------------------- probe

    def _learn(self, scored: Sequence[Piece], written: Sequence[Sequence[int]]) -> None:
        """Find out how the server takes tokens and that it gives log-probabilities, on the beginning of the shortest request."""
        tried: list[Callable[[Sequence[int]], str | list[int]]] = [list, self._text, self._rest]
        if scored and not self._scores:
            piece = Piece(0, min((piece.tokens for piece in scored), key=len)[:PROBED], 1)
            self._agree(tried, lambda: self._score(piece, "a probe for log-probabilities"))
            self._scores = True
        elif written and self._prompt is None:
            shortest = min(written, key=len)[:PROBED]
            self._agree(tried, lambda: self._complete(shortest, {"max_tokens": 1}, "a probe", lambda body: None))

    def _agree(self, tried: Sequence[Callable[[Sequence[int]], str | list[int]]], ask: Callable[[], Any]) -> None:
        known, reasons = self._prompt, []
        for self._prompt in [known] if known else tried:
            try:
                ask()
                return
            except BackendError as error:
                if not isinstance(error, Unlike) and not (isinstance(error, Refused) and error.of_form):
                    self._prompt = known
                    raise
                reasons.append(str(error))
        self._prompt = known
        raise BackendError(f"{self.served.base} cannot be used for this checkpoint: " + "; ".join(dict.fromkeys(reasons)))

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _rest(self, tokens: Sequence[int]) -> str:
        """For a server that puts the beginning before a text itself: the text without ours."""
        if tokens[0] != self.tokenizer.bos_token_id:
            raise Unlike(f"the server may put a beginning of its own before a text, and ours is {self._text(tokens[:1])!r}")
        return self._text(tokens[1:])

    # ------------------------------------------------------------------------------------------------------------- calls

    def _complete(self, tokens: Sequence[int], settings: Mapping[str, Any], what: str, read: Callable[[Any], Any]) -> Any:
        assert self._prompt is not None
        prompt = self._prompt(tokens)
        exact = not isinstance(prompt, str)

        def checked(body: Any) -> Any:
            told = (body.get("usage") or {}).get("prompt_tokens")
            if told is None and not exact:
                raise Unlike("the server takes text alone and does not say how many tokens it made of it (usage.prompt_tokens)")
            if told is not None and told != len(tokens):
                raise Unlike(
                    f"{self.served.base}: {len(tokens)} tokens were sent and {told} were read ({what}): "
                    + (
                        "another tokenizer?"
                        if exact
                        else "it takes text alone and cuts it otherwise than it was rendered, or adds a second beginning"
                    )
                )
            return read(_choice(body))

        return self.wire.completion(self.served.model, prompt, {"temperature": 0, **settings}, what, checked)

    def _score(self, piece: Piece, what: str) -> Scored:
        what = f"the log-probabilities of {len(piece.tokens)} tokens ({what})"
        if self.served.vllm:
            return self._complete(piece.tokens, {"max_tokens": 1, "prompt_logprobs": 1}, what, lambda choice: self._ranked(piece, choice))
        return self._complete(
            piece.tokens, {"max_tokens": 1, "echo": True, "logprobs": 1}, what, lambda choice: self._echoed(piece, choice)
        )

    def _ranked(self, piece: Piece, choice: Mapping[str, Any]) -> Scored:
        """From vLLM's `prompt_logprobs`: for each token {id: {logprob, rank}}, the given one always among them."""
        entries = choice.get("prompt_logprobs")
        self._counted(piece, entries)
        values, greedy = [], True
        for token, entry in zip(piece.tokens[piece.first :], entries[piece.first :], strict=True):  # type: ignore[index]
            if not isinstance(entry, dict) or not isinstance(entry.get(str(token)), dict):
                raise Unlike(f"{self.served.base} gives no log-probability for token {token}, which it was given; is it another tokenizer?")
            values.append(_number(entry[str(token)].get("logprob")))
            greedy &= entry[str(token)].get("rank") == 1
        return Scored(math.fsum(values), greedy)

    def _echoed(self, piece: Piece, choice: Mapping[str, Any]) -> Scored:
        """From an echoed prompt: a token's log-probability beside that of the likeliest; the last entry is of the one token generated."""
        told = choice.get("logprobs") or {}
        entries, tops, texts = told.get("token_logprobs"), told.get("top_logprobs"), told.get("tokens")
        count = len(piece.tokens)
        if isinstance(entries, list) and len(entries) == count + 1:
            entries = entries[:-1]
        self._counted(piece, entries)
        if not isinstance(tops, list) or len(tops) < count:
            raise Malformed("log-probabilities without top_logprobs")
        if self._prompt is not list:
            self._same(piece, texts)
        values = [_number(value) for value in entries[piece.first :]]  # type: ignore[index]
        best = [
            max(map(_number, top.values()), default=-math.inf) if isinstance(top, dict) else math.inf for top in tops[piece.first : count]
        ]
        return Scored(math.fsum(values), all(value >= most for value, most in zip(values, best, strict=True)))

    def _counted(self, piece: Piece, entries: Any) -> None:
        if entries is None:
            raise BackendError(
                f"{self.served.base} gives no log-probabilities of a prompt: a suite that scores text cannot run on it; serve the model with "
                "vLLM, or choose suites that generate"
            )
        if not isinstance(entries, list) or len(entries) != len(piece.tokens):
            found = len(entries) if isinstance(entries, list) else "no list"
            raise Unlike(
                f"{self.served.base}: log-probabilities of {len(piece.tokens)} tokens were asked for and {found} came (echo ignored, or another tokenizer)"
            )

    def _same(self, piece: Piece, texts: Any) -> None:
        """Text was sent: token by token, what the server made of it must be what we have; a part of a character has no text to compare."""
        if not isinstance(texts, list) or len(texts) < len(piece.tokens):
            raise Malformed("log-probabilities without their tokens")
        for token, text in zip(piece.tokens, texts, strict=False):
            mine = self._text([token])
            if "\ufffd" not in mine and _bare(mine) != _bare(str(text)):
                raise Unlike(f"{self.served.base} cuts the text otherwise: {str(text)!r} where the checkpoint's tokenizer has {mine!r}")

    def _write(self, request: Rendered, what: str) -> str:
        limit, stop = request.settings["max_tokens"], list(request.settings["stop"])
        settings: dict[str, Any] = {"max_tokens": limit}
        if stop:
            settings["stop"] = stop if self.served.vllm else stop[:STOPS]
        if self.served.vllm:  # it would else take what the checkpoint's generation settings say
            settings |= {
                "stop_token_ids": self.ends,
                "repetition_penalty": 1.0,
                "top_p": 1.0,
                "top_k": -1,
                "min_p": 0.0,
                "return_token_ids": True,
            }
        what = f"{limit} tokens of text ({what})"

        def said(choice: Mapping[str, Any], text: Callable[[Mapping[str, Any]], str]) -> str:
            if self.served.vllm and isinstance(tokens := choice.get("token_ids"), list):
                return decoded(self.tokenizer, tokens, self.ends, stop)
            return cut(text(choice), [*stop, *self._marks()])

        if request.messages:
            talk = json.loads(request.messages)
            return self.wire.chat(self.served.model, talk, {"temperature": 0, **settings}, what, lambda body: said(_choice(body), _message))
        return str(self._complete(request.context, settings, what, lambda choice: said(choice, lambda one: _string(one.get("text")))))

    def _marks(self) -> list[str]:
        """The texts of what ends a text: some servers leave them in."""
        return [text for text in (self._text([token]) for token in self.ends) if text]


def _choice(body: Any) -> Mapping[str, Any]:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Malformed("no choices in it")
    return choices[0]


def _message(choice: Mapping[str, Any]) -> str:
    message = choice.get("message")
    if not isinstance(message, dict):
        raise Malformed("no message in it")
    return _string(message.get("content") or "")  # an empty answer is null


def _string(text: Any) -> str:
    if not isinstance(text, str):
        raise Malformed("no text in it")
    return text


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value) or value > 1e-3:
        raise Malformed(f"{value!r} is no log-probability")
    return float(value)


def _bare(text: str) -> str:
    """A token's text without what servers write differently: the space that a word begins with."""
    return text.replace("\u2581", " ").removeprefix(" ")


def window_of(what: Served, model: int) -> int:
    """Tokens that a request may be rendered to: the server's context or the model's, less what scoring needs beyond them."""
    return min(what.window or model, model) - SPARE
