import dataclasses
import math

import jax
import numpy as np
import pytest
import reference

from jaxrnn.config import build, settings
from jaxrnn.data.streams import to_streams
from jaxrnn.models import interpolation
from jaxrnn.runs import testing
from jaxrnn.scoring import counting, evaluation, together
from jaxrnn.training.learner import reader

RATE = 0.2
FIXED = evaluation.DynamicSettings("sgd", (0.1,), 1)


def as_witness(model, params, key=5):
    """Weights and initial carry in float64; the carry is that of an evaluation with this key."""
    carry = reader(model).begin(params, jax.random.key(key)).carry
    return reference.to_float64(params), np.asarray(carry, np.float64)


def learning(model, rate, length=1):
    """An evaluation that goes on learning."""
    return evaluation.rate_evaluation(model, evaluation.DynamicSettings("sgd", (rate,), length))


def test_frozen_losses_are_those_of_the_witness(model, params, ids):
    losses = evaluation.frozen_evaluation(model)(params, ids, jax.random.key(5))
    np.testing.assert_allclose(losses, reference.read(*as_witness(model, params), ids), rtol=1e-5)


def test_dynamic_losses_are_those_of_the_witness(model, params, ids):
    losses = learning(model, RATE)(params, ids, jax.random.key(5))
    expected, _, _ = reference.train(*as_witness(model, params), ids, RATE)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_dynamic_evaluation_scores_a_character_before_it_learns_from_it(model, params, ids):
    """One step at an absurd rate ruins the model: the loss before it must not show that, the next one must."""
    frozen = evaluation.frozen_evaluation(model)(params, ids[:3], jax.random.key(5))
    dynamic = learning(model, 1e4)(params, ids[:3], jax.random.key(5))
    np.testing.assert_allclose(dynamic[0], frozen[0], rtol=1e-6)
    assert abs(dynamic[1] - frozen[1]) > 100


def test_evaluation_leaves_the_weights_as_they_are(model, params, ids):
    before = jax.tree.map(np.array, params)
    learning(model, RATE)(params, ids, jax.random.key(5))
    evaluation.frozen_evaluation(model)(params, ids, jax.random.key(5))
    jax.tree.map(np.testing.assert_array_equal, before, params)


def test_more_characters_than_one_call_takes_change_nothing(model, params, ids, monkeypatch):
    whole = learning(model, RATE)(params, ids, jax.random.key(5))
    monkeypatch.setattr(evaluation, "UPDATES_PER_CALL", 37)
    np.testing.assert_array_equal(learning(model, RATE)(params, ids, jax.random.key(5)), whole)


def test_texts_of_any_length_are_read_by_one_program(model, params, ids):
    learner, traces = reader(model), []

    def update(state, x, y):
        traces.append(1)
        return learner.update(state, x, y)

    read = evaluation._evaluation(learner._replace(update=update))
    whole = read(params, ids, jax.random.key(5))
    at_first = len(traces)
    for length in (2, 100, 399):
        np.testing.assert_array_equal(read(params, ids[:length], jax.random.key(5)), whole[: length - 1])
    assert len(traces) == at_first > 0


def test_means_are_summed_in_float64():
    losses = np.random.default_rng(0).uniform(1, 3, 1_000_000).astype(np.float32)
    assert evaluation.mean_nats(losses) == pytest.approx(math.fsum(losses.tolist()) / len(losses), rel=1e-13)


def test_the_three_numbers_are_those_of_the_witness():
    small = settings.PRESETS["notebook"]
    small = dataclasses.replace(
        small, text=settings.TextConfig(max_characters=2_000), model=settings.ModelConfig(hidden_size=8)
    )
    data = build.load_data(small)
    model = build.build_model(small, data.vocabulary)
    params = model.init(jax.random.key(7))
    carry = reader(model).begin(params, build.make_keys(small.run.seed).evaluation).carry
    weights, h = reference.to_float64(params), np.asarray(carry, np.float64)
    expected = {
        "train_nats": reference.read(weights, h, data.train).mean(),
        "heldout_nats": reference.read(weights, h, data.heldout).mean(),
        "heldout_dynamic_nats": reference.train(weights, h, data.heldout, FIXED.rates[0])[0].mean(),
    }
    found = counting.run_to_end(testing.measure(small, data, model, params, FIXED, testing.TestLimits()))
    numbers = (found.train_nats, found.scores.frozen_nats, found.scores.dynamic_nats)
    assert numbers == pytest.approx(tuple(expected.values()), rel=1e-4)
    assert found.scores.num_characters == len(data.heldout) - 1
    assert len({round(nats, 2) for nats in expected.values()}) == 3  # else one could stand for another


