"""Reading a text with network and counts together, and testing on the parts of a text."""

import dataclasses
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_mixed import mix_counts_alone

from jaxrnn import elman
from jaxrnn.config import build, settings
from jaxrnn.data import text as texts
from jaxrnn.models.count_tree import TOTAL
from jaxrnn.models.counts import count_model
from jaxrnn.runs import limits, testing
from jaxrnn.scoring import counting, evaluation, together
from jaxrnn.scoring.evaluation import DynamicSettings
from jaxrnn.training.drivers import fast_driver
from jaxrnn.training.mixed import Columns

V = 7  # characters of the common model
KEY = 5
HOW = {length: DynamicSettings("sgd", (0.1, 0.3), length) for length in (1, 16)}
ONE_RATE = DynamicSettings("sgd", (0.1,), 16)
COUNTS = (count_model(V, 3, 3_000), count_model(V, 2, 3_000, begins=np.arange(V) == 1))
FIXED = DynamicSettings("sgd", (0.1,), 1)
PIECES = 3
MODEL = elman(V, 5)


@pytest.fixture(scope="module")
def readers(model):
    return {how: together.make_reader(model, how, COUNTS) for how in (*HOW.values(), ONE_RATE)}


def read_all(reader, params, ids, before=()):
    counted = counting.read_before(MODEL, COUNTS, before) if len(before) else None
    return list(together.read_on(reader, params, counted, ids, jax.random.key(KEY)))


def joined(pieces):
    """The columns of all pieces."""
    return Columns(*map(np.concatenate, zip(*pieces, strict=True)))


@pytest.fixture(scope="module")
def read(readers, params, ids):
    """What was read of 60 characters in blocks of 16: the last eleven fill none."""
    return read_all(readers[HOW[16]], params, ids[:60])


@pytest.mark.parametrize(("length", "size", "lengths"), [(1, 60, [32, 27]), (16, 60, [32, 27]), (16, 5, [4])])
def test_each_character_but_the_first_is_scored(readers, params, ids, length, size, lengths):
    before, updates = jax.tree.map(np.array, params), 32 // length  # 32 characters at a time
    reader = readers[HOW[length]]
    reader = reader._replace(drive=fast_driver(reader.learner, updates), updates=updates)
    pieces = read_all(reader, params, ids[:size])
    assert [[len(column) for column in piece] for piece in pieces] == [[each] * 5 for each in lengths]
    assert all(np.isfinite(column).all() for piece in pieces for column in piece)
    jax.tree.map(np.testing.assert_array_equal, before, params)


def test_each_network_is_what_it_is_alone_to_the_last_character(read, model, params, ids):
    frozen = evaluation.frozen_evaluation(model)(params, ids[:60], jax.random.key(KEY))
    evaluate = evaluation.rate_evaluation(model, HOW[16])
    learning = [evaluate(params, ids[:60], jax.random.key(KEY), rate) for rate in HOW[16].rates]
    np.testing.assert_allclose(joined(read).networks, np.stack([frozen, *learning], axis=1), rtol=2e-5)


def test_counts_go_on_from_the_text_before(readers, read, params, ids):
    """Read on, they are what they are after having read all from its beginning; what fills no block is counted, too."""
    found = joined(read_all(readers[HOW[16]], params, ids[25:60], ids[:25]))
    np.testing.assert_allclose(found.counts, joined(read).counts[25:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "most_mixed", "mixed"), [(65, 1_000, 64), (60, 1_000, 48), (60, 20, 16), (60, 3, 0)])
