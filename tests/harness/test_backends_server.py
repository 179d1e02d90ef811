"""A server as a backend: the same numbers as the model itself, whatever way it takes prompts, and clear errors where it cannot give them."""

from __future__ import annotations

import json
import threading

import pytest

from harness.answers import Journal
from harness.backends import wire
from harness.backends.pieces import pieces
from harness.backends.rendering import BackendError, Rendered
from harness.backends.subject import Subject
from harness.suites import Request
from tests.harness.checkpoints import TEXTS, checkpoint, logprobs
from tests.harness.fake_server import Fake, reply, serve
from tests.harness.server_kit import REQUESTS, assert_equal, of_hf, sample, subject
from training.models.load import load_tokenizer

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(wire, "FIRST_WAIT", 0.01)
    monkeypatch.delenv(wire.KEY, raising=False)


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
