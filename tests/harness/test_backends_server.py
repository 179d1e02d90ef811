"""A server as a backend: the same numbers as the model itself, whatever way it takes prompts, and clear errors where it cannot give them."""

from __future__ import annotations

import json
import threading
import time

import pytest

from harness.answers import Journal
from harness.backends import wire
from harness.backends.hf import HFBackend
from harness.backends.pieces import pieces
from harness.backends.rendering import BackendError, Rendered
from harness.backends.subject import Subject
from harness.suites import Request, Sample
from tests.harness.checkpoints import TEXTS, checkpoint, logprobs, tokenizer
from tests.harness.fake_server import Fake, hang, reply, serve, times
from training.models.load import load_tokenizer

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(wire, "FIRST_WAIT", 0.01)
    monkeypatch.delenv(wire.KEY, raising=False)


def sample() -> Sample:
    """Every kind of request, in three scripts: choices, a text of several windows, a text by itself, text to go on."""
    requests = []
    for text in TEXTS[:3]:
        requests += [Request(kind="loglikelihood", context=text[:15], continuation=end) for end in (text[15:25], " rice", " จ")]
        requests.append(Request(kind="rolling", context=text * 2))
        requests.append(Request(kind="rolling", context=text[:40], settings={"first": "unscored"}))
        requests.append(Request(kind="generate", context=text[:12], settings={"max_tokens": 6, "stop": ["a"]}))
        requests.append(Request(kind="generate", context=text[:9], settings={"max_tokens": 6}))
    return Sample(sample="s", cluster="c", language="eng", requests=tuple(requests))


def subject(tmp_path, fake: Fake, **options) -> Subject:
    journal = Journal(tmp_path / "store", "a" * 64)
    return Subject(fake.path, journal, weights="a" * 64, tokenizer_digest="b" * 64, backend=fake.url, **options)


def of_hf(path, requests) -> list[dict]:
    found = [pair for batch, _ in HFBackend(path, load_tokenizer(path)).answers(requests) for pair in batch]
    return [dict(answer) for _, answer in sorted(found, key=lambda pair: pair[0])]


def assert_equal(ours, theirs) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert value == (pytest.approx(other[name], abs=2e-4) if name == "logprob" else other[name]), name


# ---------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("kind", [{"vllm": True}, {}, {"takes_ids": False}], ids=["vllm", "ids", "text"])
def test_a_server_gives_the_numbers_of_the_model_itself(tmp_path, kind):
    with serve(Fake(checkpoint(), **kind)) as fake:
        asked = subject(tmp_path, fake)
        requests = asked.renderer.sample(sample())
        if "takes_ids" in kind:  # a text that cannot be cut as ours was cut is refused (below)
            requests = [request for request in requests if _survives(asked.tokenizer, request)]
            assert {request.kind for request in requests} == {"loglikelihood", "rolling", "whole", "generate"}
        answers, computed = asked.answer(requests)
        assert computed == len({asked.key(request) for request in requests})
        assert_equal(answers, of_hf(fake.path, requests))
        assert any(answer.get("greedy") is False for answer in answers)
        sent = [body["prompt"] for path, body in fake.asked if path.endswith("/completions")]
        # What it was sent is ours to the token: ids wherever it takes them, one beginning and no more.
        assert all(isinstance(prompt, str) == ("takes_ids" in kind) for prompt in sent[1:])
        assert all(body["temperature"] == 0 for _, body in fake.asked)


def _survives(made, request: Rendered) -> bool:
    """Whether each prompt's tokens are what the tokenizer makes of their text."""
    prompts = [request.context] if request.kind == "generate" else [piece.tokens for piece in pieces(0, request)]
    return all(made.encode(made.decode(list(tokens)), add_special_tokens=False) == list(tokens) for tokens in prompts)


def test_a_text_that_would_be_cut_otherwise_is_refused(tmp_path):
    with serve(Fake(checkpoint(), takes_ids=False)) as fake:
        asked = subject(tmp_path, fake)
        made = asked.tokenizer
        torn = Rendered(kind="loglikelihood", context=(0, *made.encode("th")), continuation=tuple(made.encode("e")))
        assert not _survives(made, torn)
        whole = Rendered(kind="loglikelihood", context=(0, *made.encode("the boat")), continuation=tuple(made.encode(" rice")))
        asked.answer([whole])
        with pytest.raises(BackendError, match="takes text alone"):
            asked.answer([torn])


