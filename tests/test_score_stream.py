"""A stream is scored as it comes: however it is cut, the scores and what is learned are those of reading it at once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import HIDDEN, VOCAB
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrnn import network
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.models.counts import count_model
from jaxrnn.scoring import evaluation, pieces, stream, together
from jaxrnn.scoring.evaluation import DynamicSettings
from jaxrnn.scoring.pieces import Pending, Place, ScoredText
from jaxrnn.training.mixed import online_with_counts

KEY = jax.random.key(5)
WAYS = {
    "off": None,
    "one rate": DynamicSettings("sgd", (0.2,), 1),
    "blocks": DynamicSettings("adam", (0.01,), 7),
    "several rates": DynamicSettings("sgd", (0.05, 0.5), 4),
}


@pytest.fixture(scope="module", params=WAYS)
def way(request, model):
    """How the network learns, a scorer, and an evaluation of a whole text."""
    how = WAYS[request.param]
    if how is None:
        return stream.frozen_scorer(model), evaluation.frozen_evaluation(model)
    return stream.learning_scorer(model, how), together.dynamic_evaluation(model, how)


def read_in_cuts(scorer, params, ids, lengths):
    read, at = stream.make_read(scorer), 1
    position, found = stream.start_stream(scorer, params, KEY, int(ids[0])), []
    for length in lengths:
        position, scored = read(position, ids[at : at + length])
        assert len(scored.nats) == len(scored.of_networks) == len(ids[at : at + length])
        found.append(scored)
        at += length
    return position, found


def test_however_a_stream_is_cut_its_scores_are_those_of_an_evaluation(way, params, ids):
    scorer, evaluate = way
    expected = evaluate(params, ids[:101], KEY)
    lengths = [1, 0, 2, 30, 1, 1, 5, 60]
    cut, found = read_in_cuts(scorer, params, ids[:101], lengths)
    whole, _ = read_in_cuts(scorer, params, ids[:101], [100])
    np.testing.assert_allclose(np.concatenate([each.nats for each in found]), expected, rtol=1e-6)
    np.testing.assert_array_equal(cut.unread, whole.unread)
    jax.tree.map(np.testing.assert_array_equal, cut.state, whole.state)


def test_more_than_one_call_takes_changes_nothing(model, params, ids, monkeypatch):
    scorer = stream.learning_scorer(model, WAYS["blocks"])
    whole, found = read_in_cuts(scorer, params, ids, [399])
    monkeypatch.setattr(stream, "CHARACTERS_PER_CALL", 21)
    again, others = read_in_cuts(scorer, params, ids, [399])
    np.testing.assert_array_equal(found[0].nats, others[0].nats)
    jax.tree.map(np.testing.assert_array_equal, whole.state.params, again.state.params)


def test_a_frozen_network_learns_nothing_and_the_others_do(way, params, ids):
    scorer, _ = way
    position, found = read_in_cuts(scorer, params, ids[:101], [100])
    losses = np.concatenate([each.of_networks for each in found]).sum(axis=0)
    learned = stream.learned_params(scorer, position, losses.tolist())
    changed = any(bool((a != b).any()) for a, b in zip(*map(jax.tree.leaves, (learned, params)), strict=True))
    assert changed == (losses.size > 0)


def test_of_several_networks_the_one_that_predicts_best_is_kept(model, params, ids):
    scorer = stream.learning_scorer(model, WAYS["several rates"])
    position, found = read_in_cuts(scorer, params, ids, [399])
    losses = found[0].of_networks.sum(axis=0)
    for best in (0, 1):
        kept = stream.learned_params(scorer, position, np.where(np.arange(2) == best, losses.min() - 1, losses).tolist())
        alone = stream.learning_scorer(model, DynamicSettings("sgd", (WAYS["several rates"].rates[best],), 4))
        of_one, _ = read_in_cuts(alone, params, ids, [399])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), kept, of_one.state.params)


@pytest.mark.parametrize("name", WAYS)
def test_what_was_expected_is_the_prediction_before_each_character(model, params, ids, name):
    how = WAYS[name]
    scorer = stream.frozen_scorer(model) if how is None else stream.learning_scorer(model, how)
    read = stream.make_read(scorer, model)
    _, scored = read(stream.start_stream(scorer, params, KEY, int(ids[0])), ids[1:30])
    _, plain = read_in_cuts(scorer, params, ids[:30], [29])
    np.testing.assert_allclose(scored.nats, plain[0].nats, rtol=1e-6)
    assert scored.expected
    assert scored.expected.ids.shape == scored.expected.p.shape == (29, 5)
    assert (np.diff(scored.expected.p, axis=1) <= 0).all()
    of_network = scored.nats if scored.of_networks.shape[1] == 0 else scored.of_networks[:, 0]
    for ids_here, p, came, nats in zip(*scored.expected, ids[1:30], of_network, strict=True):
        if came in ids_here:
            assert p[list(ids_here).index(came)] == pytest.approx(np.exp(-nats), rel=1e-5)


def test_a_learner_goes_on_with_what_it_has_counted(params, ids):
    model = network("gru", VOCAB, HIDDEN)
    counts = (count_model(VOCAB, capacity=3_000),)
    learner = online_with_counts(model, 4, optax.sgd(0.1), counts)
    state = jax.jit(learner.init)(KEY)
    for start in range(0, 200, 4):
        state, _ = jax.jit(learner.update)(state, *(jnp.asarray(ids[start + shift : start + shift + 4]) for shift in (0, 1)))
    scorer = stream.resuming_scorer(learner, state)
    cut, found = read_in_cuts(scorer, state.params, ids[200:301], [3, 50, 1, 46])
    fresh = stream.resuming_scorer(learner, jax.jit(learner.init)(KEY))
    _, unlearned = read_in_cuts(fresh, fresh.begin(state.params, KEY).params, ids[200:301], [100])
    again = learner.restart(state, KEY)
    expected = []
    for start in range(200, 300, 4):
        again, losses = jax.jit(learner.update)(
            again, *(jnp.asarray(ids[start + shift : start + shift + 4]) for shift in (0, 1))
        )
        expected.append(losses)
    np.testing.assert_allclose(np.concatenate([each.nats for each in found]), np.concatenate(expected), rtol=1e-5)
    assert np.abs(unlearned[0].nats - np.concatenate(expected)).max() > 0.1
    np.testing.assert_array_equal(cut.state.params["readout"]["kernel"], again.params["readout"]["kernel"])


def fixed_scores(characters):
    """A score for each character that depends on it alone, and on nothing that is cut."""
    return np.array([ord(character) % 11 + 0.25 for character in characters], np.float32)


@given(
    st.text("ab\n\té", max_size=60),
    st.lists(st.integers(0, 9), min_size=1, max_size=12),
    st.sampled_from(["line", "document", "character"]),
)
@settings(max_examples=150, deadline=None)
def test_pieces_are_those_of_the_whole_text_however_it_comes(text, lengths, kind):
    pending, found, at = Pending(), [], 0
    for length in [*lengths, len(text)]:
        part = text[at : at + length]
        completed, pending = pieces.cut(kind, "f", pending, ScoredText(part, fixed_scores(part)))
        found, at = found + completed, at + length
    found += pieces.finish(kind, "f", pending)
    whole = {"line": text.split("\n"), "document": [text], "character": list(text)}[kind]
    expected = [line + "\n" for line in whole[:-1]] + whole[-1:] if kind == "line" else whole
    expected = [each for each in expected if each]
    assert [piece.num_characters for piece in found] == [len(each) for each in expected]
    start = 0
    for piece, characters in zip(found, expected, strict=True):
        scores = fixed_scores(characters)
        peak = start + int(scores.argmax())
        line, column = text.count("\n", 0, peak) + 1, peak - (text.rfind("\n", 0, peak) + 1) + 1
        assert (piece.line, piece.column) == (line, column)
        assert piece.nats == pytest.approx(scores.sum())
        if kind != "document":
            assert piece.text.characters == characters
            np.testing.assert_array_equal(piece.text.nats, scores)
        start += len(characters)


def test_a_line_without_an_end_is_cut(monkeypatch):
    monkeypatch.setattr(pieces, "MOST_CHARACTERS", 10)
    pending, found = Pending(), []
    for _ in range(7):
        completed, pending = pieces.cut("line", "f", pending, ScoredText("abcd", np.arange(4, dtype=np.float32)))
        assert len(pending.line.characters) < 10
        found += completed
    assert [piece.num_characters for piece in found] == [10, 10]
    assert [(piece.line, piece.column) for piece in found] == [(1, 4), (1, 12)]
    assert pending.place == Place(1, 21)


def test_unknown_characters_are_charged_and_not_read(model, params):
    known = Vocabulary("abcdefg")
    scorer = stream.frozen_scorer(model)
    read = stream.make_read(scorer, model)
    start = lambda: stream.start_stream(scorer, params, KEY, 0)  # noqa: E731
    _, with_unknown, scored = pieces.score_characters(read, start(), known, "ab€c\udc80")
    _, without, _ = pieces.score_characters(read, start(), known, "abc")
    assert len(scored.nats) == 3
    np.testing.assert_array_equal(with_unknown.nats[[0, 1, 3]], without.nats)
    np.testing.assert_allclose(with_unknown.nats[[2, 4]], np.log(1_112_064), rtol=1e-6)
    assert with_unknown.expected
    assert without.expected
    np.testing.assert_array_equal(with_unknown.expected.ids[[2, 4]], -1)
    np.testing.assert_array_equal(with_unknown.expected.ids[[0, 1, 3]], without.expected.ids)


def test_no_program_of_a_stream_is_a_scan(model, params, ids):
    for how in WAYS.values():
        scorer = stream.frozen_scorer(model) if how is None else stream.learning_scorer(model, how)
        learner = scorer.learner
        state = jax.eval_shape(learner.init, KEY)
        block = jax.ShapeDtypeStruct((learner.length,), jnp.int32)
        assert " scan[" not in str(jax.make_jaxpr(learner.update)(state, block, block))