def test_a_block_is_scored_before_it_is_learned_from_and_no_character_is_left_out(model, params, ids):
    """The first block is scored with the weights as they are, the next by ruined ones; what fills no block is scored, too."""
    frozen = evaluation.frozen_evaluation(model)(params, ids[:12], jax.random.key(5))
    blocks = learning(model, 1e4, 4)(params, ids[:12], jax.random.key(5))
    assert blocks.shape == (11,)
    np.testing.assert_allclose(blocks[:4], frozen[:4], rtol=1e-5)
    assert (abs(blocks[4:] - frozen[4:]) > 10).any()
    slow = learning(model, 1e-12, 4)(params, ids[:12], jax.random.key(5))
    np.testing.assert_allclose(slow, frozen, rtol=1e-5)
    few = learning(model, 1e4, 64)(params, ids[:12], jax.random.key(5))
    np.testing.assert_allclose(few, frozen, rtol=1e-5)


def test_streams_are_read_in_parallel(model, params, ids):
    """Each of them as one stream would be read, from a carry of its own."""
    together = evaluation.frozen_evaluation(model, 3)(params, ids, jax.random.key(5))
    carries = reader(model, (3,)).begin(params, jax.random.key(5)).carry
    weights = reference.to_float64(params)
    alone = [
        reference.read(weights, np.asarray(h, np.float64), part) for h, part in zip(carries, to_streams(ids, 3).T, strict=True)
    ]
    np.testing.assert_allclose(together, np.mean(alone, axis=0), rtol=1e-5)


def test_the_best_of_the_candidates_is_chosen(model, params, ids, monkeypatch):
    monkeypatch.setattr(evaluation, "CANDIDATES", {"sgd": (1e-3, 0.5, 1e3), "adam": (1e-4,)})
    monkeypatch.setattr(evaluation, "mix_losses", lambda members: np.full(2, np.inf))
    key = jax.random.key(5)
    how, nats = evaluation.choose_dynamic(model, params, np.tile(ids[:20], 20), key, 2)
    assert how == evaluation.DynamicSettings("sgd", (0.5,), 2)
    expected = evaluation.mean_nats(learning(model, 0.5, 2)(params, np.tile(ids[:20], 20), key))
    assert nats == pytest.approx(expected, rel=1e-5)


def test_rates_are_mixed_where_now_one_and_now_another_is_best(model, params, ids, monkeypatch):
    """Half of the text repeats itself, which pays for a high rate, and half is noise, which punishes it."""
    monkeypatch.setattr(evaluation, "CANDIDATES", {"sgd": (0.02, 1.0)})
    text, key = np.concatenate([np.tile(ids[:10], 20), ids[:200]]), jax.random.key(5)
    how, nats = evaluation.choose_dynamic(model, params, text, key, 2)
    assert how == evaluation.DynamicSettings("sgd", (0.02, 1.0), 2)
    members = [learning(model, rate, 2)(params, text, key) for rate in how.rates]
    members = np.stack([evaluation.frozen_evaluation(model)(params, text, key), *members])
    assert nats == pytest.approx(interpolation.mix_online(members).mean(), rel=1e-4)
    assert nats < members.mean(1).min()
    losses = together.dynamic_evaluation(model, how)(params, text, key)
    assert len(losses) == members.shape[1]
    assert losses.mean() < members.mean(1).min()  # mixed from all probabilities, not from the losses alone


def test_a_diverged_member_of_a_mixture_is_practically_ignored():
    good, ill = np.full(50, 1.5), np.append(np.full(10, 1.4), np.full(40, np.nan))
    assert evaluation.mix_losses([good, ill])[20:].mean() == pytest.approx(1.5, abs=0.02)


def test_dynamic_settings_are_described_in_words():
    several = evaluation.DynamicSettings("adam", (1e-4, 3e-4, 1e-3), 16)
    assert evaluation.describe_dynamic(FIXED) == "sgd at rate 0.1"
    words = "adam at rates 0.0001, 0.0003 and 0.001, mixed with the frozen model, after blocks of 16"
    assert evaluation.describe_dynamic(several) == words
