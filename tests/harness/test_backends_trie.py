"""The trie of sequences: every node once, every prediction once, every token seen by whom it should be; batches keep to their budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.backends.trie import LEAST, Line, nodes, plan


@st.composite
def lines(draw):
    """Lines that begin alike, go on alike, contain each other or are equal: drawn over two tokens, after a few stems."""
    stems = draw(st.lists(st.lists(st.integers(0, 1), max_size=30), min_size=1, max_size=3))
    made = []
    for _ in range(draw(st.integers(1, 12))):
        tail = draw(st.lists(st.integers(0, 1), min_size=2, max_size=9))
        tokens = tuple(stem for _ in range(draw(st.integers(0, 2))) for stem in draw(st.sampled_from(stems))) + tuple(tail)
        made.append(Line(tokens, draw(st.integers(1, len(tokens) - 1))))
    return made


@given(lines(), st.integers(1, 60), st.sampled_from([1, 3, LEAST]))
def test_every_prediction_is_made_once_by_a_state_that_has_seen_its_line_and_nothing_else(found, budget, least):
    kept: dict[int, list[tuple[int, int]]] = {}
    predicted: dict[int, dict[int, int]] = {index: {} for index in range(len(found))}
    finished: list[int] = []
    for batch in plan(found, budget, least):
        assert 0 < len(batch.tokens) <= budget
        assert sorted(batch.picks.tolist()) == batch.picks.tolist()
        read = list(zip(batch.positions.tolist(), batch.tokens.tolist(), strict=True))
        seen: list[list[tuple[int, int]]] = [[] for _ in read]
        for name, until in batch.past:
            for column in range(until):
                seen[column] += kept[name]
        at = 0
        for span in batch.spans:
            assert span.begin == at
            at = span.end
            for column in range(span.begin, span.end):
                seen[column] += read[span.begin : column + 1]
            for column in range(span.end, span.until):
                seen[column] += read[span.begin : span.end]
        assert at == len(read)
        kept |= {span.name: read[span.begin : span.end] for span in batch.spans}
        kept = {name: tokens for name, tokens in kept.items() if name in batch.keep}
        for row, target, owner in zip(batch.rows.tolist(), batch.targets.tolist(), batch.owners.tolist(), strict=True):
            column = batch.picks[row]
            position, line = read[column][0], found[owner]
            assert sorted(seen[column]) == list(enumerate(line.tokens[: position + 1]))
            assert target == line.tokens[position + 1]
            assert position not in predicted[owner]
            assert owner not in finished
            predicted[owner][position] = target
        finished += batch.finished
    assert sorted(finished) == list(range(len(found)))
    assert not kept
    for index, line in enumerate(found):
        assert sorted(predicted[index]) == list(range(line.first - 1, len(line.tokens) - 1))


@given(lines())
def test_without_a_least_length_every_beginning_is_read_once(found):
    ordered = sorted(found, key=lambda line: line.tokens[:-1])
    different = {line.tokens[:end] for line in found for end in range(1, len(line.tokens))}
    assert sum(node.end - node.begin for node in nodes(ordered, 1)) == len(different)


def test_shots_passages_questions_and_choices_are_levels():
    shots, passage = tuple(range(100, 140)), tuple(range(200, 230))
    questions = [tuple(range(start, start + 10)) for start in (300, 400)]
    found = sorted(
        (shots + passage + question + choice for question in questions for choice in ((1, 2, 3), (1, 5, 6), (7, 8), (9,))),
        key=lambda tokens: tokens[:-1],
    )
    made = nodes([Line(tokens, 81) for tokens in found])
    assert [(node.begin, node.end, node.parent) for node in made[:2]] == [(0, 70, -1), (70, 80, 0)]  # both questions have one passage
    assert [node.parent for node in made].count(1) == 3  # the choices that read a token; their common first token is not worth a node
    assert sum(node.end - node.begin for node in made) == 40 + 30 + 2 * (10 + 2 + 2 + 1)


def test_choices_of_one_token_cost_nothing_even_after_a_short_context():
    made = nodes([Line((1, 2, 3, answer), 3) for answer in range(5)])
    assert [(node.begin, node.end, node.low, node.high) for node in made] == [(0, 3, 0, 5)]
