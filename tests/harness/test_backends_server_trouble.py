"""A server that misbehaves: what passes is lived through, what stays is one clear error, and no answer is paid for twice."""

from __future__ import annotations

import threading
import time

import pytest

from harness.backends import wire
from harness.backends.rendering import BackendError, Rendered
from tests.harness.checkpoints import checkpoint, tokenizer
from tests.harness.fake_server import Fake, hang, reply, serve, times
from tests.harness.server_kit import REQUESTS, assert_equal, of_hf, sample, subject


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(wire, "FIRST_WAIT", 0.01)
    monkeypatch.delenv(wire.KEY, raising=False)


def test_the_key_comes_from_the_environment_and_is_never_told(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another-service")
    monkeypatch.setenv(wire.KEY, "sk-of-this-server")
    with serve(Fake(checkpoint())) as fake:
        subject(tmp_path, fake).answer(REQUESTS[:1])
        assert set(fake.keys) == {"Bearer sk-of-this-server"}
        fake.trouble = times(99, 401, {"error": {"message": "wrong key sk-of-this-server"}})
        with pytest.raises(BackendError, match=f"HTTP 401.*{wire.KEY}") as error:
            subject(tmp_path, fake).answer(REQUESTS)
        assert "sk-of-this-server" not in str(error.value)
        monkeypatch.delenv(wire.KEY)
        fake.keys.clear()
        fake.trouble = times(0, 500)
        subject(tmp_path, fake).answer(REQUESTS)
        assert set(fake.keys) == {"Bearer none"}  # the key of another service goes nowhere


@pytest.mark.parametrize(
    "trouble",
    [
        times(3, 500),
        times(3, 503),
        times(2, 429, headers={"Retry-After": "0.01"}),
        times(2, 200, b'{"choices": [{"text": "ha'),
        times(2, 200, b"[]"),
        times(2, 200, {"choices": []}),
    ],
    ids=["500", "503", "429", "half a JSON", "no object", "no choices"],
)
def test_trouble_that_passes_is_lived_through(tmp_path, trouble):
    with serve(Fake(checkpoint())) as fake:
        fake.trouble = trouble
        answers, _ = subject(tmp_path, fake).answer(REQUESTS)
        assert_equal(answers, of_hf(fake.path, REQUESTS))


def test_retry_after_is_honoured(tmp_path, monkeypatch):
    waits: list[float] = []
    with serve(Fake(checkpoint())) as fake:
        made = wire.Wire(fake.url)
        monkeypatch.setattr(made.stopped, "wait", lambda timeout: waits.append(timeout) or False)
        fake.trouble = times(1, 429, headers={"Retry-After": "7"})
        ask = lambda: made.completion("tiny", [0, 1], {"max_tokens": 1}, "a test", lambda body: body)  # noqa: E731
        ask()
        assert waits == [7.0]
        fake.trouble = times(1, 429, headers={"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"})
        ask()
        assert waits[1] <= wire.LONGEST_WAIT
        fake.trouble = times(1, 429, headers={"Retry-After": "7200"})
        with pytest.raises(BackendError, match=r"HTTP 429.*wait 7200 s"):
            ask()


def test_waits_grow_with_jitter(monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(wire, "FIRST_WAIT", 1.0)
    with serve(Fake(checkpoint())) as fake:
        made = wire.Wire(fake.url)
        monkeypatch.setattr(made.stopped, "wait", lambda timeout: waits.append(timeout) or False)
        fake.trouble = times(99, 503)
        with pytest.raises(BackendError, match=f"{fake.url}/completions did not answer a test, 6 tries: HTTP 503"):
            made.completion("tiny", [0, 1], {"max_tokens": 1}, "a test", lambda body: body)
    assert len(waits) == wire.ATTEMPTS - 1
    for number, wait in enumerate(waits):
        assert 0.5 * 2**number <= wait <= 2**number


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (times(10**6, 500), "HTTP 500: .*not now"),
        (times(10**6, 200, b'{"half'), "cannot be used .not JSON"),
        (times(10**6, 404), "refused.*HTTP 404"),
    ],
    ids=["500", "half a JSON", "404"],
)
def test_trouble_that_stays_names_url_status_and_request(tmp_path, trouble, said):
    with serve(Fake(checkpoint())) as fake:
        asked = subject(tmp_path, fake)
        fake.trouble = trouble
        with pytest.raises(BackendError, match=said) as error:
            asked.answer(REQUESTS)
        assert f"{fake.url}/completions" in str(error.value)
        assert "log-probabilities of" in str(error.value)


def test_a_server_that_hangs_is_given_up_on(tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "TIMEOUT", 0.3)
    monkeypatch.setattr(wire, "ATTEMPTS", 2)
    with serve(Fake(checkpoint())) as fake:
        asked = subject(tmp_path, fake)
        fake.trouble = hang(0.8)
        asked.answer(REQUESTS[:1])  # once: asked again
        fake.trouble = hang(0.8, 99)
        with pytest.raises(BackendError, match=r"no answer within 0.3 s"):
            asked.answer(REQUESTS)


def test_a_server_that_is_not_there(tmp_path):
    with serve(Fake(checkpoint())) as fake:
        pass
    with pytest.raises(BackendError, match=r"/models did not answer the list of models.*connection failed"):
        subject(tmp_path, fake)


def test_a_server_without_logprobs_is_found_out_before_the_suite_runs(tmp_path):
    with serve(Fake(checkpoint())) as fake:
        asked = subject(tmp_path, fake)
        fake.change = lambda choice: choice.pop("logprobs", None)
        with pytest.raises(BackendError, match="no log-probabilities of a prompt"):
            asked.answer(asked.renderer.sample(sample()))
        assert len(fake.asked) == 1
        written = Rendered(kind="generate", context=(0, 5), settings={"max_tokens": 3, "stop": []})
        answers, _ = asked.answer([written])  # text it can give
        assert_equal(answers, of_hf(fake.path, [written]))


