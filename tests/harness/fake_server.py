"""A loopback OpenAI-compatible server over a real (tiny) model, which can be told to misbehave.

It computes log-probabilities by transformers' own forward pass, each prompt alone, in float64: an independent reference for whoever asks it.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.harness.checkpoints import logprobs

Trouble = Callable[["Fake", BaseHTTPRequestHandler, str, dict[str, Any]], bool]


class Fake:
    """What the server does. `trouble(fake, handler, path, body)` may answer in its stead: it returns True where it did."""

    def __init__(self, path: Path, *, vllm: bool = False, takes_ids: bool = True, adds_beginning: bool = False) -> None:
        from training.models.load import load_tokenizer

        self.path = path
        self.tokenizer = load_tokenizer(path)
        self.vllm, self.takes_ids, self.adds_beginning = vllm, takes_ids, adds_beginning
        self.models = ["tiny"]
        self.window: int | None = None
        self.trouble: Trouble = lambda *_: False
        self.change: Callable[[dict[str, Any]], None] = lambda body: None  # applied to every completion's choice
        self.asked: list[tuple[str, dict[str, Any]]] = []  # every POST
        self.keys: list[str] = []
        self.most = self._now = 0  # requests under way at once
        self.lock = threading.Lock()
        self.url = ""

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The well-behaved answer to a POST."""
        if path.endswith("/chat/completions"):
            text = self.tokenizer.apply_chat_template(body["messages"], tokenize=False, add_generation_prompt=True)
            tokens = self.tokenizer.encode(text, add_special_tokens=False)
            said, _ = self.go_on(tokens, body)
            return 200, {"choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}]}
        prompt = body["prompt"]
        if isinstance(prompt, str):
            tokens = self.tokenizer.encode(prompt, add_special_tokens=False)
            tokens = [self.tokenizer.bos_token_id, *tokens] if self.adds_beginning else tokens
        elif self.takes_ids:
            tokens = prompt
        else:
            return 400, {"error": {"message": "prompt must be a string"}}
        said, generated = self.go_on(tokens, body)
        choice: dict[str, Any] = {"index": 0, "text": said, "finish_reason": "length"}
        if body.get("echo") or body.get("prompt_logprobs") is not None:
            self.score(choice, [*tokens, *generated[:1]], len(tokens), body)
        self.change(choice)
        return 200, {"choices": [choice], "usage": {"prompt_tokens": len(tokens), "completion_tokens": len(generated)}}

    def score(self, choice: dict[str, Any], tokens: list[int], prompt: int, body: dict[str, Any]) -> None:
        """Fill in the log-probabilities of the prompt, and of the first generated token."""
        table = logprobs(self.path, tokens)
        own = [None, *(float(row[token]) for row, token in zip(table, tokens[1:], strict=True))]
        best = [None, *((int(row.argmax()), float(row.max())) for row in table)]
        if body.get("prompt_logprobs") is not None:
            entries: list[Any] = [None]
            for row, token in zip(table[: prompt - 1], tokens[1:prompt], strict=True):
                top = int(row.argmax())
                entries.append({str(top): {"logprob": float(row.max()), "rank": 1}})
                entries[-1][str(token)] = {"logprob": float(row[token]), "rank": 1 + int((row > row[token]).sum())}
            choice["prompt_logprobs"] = entries
            return
        texts = [self.tokenizer.decode([token]) for token in tokens]
        tops = [None if one is None else {self.tokenizer.decode([one[0]]): one[1]} for one in best]
        choice["logprobs"] = {"tokens": texts, "token_logprobs": own, "top_logprobs": tops}
        choice["text"] = "".join(texts)

    def go_on(self, tokens: list[int], body: dict[str, Any]) -> tuple[str, list[int]]:
        """Greedy text, one token at a time, each by a forward pass over all before it; stops as the protocol says."""
        made: list[int] = []
        for _ in range(body.get("max_tokens", 16)):
            token = int(logprobs(self.path, [*tokens, *made, 0])[-1].argmax())
            if token == self.tokenizer.eos_token_id:
                break
            made.append(token)
            text = self.tokenizer.decode(made, skip_special_tokens=True)
            for stop in body.get("stop") or ():
                if stop in text:
                    return text[: text.index(stop)], made
        return self.tokenizer.decode(made, skip_special_tokens=True), made


@contextlib.contextmanager
def serve(fake: Fake) -> Iterator[Fake]:
    """Serve on a free loopback port; `fake.url` is the base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/v1/models":
                entries = [{"id": name, "object": "model", "owned_by": "vllm" if fake.vllm else "us"} for name in fake.models]
                for entry in entries:
                    entry.update({"max_model_len": fake.window} if fake.window else {})  # type: ignore[dict-item]
                reply(self, 200, {"object": "list", "data": entries})
            elif self.path == "/version" and fake.vllm:
                reply(self, 200, {"version": "0.0.fake"})
            else:
                reply(self, 404, {"error": {"message": "no such page"}})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with fake.lock:
                fake.asked.append((self.path, body))
                fake.keys.append(self.headers.get("Authorization", ""))
                fake._now += 1
                fake.most = max(fake.most, fake._now)
            try:
                if not fake.trouble(fake, self, self.path, body):
                    with fake.lock:  # torch is shared
                        status, told = fake.answer(self.path, body)
                    reply(self, status, told)
            finally:
                with fake.lock:
                    fake._now -= 1

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    """Send JSON, or bytes as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with contextlib.suppress(OSError):  # a client that has given up
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)


def times(count: int, status: int, body: Any = b"", headers: dict[str, str] | None = None, after: int = 0) -> Trouble:
    """Trouble for `count` requests, from the request number `after` on: this reply."""
    left, passed = [count], [after]
    lock = threading.Lock()

    def trouble(fake: Fake, handler: BaseHTTPRequestHandler, path: str, asked: dict[str, Any]) -> bool:
        with lock:
            if passed[0]:
                passed[0] -= 1
                return False
            if not left[0]:
                return False
            left[0] -= 1
        reply(handler, status, body or {"error": {"message": "not now"}}, headers)
        return True

    return trouble


def hang(seconds: float, count: int = 1) -> Trouble:
    """Trouble for `count` requests: silence."""
    left = [count]

    def trouble(fake: Fake, handler: BaseHTTPRequestHandler, path: str, asked: dict[str, Any]) -> bool:
        if left[0] <= 0:
            return False
        left[0] -= 1
        time.sleep(seconds)
        return False

    return trouble
