"""The log with planted odd lines, how its lines are scored, and a small reading of it."""

import importlib
import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments"))
baselines, generator, reading, anomalies, drawn = (
    importlib.import_module(name)
    for name in ("anomaly_baselines", "anomaly_log", "anomaly_reading", "anomalies", "anomaly_picture")
)


@pytest.fixture(scope="module")
def log():
    return generator.write_log(seed=3, num_lines=2_000, first_odd=500, odd_per_kind=4)


def test_a_log_follows_from_its_seed(log):
    assert generator.write_log(3, 2_000, 500, 4) == log
    others = generator.write_log(4, 2_000, 500, 4).lines
    assert not set(log.lines) & set(others)


def test_odd_lines_are_planted_after_the_first_and_as_many_of_each_kind(log):
    assert len(log.lines) == 2_000
    assert min(log.planted) >= 500
    assert {kind: list(log.planted.values()).count(kind) for kind in generator.KINDS} == dict.fromkeys(generator.KINDS, 4)


def test_only_planted_lines_differ_from_those_of_a_log_without_any(log):
    plain = generator.write_log(3, 2_000, 500, 0).lines
    assert {i for i, (one, other) in enumerate(zip(log.lines, plain, strict=True)) if one != other} == set(log.planted)


def test_only_strange_characters_are_unknown(log):
    for i, line in enumerate(log.lines):
        unknown = any(character not in reading.VOCABULARY for character in line)
        assert unknown == (log.planted.get(i) == "strange characters")


def test_a_line_costs_what_its_characters_cost_beyond_the_limit():
    text = reading.encode(["ab", "cé"])
    nats = np.array([1.0, 5.0, 0.5, 9.0, 6.0])  # of a, b, line end, c, line end
    assert text.lengths.tolist() == [3, 3]
    expected = [1.0, 5.0 + (math.log(1_112_064) - 4.0) + 2.0]
    np.testing.assert_allclose(reading.score_lines(nats, text, above=4.0), expected)


def test_a_mixture_gives_the_mean_probability():
    mixed = reading.mix(-np.log([0.5, 0.1]), -np.log([0.1, 0.1]))
    np.testing.assert_allclose(np.exp(-mixed), [0.3, 0.1])


def test_precision_counts_planted_lines_among_the_oddest_after_the_first(log):
    scores = np.zeros(len(log.lines))
    scores[:500] = 10  # before the first that is ranked
    scores[list(log.planted)] = 5
    assert anomalies.top_lines(scores, 500, len(log.planted)) == sorted(log.planted)
    assert anomalies.top_lines(np.array([0.0, 3.0, 4.0, 3.0]), 1, 2) == [2, 1]  # of equal ones the earlier


def test_learning_predicts_better_than_random_weights(log):
    text, models = reading.encode(log.lines[:250]), reading.make_models(hidden_size=4, nodes=50_000)
    ids = text.ids[text.ids >= 0]
    network, counts = reading.read_learning(models, ids)
    off, nothing = reading.read_frozen(models, ids, 0, with_counts=False)
    assert nothing is None
    assert len(network) == len(counts) == len(off) == len(ids) - 1
    chance = math.log(len(reading.VOCABULARY))
    assert counts[-5_000:].mean() < 1.2
    assert network[-5_000:].mean() < chance - 0.8 < chance - 0.3 < off.mean()


def test_counts_that_learn_no_more_predict_what_they_had_learned(log):
    """The first character after what was counted costs the same, whether it will be counted or not."""
    ids = reading.encode(log.lines[:50]).ids
    model = reading.make_models(hidden_size=1, nodes=20_000).counts
    _, alone = reading.read_counts(model, model.init(), ids, learns=True)
    counts, _ = reading.read_counts(model, model.init(), ids[:1], learns=True)
    _, frozen = reading.read_counts(model, counts, ids, learns=False)
    np.testing.assert_allclose(frozen[0], alone[0], rtol=1e-5)
    assert frozen.mean() > alone.mean()


@pytest.mark.skipif(not importlib.util.find_spec("drain3"), reason="drain3 is not installed")
def test_a_template_that_occurs_once_is_the_rarest():
    scores = baselines.template_rarity(["job 1 done", "job 2 done", "no such file", "job 3 done"])
    np.testing.assert_allclose(scores, -np.log([3, 3, 1, 3]))


@pytest.mark.skipif(not importlib.util.find_spec("sklearn"), reason="scikit-learn is not installed")
def test_a_forest_finds_the_one_line_of_another_kind():
    lines = [f"job {i} done" for i in range(60)]
    lines[40] = "#### !!!! ????"
    assert int(np.argmax(baselines.forest(lines, samples=60))) == 40


def test_a_picture_keeps_the_highest_normal_line_of_each_part(log):
    scores = np.zeros(2_000)
    scores[[7, 8]] = 3, 4
    kept = drawn.shown(scores, log, 500, 20)
    assert kept["normal"][0] == 4
    assert sum(map(len, kept["odd"].values())) == 20