def _shorten(choice) -> None:
    for values in (choice.get("logprobs") or {}).values():
        del values[1:3]
    if "prompt_logprobs" in choice:
        del choice["prompt_logprobs"][1]


def _ignore_echo(choice) -> None:
    for values in (choice.get("logprobs") or {}).values():
        del values[:-1]


def _another_tokenizer(choice) -> None:
    if choice.get("prompt_logprobs"):
        choice["prompt_logprobs"][1:] = [
            {str(int(key) + 1000): value for key, value in one.items()} for one in choice["prompt_logprobs"][1:]
        ]


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ({}, _shorten, "log-probabilities of .* tokens were asked for and"),
        ({"vllm": True}, _shorten, "log-probabilities of .* tokens were asked for and"),
        ({}, _ignore_echo, "and 1 came .echo ignored"),
        ({"vllm": True}, _another_tokenizer, "another tokenizer"),
    ],
)
def test_a_wrong_count_or_other_tokens_are_refused(tmp_path, kind, change, said):
    with serve(Fake(checkpoint(), **kind)) as fake:
        asked = subject(tmp_path, fake)
        fake.change = change
        with pytest.raises(BackendError, match=said):
            asked.answer(REQUESTS)
        fake.change = lambda choice: None
        asked.answer(REQUESTS[:2])
        fake.change = change  # after the probe too
        with pytest.raises(BackendError, match=said):
            asked.answer(REQUESTS)


def test_text_that_the_server_cuts_otherwise_is_refused(tmp_path):
    with serve(Fake(checkpoint(), takes_ids=False)) as fake:
        fake.tokenizer = tokenizer(("zzz yyy", "abab"))
        asked = subject(tmp_path, fake)
        with pytest.raises(BackendError, match="cuts it otherwise"):
            asked.answer(asked.renderer.sample(sample()))


def test_as_many_tokens_but_others_are_refused(tmp_path):
    def change(choice):
        choice["logprobs"]["tokens"][1] = "qq"

    with serve(Fake(checkpoint(), takes_ids=False)) as fake:
        asked = subject(tmp_path, fake)
        made = asked.tokenizer
        one = Rendered(kind="loglikelihood", context=(0, *made.encode("the boat")), continuation=tuple(made.encode(" rice")))
        fake.change = change
        with pytest.raises(BackendError, match="cuts the text otherwise: 'qq' where"):
            asked.answer([one])


@pytest.mark.parametrize("value", [None, "-1.0", 0.5, float("nan")])
def test_what_is_no_log_probability_is_no_answer(tmp_path, value, monkeypatch):
    monkeypatch.setattr(wire, "ATTEMPTS", 2)

    def change(choice):
        choice["logprobs"]["token_logprobs"][2] = value

    with serve(Fake(checkpoint())) as fake:
        asked = subject(tmp_path, fake)
        fake.change = change
        with pytest.raises(BackendError, match="no log-probability"):
            asked.answer(REQUESTS)


def test_a_difference_of_logits_is_not_a_servers_business(tmp_path):
    with serve(Fake(checkpoint())) as fake, pytest.raises(BackendError, match="evaluate this suite with hf"):
        subject(tmp_path, fake).answer([Rendered(kind="logits_difference", context=(0, 1))])


# ----------------------------------------------------------------------------------------------------------------- resume


def test_answers_before_a_failure_are_kept_and_not_asked_for_again(tmp_path):
    many = [Rendered(kind="loglikelihood", context=(0, 7), continuation=(number, 3)) for number in range(1, 81)]
    with serve(Fake(checkpoint())) as fake:
        asked = subject(tmp_path, fake, concurrency=2)
        fake.trouble = times(10**6, 400, {"error": {"message": "out of credit"}}, after=6)  # the probe, and five requests
        with pytest.raises(BackendError, match=r"HTTP 400.*out of credit"):
            asked.answer(many)
        kept = len(asked.journal)
        assert kept == 5
        assert len(fake.asked) < 40  # the first refusal ends the run: the rest is not sent
        asked.journal.close()
        fake.trouble = times(0, 500)
        fake.asked.clear()
        again = subject(tmp_path, fake)
        answers, computed = again.answer(many)
        assert computed == len(many) - 5
        assert len(fake.asked) == computed + 1  # and the probe of a new process
        assert_equal(answers, of_hf(fake.path, many))
        again.answer(many)
        assert len(fake.asked) == computed + 1


def test_what_is_under_way_at_a_failure_is_kept(tmp_path):
    """One request is refused while another is being answered: that answer was paid for."""
    refused, begun = threading.Event(), threading.Event()

    def trouble(fake, handler, path, body):
        if body["prompt"] == [0, 7, 1, 3]:
            begun.wait(5)
            reply(handler, 400, {"error": {"message": "no"}})
            refused.set()
            return True
        if body["prompt"] == [0, 7, 2, 3]:
            begun.set()
            refused.wait(5)
            time.sleep(0.3)  # so that the refusal is known before this answer is there
        return False

    with serve(Fake(checkpoint())) as fake:
        asked = subject(tmp_path, fake, concurrency=2)
        asked.answer([Rendered(kind="loglikelihood", context=(0,), continuation=(9,))])
        fake.trouble = trouble
        with pytest.raises(BackendError, match="HTTP 400"):
            asked.answer(REQUESTS)
        assert asked.key(REQUESTS[1]) in asked.journal