def test_the_greedy_flag_is_seen_true_as_well(tmp_path):
    path = checkpoint()
    first = int(logprobs(path, [0, 5, 9, 1])[2].argmax())
    second = int(logprobs(path, [0, 5, 9, first, 1])[3].argmax())
    third = (second + 1) % 400
    requests = [Rendered(kind="loglikelihood", context=(0, 5, 9), continuation=end) for end in ((first, second), (first, third), (first,))]
    for kind in ({"vllm": True}, {}):
        with serve(Fake(path, **kind)) as fake:
            answers, _ = subject(tmp_path / str(kind), fake).answer(requests)
            assert [answer["greedy"] for answer in answers] == [True, False, True]
            assert answers == [pytest.approx(one, abs=2e-4) for one in of_hf(path, requests)]


def test_a_server_that_adds_the_beginning_itself_gets_the_text_without_ours(tmp_path, monkeypatch):
    path = checkpoint()
    made = load_tokenizer(path)
    made.bos_token = "<|endoftext|>"
    with serve(Fake(path, takes_ids=False, adds_beginning=True)) as fake:
        fake.tokenizer = made
        asked = subject(tmp_path, fake)
        requests = asked.renderer.sample(sample())
        with pytest.raises(BackendError, match="beginning of its own"):  # not known to be ours: refused, not scored with two
            asked.answer(requests)
        asked.tokenizer.bos_token = "<|endoftext|>"
        # A later window of a long text does not begin with the beginning, and such a server puts one there: refused (next test).
        chosen = [one for one in requests if one.context[0] == made.bos_token_id and one.kind != "rolling" and _survives(made, one)]
        assert {one.kind for one in chosen} == {"loglikelihood", "generate"}
        answers, _ = asked.answer(chosen)
        assert_equal(answers, of_hf(path, chosen))
        assert not any(body["prompt"].startswith("<|endoftext|>") for _, body in fake.asked[-len(chosen) :])


def test_what_such_a_server_cannot_be_sent_is_refused(tmp_path):
    path = checkpoint()
    made = load_tokenizer(path)
    made.bos_token = "<|endoftext|>"
    with serve(Fake(path, takes_ids=False, adds_beginning=True)) as fake:
        fake.tokenizer = made
        asked = subject(tmp_path, fake)
        asked.tokenizer.bos_token = "<|endoftext|>"
        with pytest.raises(BackendError, match="beginning"):
            asked.answer(asked.renderer.sample(sample()))


def test_conversations_go_to_chat_completions_with_their_messages(tmp_path):
    path = checkpoint(context=64, chat_template=TEMPLATE)
    talk = [{"role": "user", "content": "The boat"}]
    requests = [
        Request(kind="generate", context=json.dumps({"messages": talk}), settings={"chat": True, "max_tokens": 5}),
        # Too long for the window: it is cut, and what is left goes out as tokens.
        Request(
            kind="generate",
            context=json.dumps({"messages": [{"role": "user", "content": TEXTS[0] * 3}]}),
            settings={"chat": True, "max_tokens": 5},
        ),
    ]
    with serve(Fake(path)) as fake:
        asked = subject(tmp_path, fake)
        rendered = [asked.renderer.request(request) for request in requests]
        assert [bool(one.truncated) for one in rendered] == [False, True]
        answers, _ = asked.answer(rendered)
        assert_equal(answers, of_hf(path, rendered))
        paths = [asked_path for asked_path, body in fake.asked if body.get("max_tokens") == 5]
        assert sorted(paths) == ["/v1/chat/completions", "/v1/completions"]
        assert next(body["messages"] for asked_path, body in fake.asked if "chat" in asked_path) == talk


def test_a_server_that_only_chats_can_be_asked_for_text(tmp_path):
    path = checkpoint(context=64, chat_template=TEMPLATE)
    talk = Request(
        kind="generate",
        context=json.dumps({"messages": [{"role": "user", "content": "The boat"}]}),
        settings={"chat": True, "max_tokens": 5},
    )
    with serve(Fake(path)) as fake:

        def only_chat(fake, handler, path, body):
            if "chat" not in path:
                reply(handler, 404, {"error": {"message": "no such page"}})
            return "chat" not in path

        fake.trouble = only_chat
        asked = subject(tmp_path, fake)
        rendered = [asked.renderer.request(talk)]
        assert_equal(asked.answer(rendered)[0], of_hf(path, rendered))
        with pytest.raises(BackendError, match=r"completions refused.*HTTP 404"):
            asked.answer(REQUESTS)