def test_before_a_text_all_is_counted_and_its_end_is_mixed(ids, size, most_mixed, mixed):
    known = counting.read_before(MODEL, COUNTS, ids[:size], most_mixed)
    states, _, mixture, nats = mix_counts_alone(ids[:size], COUNTS, mixed)
    jax.tree.map(np.testing.assert_array_equal, known.memory.counts, states)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), known.memory.mixture, mixture)
    assert int(known.memory.mixture.num_read) == mixed
    np.testing.assert_allclose(known.nats, nats[mixed // 2 :].mean() if mixed else np.inf, rtol=1e-4)


@pytest.mark.parametrize(("least", "mixed"), [(1_000, 64), (33, 48), (17, 32), (0, 0)])
def test_without_time_counts_are_mixed_over_the_least_of_the_text(ids, monkeypatch, least, mixed):
    monkeypatch.setattr(counting, "MIXED_PER_CALL", 16)
    monkeypatch.setattr(counting, "LEAST_MIXED", least)
    known = counting.read_before(MODEL, COUNTS, ids[:65], seconds=0.0)
    assert int(known.memory.mixture.num_read) == mixed
    assert [int(counts.nodes[0, TOTAL]) for counts in known.memory.counts] == [
        int(counts.nodes[0, TOTAL]) for counts in counting.read_before(MODEL, COUNTS, ids[:65]).memory.counts
    ]


@pytest.mark.parametrize("size", [0, 1])
def test_before_a_text_there_can_be_nothing(readers, params, ids, size):
    """One character can be counted; that it was there changes what the counts say of the next ones."""
    known, new = (
        counting.read_before(MODEL, COUNTS, ids[:size]),
        together.make_reader(MODEL, None, COUNTS).begin(None, {}, jax.random.key(0), None).memory,
    )
    jax.tree.map(np.testing.assert_array_equal, known.memory.mixture, new.mixture)
    assert [int(counts.nodes[0, TOTAL]) for counts in known.memory.counts] == [size, size]
    found = joined(list(together.read_on(readers[HOW[16]], params, known, ids[:60], jax.random.key(KEY))))
    without = joined(read_all(readers[HOW[16]], params, ids[:60]))
    np.testing.assert_array_equal(found.networks, without.networks)
    assert (found.of_counts == without.of_counts).all() == (size == 0)


@pytest.mark.parametrize("length", [1, 16])
@pytest.mark.parametrize("size", [0, 1])
def test_of_an_empty_text_nothing_is_scored(readers, params, ids, size, length):
    assert read_all(readers[HOW[length]], params, ids[:size]) == []


def test_without_a_network_counts_are_what_they_are_beside_one(read, params, ids):
    found, beside = joined(read_all(together.make_reader(MODEL, None, COUNTS), params, ids[:60])), joined(read)
    assert found.networks.shape == (59, 0)
    np.testing.assert_allclose(found.counts, beside.counts)
    for column in (found.of_networks, found.of_counts, found.of_all):
        np.testing.assert_allclose(column, beside.of_counts, rtol=1e-3)


def test_a_single_rate_is_the_network_itself(readers, model, params, ids):
    pieces = read_all(readers[ONE_RATE], params, ids[:60])
    scores, found = together.mean_scores(pieces), joined(pieces)
    alone = together.dynamic_evaluation(model, ONE_RATE)(params, ids[:60], jax.random.key(KEY))
    assert scores.num_characters == 59
    assert scores.dynamic_nats == pytest.approx(alone.mean(), rel=1e-5)
    assert scores.dynamic_nats != pytest.approx(found.of_networks.mean(), rel=1e-5)


def test_several_rates_are_their_mixture(read):
    scores, found = together.mean_scores(read), joined(read)
    columns = found.networks[:, 0], found.of_networks, found.of_counts, found.of_all
    assert scores == (59, *(pytest.approx(column.mean(dtype=np.float64), rel=1e-6) for column in columns))
    assert len({round(nats, 4) for nats in scores[1:]}) == 4  # else one could stand for another


def test_words_end_where_neither_letter_nor_digit_stands():
    characters, written = "\n '0aé", "a0 é'a\na"
    by_words = counting.make_counts(characters, 100)[1]
    expected = count_model(6, counting.WORDS, 908, begins=np.array([True, True, True, False, False, False]))
    contexts = []
    for model in (by_words, expected):
        state = model.init()
        for character in written:
            state, _ = model.learn(state, jnp.int32(characters.index(character)))
        contexts.append(state.contexts)
    np.testing.assert_array_equal(*contexts)
    assert len(set(contexts[0].tolist())) > 2


@pytest.fixture(scope="module")
def tested():
    """Settings, text, model and weights of a run with several validation pieces."""
    small = settings.PRESETS["notebook"]
    small = dataclasses.replace(
        small,
        text=settings.TextConfig(max_characters=4_000, validation_fraction=0.1, validation_pieces=PIECES, heldout_fraction=0.3),
        model=settings.ModelConfig(hidden_size=8),
    )
    data = build.load_data(small)
    model = build.build_model(small, data.vocabulary)
    return small, data, model, model.init(jax.random.key(7))


def measuring(small, data, model, params, characters=0, seconds=math.inf, expected=None):
    return testing.measure(small, data, model, params, FIXED, testing.TestLimits(characters, seconds), expected)


def noted(test):
    """What a test has said, and what it has found."""
    events, found = [], []

    def run():
        found.append((yield from test))

    events.extend(run())
    return events, *found


def test_a_test_counts_all_that_stands_before_the_heldout_part(tested):
    """Training and validation part in the order of the text."""
    small, data, model, params = tested
    events, found = noted(measuring(*tested))
    ids = texts.read_ids("comedie", 4_000).ids
    counts = counting.make_counts(data.vocabulary.characters, len(ids))
    reader, key = together.make_reader(model, FIXED, counts), build.make_keys(small.run.seed).evaluation
    counted = counting.read_before(model, counts, ids[:2_800])
    expected = together.mean_scores(list(together.read_on(reader, params, counted, ids[2_800:], key)))
    assert found.scores == pytest.approx(expected, rel=1e-6)
    assert found.scores.num_characters == 1_199
    assert found.train_characters == len(data.train) - 1
    assert [(event.part, event.characters, event.of) for event in events] == [
        ("training text", 2_399, 2_399),
        ("counting", 0, 0),
        ("held-out text", 1_000, 1_199),
        ("held-out text", 1_199, 1_199),
    ]


@pytest.mark.parametrize(("characters", "scored"), [(1, 1), (5_000, 1_199)])
def test_a_limit_of_characters_tests_exactly_so_many(tested, characters, scored):
    found = counting.run_to_end(measuring(*tested, characters=characters))
    assert found.scores.num_characters == scored


def test_of_streams_all_characters_are_told(tested):
    small, *others = tested
    small = dataclasses.replace(small, learning=dataclasses.replace(small.learning, num_streams=3))
    event = next(measuring(small, *others))
    assert event == ("training text", 2_397, 2_397)


def test_without_time_the_least_is_tested_and_said(tested, monkeypatch):
    monkeypatch.setattr(together, "UPDATES_PER_CALL", 2_600)  # 260 characters at a time
    monkeypatch.setattr(together, "make_reader", inspect.unwrap(together.make_reader))  # none that another test has made
    for module in (limits, testing):
        monkeypatch.setattr(module, "LEAST_HELDOUT", 1_000)
    found = counting.run_to_end(measuring(*tested, seconds=0.0))
    assert found.scores.num_characters == 1_040
    assert found.train_characters == 2_399  # all of so short a text
    small, data, model, params = tested
    key = build.make_keys(small.run.seed).evaluation
    frozen = evaluation.frozen_evaluation(model)(params, data.heldout[:1_041], key)
    assert found.scores.frozen_nats == pytest.approx(frozen.mean(), rel=1e-5)
    assert found.counted_characters == 1_000  # of 2,800


@pytest.mark.parametrize(("seconds", "optimizer"), [(testing.SECONDS_FOR_ALL, "sgd"), (10.0, "adam")])
def test_in_a_hurry_one_optimizer_is_tried(tested, monkeypatch, seconds, optimizer):
    monkeypatch.setattr(evaluation, "CANDIDATES", {"sgd": (0.1,), "adam": (1e3,)})  # a rate that loses
    small, data, model, params = tested
    small = dataclasses.replace(small, evaluation=settings.EvaluationConfig(dynamic="auto"))
    assert testing.resolve_dynamic(small, data, model, params, seconds).optimizer == optimizer


def test_another_text_is_scored_without_any_before(tested):
    small, data, model, params = tested
    ids, characters = texts.read_ids("comedie", 4_000).ids, data.vocabulary.characters
    scores = counting.run_to_end(testing.score(small, characters, model, params, ids, FIXED))
    reader = together.make_reader(model, FIXED, counting.make_counts(characters, 4_000))
    key = build.make_keys(small.run.seed).evaluation
    expected = together.mean_scores(list(together.read_on(reader, params, None, ids, key)))
    assert scores == pytest.approx(expected, rel=1e-6)
    assert scores.num_characters == 3_999


@pytest.mark.parametrize("characters", [60, 200, 1_199])
def test_a_network_that_is_known_to_have_learned_nothing_costs_little(tested, characters):
    scores, unknown = (
        counting.run_to_end(measuring(*tested, characters=characters, expected=nats)).scores for nats in (4.0, None)
    )
    assert scores.frozen_nats > scores.counts_nats + 1
    assert scores.mixed_nats <= scores.counts_nats + 0.01
    assert scores.mixed_nats < unknown.mixed_nats


def test_of_another_text_counts_know_nothing_yet(tested):
    small, data, model, params = tested
    scores = [
        counting.run_to_end(testing.score(small, data.vocabulary.characters, model, params, data.heldout[:100], FIXED, nats))
        for nats in (1.0, None)
    ]
    assert scores[0].counts_nats == scores[1].counts_nats
    assert abs(scores[0].mixed_nats - scores[0].frozen_nats) < abs(scores[1].mixed_nats - scores[1].frozen_nats)


@pytest.mark.parametrize(("nats", "counts_nats", "least", "most"), [
    (None, 1.0, 0.5, 0.5), (math.nan, 1.0, 0.5, 0.5),
    (1.2, 1.2, 0.5, 0.5), (1.0, 1.2, 0.7, 0.8), (1.2, 1.0, 0.2, 0.3), (3.5, 2.0, 0.0, 0.02),
    (1.3, math.inf, 0.98, 1.0), (math.inf, 1.0, 0.0, 0.02), (1e9, 1.0, 0.0, 0.02),
])  # fmt: skip
def test_network_and_counts_share_the_mixture_at_first_as_well_as_they_predict(nats, counts_nats, least, most):
    share = together._share_of_network(nats, counts_nats)
    assert 0 < share < 1
    assert least - 1e-9 <= share <= most + 1e-9
