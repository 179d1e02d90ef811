"""The wire to an OpenAI-compatible server: one call, tried again where trying again can help, with errors that name URL and request.

Tried again, with exponential waits and jitter, are 408, 409, 425, 429 and 5xx (honouring Retry-After), connections that fail or time out, and bodies
that are not the JSON they should be. Anything else is the server's answer and is told at once. The key comes from the environment
(`SEATRIALS_SERVER_KEY`), goes to this server alone and is never written anywhere.
"""

from __future__ import annotations

import email.utils
import json
import os
import random
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from harness.backends.rendering import BackendError

KEY = "SEATRIALS_SERVER_KEY"
ATTEMPTS = 6
FIRST_WAIT = 0.5  # seconds; doubled each time
LONGEST_WAIT = 30.0
LONGEST_ASKED = 300.0  # a Retry-After beyond it is a refusal
TIMEOUT = 600.0
AGAIN = (408, 409, 425, 429)
T = TypeVar("T")


class Refused(BackendError):
    """The server said no, and would again. `of_form`: it may be the form of the prompt that it does not take."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.of_form = status in (400, 415, 422)


class Malformed(Exception):
    """A body that is not what the protocol says; worth another try."""


def address(url: str) -> tuple[str, str]:
    """Split `http://host:port/v1#MODEL` into base URL and served model ("" where none is named). Raises BackendError."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BackendError(f"{url!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BackendError(f"{url!r} is no server: give http://host:port/v1, or http://host:port/v1#MODEL where it serves several")
    if parts.username or parts.password or parts.query:
        raise BackendError(f"the URL of {parts.hostname} holds a password or a query, which would be logged; put the key into {KEY}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{path}", urllib.parse.unquote(parts.fragment)


class Wire:
    """Calls to one server; its methods may be called from several threads. `stopped` ends waiting and further tries."""

    def __init__(self, base: str, timeout: float | None = None) -> None:
        """Open nothing yet. `timeout` is seconds without a byte."""
        import openai

        self.base = base
        self.timeout = timeout or TIMEOUT
        self.stopped = threading.Event()
        self._key = os.environ.get(KEY, "")
        # The key is given even where there is none: the client would else take OPENAI_API_KEY, which is not this server's business.
        self._client = openai.OpenAI(base_url=base, api_key=self._key or "none", max_retries=0, timeout=self.timeout)

    def models(self) -> list[dict[str, Any]]:
        """What the server says it serves (`/models`). Raises BackendError."""

        def read(body: Any) -> list[dict[str, Any]]:
            found = body.get("data")
            if not isinstance(found, list) or not all(isinstance(one, dict) and isinstance(one.get("id"), str) for one in found):
                raise Malformed("no list of models in it")
            return found

        return self._tried("/models", "the list of models", self._client.models.with_raw_response.list, read)

    def version(self) -> str:
        """The server's own version where it tells one at /version (vLLM does), else ""."""
        root = urllib.parse.urlsplit(self.base)
        try:
            body = self._client.get(f"{root.scheme}://{root.netloc}/version", cast_to=object)
        except Exception:  # most servers have no such page
            return ""
        return str(body.get("version", "")) if isinstance(body, dict) else ""

    def completion(self, model: str, prompt: str | Sequence[int], body: Mapping[str, Any], what: str, read: Callable[[Any], T]) -> T:
        """One completion of one prompt, text or token ids; `read` takes the body apart (Malformed: try again). Raises BackendError."""
        create: Any = self._client.completions.with_raw_response.create
        given = prompt if isinstance(prompt, str) else list(prompt)
        return self._tried("/completions", what, lambda: create(model=model, prompt=given, extra_body=dict(body)), read)

    def chat(self, model: str, messages: Any, body: Mapping[str, Any], what: str, read: Callable[[Any], T]) -> T:
        """One answer to a conversation. Raises BackendError."""
        create: Any = self._client.chat.completions.with_raw_response.create
        return self._tried("/chat/completions", what, lambda: create(model=model, messages=messages, extra_body=dict(body)), read)

    def _tried(self, path: str, what: str, call: Callable[[], Any], read: Callable[[Any], T]) -> T:
        import openai

        for attempt in range(1, ATTEMPTS + 1):
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
            try:
                return read(_json(call().text))
            except openai.APITimeoutError:
                fault = f"no answer within {self.timeout:g} s"
            except openai.APIConnectionError as error:
                fault = f"the connection failed ({error.__cause__ or error})"
            except openai.APIStatusError as error:
                fault = f"HTTP {error.status_code}: {self._told(error)}"
                if error.status_code not in AGAIN and error.status_code < 500:
                    raise Refused(f"{self.base}{path} refused {what}: {fault}{_mend(error.status_code)}", error.status_code) from None
                asked = _retry_after(error.response.headers.get("retry-after"))
                if asked > LONGEST_ASKED:
                    raise BackendError(
                        f"{self.base}{path}: {fault}; it asks to wait {asked:.0f} s: run again then, answers so far are kept"
                    ) from None
                wait = max(wait, asked)
            except Malformed as error:
                fault = f"HTTP 200 with a body that cannot be used ({error})"
            if attempt == ATTEMPTS or self.stopped.wait(wait):
                break
        raise BackendError(
            f"{self.base}{path} did not answer {what}, {attempt} tries: {fault}; mend the server and run again, answers so far are kept"
        )

    def _told(self, error: Any) -> str:
        """What the server said, short, in one line, and without our key."""
        text = " ".join(error.response.text.split())[:300] or "no text"
        return text.replace(self._key, "***") if self._key else text


def _json(text: str) -> Any:
    try:
        body = json.loads(text)
    except ValueError as error:
        raise Malformed(f"not JSON: {error}") from None
    if not isinstance(body, dict):
        raise Malformed("not an object")
    return body


def _retry_after(header: str | None) -> float:
    """Seconds to wait, from a number of seconds or a date; 0 where there is none."""
    if not header:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return 0.0


def _mend(status: int) -> str:
    return f"; set {KEY} in the environment" if status in (401, 403) else ""