def test_a_chat_suite_without_a_template_says_so(tmp_path):
    with serve(Fake(checkpoint())) as fake:
        asked = subject(tmp_path, fake)
        with pytest.raises(BackendError, match="chat template"):
            asked.renderer.request(Request(kind="generate", context='{"messages": []}', settings={"chat": True, "max_tokens": 5}))


def test_the_window_is_the_shorter_of_model_and_server_less_what_scoring_needs(tmp_path):
    fake = Fake(checkpoint(context=64), vllm=True)
    with serve(fake):
        assert subject(tmp_path, fake).renderer.window == 62
        fake.window = 40
        asked = subject(tmp_path, fake)
        assert asked.renderer.window == 38
        asked.answer(asked.renderer.sample(sample()))
        assert max(len(body["prompt"]) + body["max_tokens"] for _, body in fake.asked if "prompt" in body) <= 40


def test_no_more_requests_are_under_way_than_allowed(tmp_path):
    fake = Fake(checkpoint())
    gate = threading.Event()
    with serve(fake):
        asked = subject(tmp_path, fake, concurrency=3)
        requests = [Rendered(kind="loglikelihood", context=(0, 7), continuation=(number,)) for number in range(1, 30)]

        def slow(*_):
            gate.wait(0.02)
            return False

        fake.trouble = slow
        asked.answer(requests)
        assert 1 < fake.most <= 3


# --------------------------------------------------------------------------------------------------------------- identity


def test_answers_are_filed_under_url_model_and_version(tmp_path):
    one = Fake(checkpoint(), vllm=True)
    one.models = ["tiny", "other model"]
    with serve(one), serve(Fake(checkpoint())) as two:
        with pytest.raises(BackendError, match=r"2 models \(tiny, other model\).*#MODEL"):
            subject(tmp_path, one)
        with pytest.raises(BackendError, match="serves no 'third': it serves tiny, other model"):
            _named(tmp_path, one, "third")
        first, second, third = _named(tmp_path, one, "tiny"), _named(tmp_path, one, "other%20model"), subject(tmp_path, two)
        request = Rendered(kind="loglikelihood", context=(0,), continuation=(1,))
        assert len({asked.key(request) for asked in (first, second, third)}) == 3
        assert "0.0.fake" in first.identity.backend_version
        assert "other model" in second.identity.backend_version
        first.answer([request])
        second.answer([request])
        assert {body["model"] for _, body in one.asked} == {"tiny", "other model"}
    # A replay asks nobody: the server is gone.
    again = subject(tmp_path, two, backend_version=third.identity.backend_version, offline=True)
    assert again.key(request) == third.key(request)


def _named(tmp_path, fake: Fake, name: str) -> Subject:
    journal = Journal(tmp_path / "store", "a" * 64)
    return Subject(fake.path, journal, weights="a" * 64, tokenizer_digest="b" * 64, backend=f"{fake.url}#{name}")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/v1", "no server"),
        ("http://user:word@host/v1", wire.KEY),
        ("http://host/v1?key=secret", wire.KEY),
        ("http://host:port/v1", "no URL"),
    ],
)
def test_what_is_no_url_of_a_server(url, said):
    with pytest.raises(BackendError, match=said) as error:
        wire.address(url)
    assert "secret" not in str(error.value)
    assert "user:word" not in str(error.value)


def test_addresses():
    assert wire.address("http://127.0.0.1:8000") == ("http://127.0.0.1:8000/v1", "")
    assert wire.address("https://h/api/v1/#a%20b") == ("https://h/api/v1", "a b")
    assert wire.address("http://[::1]:80/v1") == ("http://[::1]:80/v1", "")


def test_a_backend_that_there_is_not(tmp_path):
    with pytest.raises(BackendError, match="no backend 'hg': there is hf, vllm, or the URL"):
        Subject(checkpoint(), Journal(tmp_path, "a" * 64), weights="a", tokenizer_digest="b", backend="hg")


# ---------------------------------------------------------------------------------------------------------------- trouble

REQUESTS = [Rendered(kind="loglikelihood", context=(0, 7), continuation=(number, 3)) for number in range(1, 13)]


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
