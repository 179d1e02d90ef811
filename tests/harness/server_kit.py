"""What the tests of the server backend share: its requests, a subject on it, and what transformers says to the same."""

from __future__ import annotations

import pytest

from harness.answers import Journal
from harness.backends.hf import HFBackend
from harness.backends.rendering import Rendered
from harness.backends.subject import Subject
from harness.suites import Request, Sample
from tests.harness.checkpoints import TEXTS
from tests.harness.fake_server import Fake
from training.models.load import load_tokenizer

REQUESTS = [Rendered(kind="loglikelihood", context=(0, 7), continuation=(number, 3)) for number in range(1, 13)]


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
