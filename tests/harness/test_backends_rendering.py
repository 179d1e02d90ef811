"""From requests to token ids: one document prefix, one border for all choices of an item, and lm-eval's tokens for lm-eval's tasks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.backends.rendering import BackendError, Renderer, model_window
from harness.suites import Request, Sample
from tests.harness.checkpoints import TEXTS, checkpoint, tokenizer

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"


@pytest.fixture(scope="module")
def made():
    return tokenizer()


@pytest.fixture(scope="module")
def renderer(made):
    return Renderer(made, 64)


def sample(*requests: Request) -> Sample:
    return Sample(sample="one", cluster="one", language="eng", requests=requests)


def choice(context: str, continuation: str, **settings: object) -> Request:
    return Request(kind="loglikelihood", context=context, continuation=continuation, settings=settings)


def test_a_text_is_scored_after_the_document_separator(renderer, made):
    rendered = renderer.request(Request(kind="rolling", context=TEXTS[0]))
    assert rendered.context == (made.get_vocab()["<|endoftext|>"],)
    assert made.decode(rendered.continuation) == TEXTS[0]
    assert rendered.settings == {"window": 64, "stride": 32}


def test_the_prefix_falls_back_to_the_end_and_then_the_beginning_of_text(made):
    class Other:
        def __init__(self, eos, bos):
            self.eos_token_id, self.bos_token_id = eos, bos

        def get_vocab(self):
            return {"a": 0}

    assert Renderer(Other(7, 8), 64).prefix == 7
    assert Renderer(Other(None, 8), 64).prefix == 8
    with pytest.raises(BackendError, match="no prefix"):
        Renderer(Other(None, None), 64)


def test_a_special_token_that_a_text_spells_out_is_characters_as_in_training(renderer):
    rendered = renderer.request(Request(kind="rolling", context="rice<|endoftext|>fish"))
    assert renderer.prefix not in rendered.continuation
    assert renderer.tokenizer.decode(rendered.continuation) == "rice<|endoftext|>fish"


def test_a_suite_may_ask_for_a_shorter_window_never_for_a_longer_one(renderer):
    windows = [
        renderer.request(Request(kind="rolling", context="a b", settings={"window": given})).settings["window"] for given in (16, 999)
    ]
    assert windows == [16, 64]


texts = st.text(st.sampled_from("ab .,:\nตลาดxอ"), min_size=1, max_size=20)


@settings(max_examples=200, deadline=None)
@given(context=texts, choices=st.lists(texts, min_size=2, max_size=4, unique=True))
def test_the_choices_of_an_item_share_their_context_and_say_exactly_their_text(context, choices, renderer):
    rendered = renderer.sample(sample(*(choice(context, one) for one in choices)))
    assert len({one.context for one in rendered}) == 1
    decode = renderer.tokenizer.decode
    assert decode(rendered[0].context[1:]) == context
    assert [decode(one.continuation) for one in rendered] == choices
    assert len({one.border for one in rendered}) == 1


def test_a_border_that_the_tokenizer_merges_across_is_cut_for_the_whole_item(renderer):
    # "ma" + "ngo" is one word; " rice" is not touched by the border, but is encoded in the same way as its rival.
    merged, apart = renderer.sample(sample(choice("sells ma", "ngo"), choice("sells ma", " rice")))
    assert merged.border
    assert apart.border
    clean = renderer.sample(sample(choice("sells", " mango"), choice("sells", " rice")))
    assert not any(one.border for one in clean)
    assert clean[0].continuation == tuple(renderer.encode("sells mango")[len(renderer.encode("sells")) :])


def test_an_item_longer_than_the_window_is_cut_from_the_left_and_says_so(renderer):
    long = renderer.sample(sample(choice(TEXTS[0] * 3, " fish")))[0]
    assert len(long.context) + len(long.continuation) - 1 == 64
    assert long.truncated > 0
    whole = [renderer.prefix, *renderer.encode(TEXTS[0] * 3)]
    assert long.context == tuple(whole[long.truncated :])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(kind="rolling", context=""), "empty text"),
        (choice("a", ""), "empty continuation"),
        (Request(kind="generate", context="a", settings={"temperature": 1}), "temperature"),
        (Request(kind="generate", context="a", settings={"max_tokens": 0}), "max_tokens"),
        (Request(kind="rolling", context="\ud800"), "surrogates"),
        (choice('{"messages": []}', "x", chat=True), "chat template"),
        (Request(kind="other", context="a"), "kind"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_rendered_names_sample_and_mend(renderer, request_, message):
    with pytest.raises(BackendError, match=message) as caught:
        renderer.sample(sample(request_))
    assert "sample one" in str(caught.value)


def test_generation_leaves_room_for_what_is_generated(renderer):
    rendered = renderer.request(Request(kind="generate", context=TEXTS[0] * 4, settings={"max_tokens": 24, "stop": "\n"}))
    assert len(rendered.context) == 40
    assert rendered.settings == {"max_tokens": 24, "stop": ["\n"]}
    assert rendered.truncated > 0


@settings(max_examples=60, deadline=None)
@given(words=st.integers(0, 90), limit=st.integers(1, 300))
def test_any_generation_limit_fits_the_window_and_what_it_lost_is_counted(words, limit, renderer):
    """A limit beyond the window is cut to what the prompt leaves, and at worst shares the window with it: no item stops a run."""
    text = "rice " * words
    rendered = renderer.request(Request(kind="generate", context=text, settings={"max_tokens": limit}))
    prompt, given = [renderer.prefix, *renderer.encode(text)], rendered.settings["max_tokens"]
    assert 1 <= given <= limit
    assert len(rendered.context) + given <= 64
    assert rendered.context == tuple(prompt[len(prompt) - len(rendered.context) :])
    assert rendered.truncated == len(prompt) - len(rendered.context) + limit - given
    if limit >= 64:
        assert len(rendered.context) + given == 64
        assert given >= 32
    else:
        assert given == limit


def test_a_continuation_longer_than_the_window_is_scored_on_what_fits_and_counted(renderer):
    one, other = renderer.sample(sample(choice("a b", f" {TEXTS[0]}" * 9), choice("a b", " fish")))
    before = renderer.encode("a b")
    after = renderer.encode("a b" + f" {TEXTS[0]}" * 9)[len(before) :]
    assert not one.border
    assert (one.context, one.continuation) == ((before[-1],), tuple(after[:64]))
    assert one.truncated == 1 + len(before) + len(after) - 65
    assert other.truncated == 0


def test_a_conversation_is_rendered_by_the_tokenizers_own_template():
    renderer = Renderer(tokenizer(chat_template=TEMPLATE), 64)
    talk = json.dumps({"messages": [{"role": "user", "content": "rice?"}], "add_generation_prompt": True})
    rendered = renderer.request(Request(kind="generate", context=talk, settings={"max_tokens": 4, "chat": True}))
    assert renderer.tokenizer.decode(rendered.context) == "<user>rice?<assistant>"
    other = Renderer(tokenizer(chat_template=TEMPLATE.replace("<", "[")), 64)
    assert other.request(Request(kind="generate", context=talk, settings={"max_tokens": 4, "chat": True})).context != rendered.context


@pytest.mark.parametrize("adds", [False, True], ids=["plain", "adding"])
@pytest.mark.parametrize("encoding", ["", "lm_eval"])
def test_a_template_that_writes_a_beginning_gives_exactly_one(adds, encoding):
    """Neither our prefix nor the one that a tokenizer puts before every text stands beside the template's."""
    from tokenizers import processors

    made = tokenizer(chat_template="<|endoftext|>" + TEMPLATE)
    if adds:
        made.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", made.eos_token_id)]
        )
        assert made.encode("a")[0] == made.eos_token_id
    one = Renderer(made, 64)
    talk = json.dumps({"messages": [{"role": "user", "content": "rice?"}]})
    settings = {"chat": True} | ({"encoding": encoding} if encoding else {})
    asked = one.request(Request(kind="generate", context=talk, settings={"max_tokens": 4, **settings}))
    scored = one.request(choice(talk, "fish", **settings))
    for rendered in (asked, scored):
        assert rendered.context[0] == made.eos_token_id
        assert [*rendered.context, *rendered.continuation].count(made.eos_token_id) == 1


@pytest.fixture(scope="module")
def lm_eval_model():
    from lm_eval.models.huggingface import HFLM

    return HFLM(str(checkpoint()), device="cpu", batch_size=1)


@settings(max_examples=60, deadline=None)
@given(context=texts, continuation=texts)
def test_lm_eval_tasks_have_lm_evals_tokens(context, continuation, renderer, lm_eval_model):
    context = context.strip() and context
    if not context:
        return
    before, after = lm_eval_model._encode_pair(context, continuation)
    if not after:  # merged across the border away to nothing: lm-eval fails on it, too
        return
    rendered = renderer.request(choice(context, continuation, encoding="lm_eval"))
    assert [*rendered.context[-len(before) :]] == before
    assert [*rendered.continuation] == after


def test_the_window_is_the_configs(tmp_path):
    assert model_window(checkpoint(context=64)) == 64
    for text in ("{}", "not json"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(BackendError, match=r"config\.json"):
            model_window(tmp_path)
