"""Parity of two backends, end to end on a loopback server: equal answers pass, a planted difference of each kind is found, errors are told."""

from __future__ import annotations

import pytest

from harness.answers import Journal
from harness.backends import parity, wire
from harness.backends.__main__ import main
from harness.backends.lm import JournaledLM
from harness.backends.parity import Difference, samples, table
from harness.backends.subject import Subject
from harness.suites import SuiteError
from tests.harness.checkpoints import checkpoint
from tests.harness.fake_server import Fake, serve, times


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(wire, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(parity, "STORY_TOKENS", 4)


def run(fake: Fake, *arguments: str) -> int:
    return main(["parity", str(fake.path), "--backends", f"hf,{fake.url}", "--samples", "4", *arguments])


@pytest.fixture(scope="module")
def path():
    return checkpoint(context=256)


def test_two_backends_that_agree(path, capsys):
    with serve(Fake(path, vllm=True)) as fake:
        assert run(fake) == 0
    said = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in said.splitlines()[1:4]}
    assert lines["rolling"][1] == "4"
    assert lines["loglikelihood"][1] == "16"  # four choices an item
    assert lines["loglikelihood"][-3:] == ["1", "1", "-"]
    assert lines["generate"][-1] == "1"
    assert 0 < float(lines["rolling"][2]) < 2e-4  # float32 against float64: near, and really two computations
    assert f"hf and {fake.url} agree within 0.001" in said


def _lower(choice) -> None:
    for entry in (choice.get("prompt_logprobs") or [])[1:2]:
        for one in entry.values():
            one["logprob"] -= 0.01


def _never_greedy(choice) -> None:
    for entry in (choice.get("prompt_logprobs") or [])[1:]:
        for one in entry.values():
            one["rank"] = 2 if one["rank"] == 1 else 1


def _another_word(choice) -> None:
    choice["text"] += "x"


@pytest.mark.parametrize(
    ("change", "suite", "kind"),
    [(_lower, "perplexity", "rolling"), (_never_greedy, "choice", "loglikelihood"), (_another_word, "generate", "generate")],
)
def test_a_difference_is_found(path, capsys, change, suite, kind, monkeypatch):
    if kind == "loglikelihood":  # a random model is hardly ever greedy along four choices: ask for its own choice
        monkeypatch.setattr("harness.backends.parity.samples", _greedy_items(path))
    with serve(Fake(path, vllm=True)) as fake:
        fake.change = change
        assert run(fake, "--suite", suite) == 1
        said = capsys.readouterr().out
        assert said.rstrip().endswith(kind)
        fake.change = lambda choice: None
        assert run(fake, "--suite", suite) == 0


def _greedy_items(path):
    from harness.suites import Request, Sample
    from tests.harness.checkpoints import logprobs
    from training.models.load import load_tokenizer

    made = load_tokenizer(path)

    def chosen(*_):
        found = []
        for number, text in enumerate(("The boat", "The market", "rice and")):
            context = [0, *made.encode(text)]
            row = logprobs(path, [*context, 1])[-1]
            for token in row.argsort(descending=True).tolist():  # the likeliest that stands by itself, or the item proves nothing
                end = made.decode([token])
                if "\ufffd" not in end and made.encode(text + end) == [*context[1:], token]:
                    break
            requests = tuple(Request(kind="loglikelihood", context=text, continuation=one) for one in (end, " zz"))
            found.append(Sample(sample=str(number), cluster=str(number), language="eng", requests=requests))
        return found

    return chosen


def test_errors_are_not_differences(path, capsys, monkeypatch):
    with serve(Fake(path)) as fake:
        fake.change = lambda choice: choice.pop("logprobs", None)
        assert run(fake) == 4
        assert "no log-probabilities" in capsys.readouterr().err
        fake.trouble = times(10**6, 500)
        assert run(fake, "--suite", "generate") == 4
        assert run(fake, "--suite", "sailing") == 4
        assert "no suite 'sailing' to compare on: there is perplexity, choice, generate" in capsys.readouterr().err
    assert main(["parity", str(path / "absent"), "--backends", "hf,hf"]) == 4
    for wrong in (["--backends", "hf"], ["--backends", "hf,"], ["--backends", "hf,hf", "--samples", "0"]):
        with pytest.raises(SystemExit, match="2"):
            main(["parity", str(path), *wrong])


def test_the_sample_is_always_the_same_and_of_the_size_asked_for():
    for count in (1, 4, 40):
        found = samples(("perplexity", "choice", "generate"), count)
        assert len(found) == 3 * count
        assert found == samples(("perplexity", "choice", "generate"), count)
    assert len({sample.language for sample in found}) == 15
    with pytest.raises(SuiteError, match="no suite"):
        samples(("ruler",), 3)


@pytest.mark.parametrize(
    ("values", "within"),
    [
        ({"largest": 1e-3}, True),
        ({"largest": 1.1e-3}, False),
        ({"largest": float("nan")}, False),
        ({"same_greedy": 0.95, "same_choice": 1.0}, True),
        ({"same_greedy": 0.9}, False),
        ({"same_choice": 0.9}, False),
        ({"same_text": 0.9}, False),
    ],
)
def test_what_is_within(values, within):
    one = Difference(kind="k", requests=3, **values)
    assert one.within(1e-3, 0.95) is within
    assert table([one]).splitlines()[1].split()[:2] == ["k", "3"]


def test_lm_eval_asks_a_server_through_the_same_journal(tmp_path, path):
    """Every backend is behind lm-eval's `LM`: the same three methods, the same numbers, and nothing asked twice."""
    from lm_eval.api.instance import Instance

    def instances(kind, *arguments):
        return [Instance(request_type=kind, doc={}, arguments=one, idx=0) for one in arguments]

    asked = {
        "loglikelihood": instances("loglikelihood", ("The boat", " to the"), ("The market", " by the river")),
        "loglikelihood_rolling": instances("loglikelihood_rolling", ("The boat leaves in the morning",)),
        "generate_until": instances("generate_until", ("The boat", {"until": ["\n"], "max_gen_toks": 5, "do_sample": False})),
    }
    answers = {}
    with serve(Fake(path)) as fake:
        for backend in ("hf", fake.url):
            journal = Journal(tmp_path / "store", "a" * 64)
            subject = Subject(path, journal, weights="a" * 64, tokenizer_digest="b" * 64, backend=backend)
            model = JournaledLM(subject)
            answers[backend] = {name: getattr(model, name)(requests) for name, requests in asked.items()}
            again = {name: getattr(model, name)(requests) for name, requests in asked.items()}
            assert again == answers[backend]
        assert len(fake.asked) == 4 + 1  # four requests and the probe
    ours, theirs = answers[fake.url], answers["hf"]
    assert [greedy for _, greedy in ours["loglikelihood"]] == [greedy for _, greedy in theirs["loglikelihood"]]
    for one, other in zip(ours["loglikelihood"], theirs["loglikelihood"], strict=True):
        assert one[0] == pytest.approx(other[0], abs=2e-4)
    assert ours["loglikelihood_rolling"] == pytest.approx(theirs["loglikelihood_rolling"], abs=2e-4)
    assert ours["generate_until"] == theirs["generate_until"]
