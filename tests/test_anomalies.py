"""The log with planted odd lines, how its lines are scored, and a small reading of it."""

import importlib
import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments"))
baselines, generator, reading, anomalies = (
    importlib.import_module(name) for name in ("anomaly_baselines", "anomaly_log", "anomaly_reading", "anomalies")
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
        unknown = any(character not in reading.KNOWN.characters for character in line)
        assert unknown == (log.planted.get(i) == "strange characters")


def test_a_line_costs_what_its_characters_cost_beyond_the_limit():
    nats = np.array([1.0, 5.0, 0.5, 9.0, 6.0])  # of a, b, line end, c, line end
    expected = [1.0, 5.0 + (math.log(1_112_064) - 4.0) + 2.0]
    np.testing.assert_allclose(reading.score_lines(["ab", "cé"], nats), expected, rtol=1e-6)


@pytest.mark.parametrize("stamp", ["2026-03-02 14:05:59", "Mar 02 14:05:59", "[02/Mar/2026:14:05:59.250]"])
def test_a_time_stamp_costs_nothing_where_a_line_begins_with_it(stamp):
    lines = [f"{stamp} a", f"a {stamp}", f"{stamp[:-2]}x{stamp[-1:]} a"]
    nats = np.full(sum(len(line) + 1 for line in lines), 5.0)  # one beyond the limit, each
    assert reading.score_lines(lines, nats, reading.TIME_STAMP).tolist() == [3, len(lines[1]) + 1, len(lines[2]) + 1]
    assert reading.score_lines(lines, nats).tolist() == [len(line) + 1 for line in lines]


def test_every_line_of_a_log_begins_with_a_time_stamp_that_can_be_ignored():
    for seed in range(6):  # all three headers
        lines = generator.write_log(seed, 300, 100, 0).lines
        assert all(reading.TIME_STAMP.match(line) for line in lines)


def test_precision_counts_planted_lines_among_the_oddest_after_the_first(log):
    scores = np.zeros(len(log.lines))
    scores[:500] = 10  # before the first that is ranked
    scores[list(log.planted)] = 5
    assert anomalies.top_lines(scores, 500, len(log.planted)) == sorted(log.planted)
    assert anomalies.top_lines(np.array([0.0, 3.0, 4.0, 3.0]), 1, 2) == [2, 1]  # of equal ones the earlier


@pytest.fixture(scope="module")
def learned(log):
    """Ids, models, and nats while learning."""
    ids = anomalies.known_ids(log._replace(lines=log.lines[:250]))
    models = reading.make_models(len(ids), hidden_size=4)
    return ids, models, reading.read_learning(models, ids)[1]


def test_learning_predicts_better_than_random_weights(learned):
    ids, models, nats = learned
    off = reading.read_untrained(models, ids)
    assert len(nats.of_all) == len(off) == len(ids) - 1
    network, chance = nats.networks[:, 0], math.log(len(reading.KNOWN.characters))
    assert nats.of_all[-5_000:].mean() < nats.of_counts[-5_000:].mean() + 0.05 < 1.2
    assert network[-5_000:].mean() < chance - 0.4 < chance - 0.2 < off.mean()


def test_what_learns_no_more_predicts_the_next_character_as_if_it_did(learned):
    """The first character costs the same, whether it will be learned from or not."""
    (ids, models, nats), num_learned = learned, 1_600
    frozen = reading.read_burnt_in(models, ids, num_learned + 3)  # a part of a block is not learned from
    assert len(frozen) == len(ids) - 1
    np.testing.assert_allclose(frozen[:num_learned], nats.of_all[:num_learned], rtol=1e-5)
    of_both = np.stack([nats.counts[:, 0], nats.networks[:, 0]])
    np.testing.assert_allclose(np.exp(-frozen[num_learned]), np.exp(-of_both[:, num_learned]).mean(), rtol=1e-4)
    assert frozen[num_learned:].mean() > nats.of_all[num_learned:].mean()


def test_what_was_counted_predicts_the_same_lines_when_learning_is_off(log):
    first = reading.encode(log.lines[:50])
    ids, models = np.concatenate([first, first[1:]]), reading.make_models(2 * len(first), hidden_size=4)
    again = reading.read_burnt_in(models, ids, len(first))[-len(first) + 16 :]
    assert again.mean() < math.log(2) + 0.4  # half of the mixture is a network that knows little


@pytest.mark.skipif(not importlib.util.find_spec("drain3"), reason="drain3 is not installed")
def test_a_template_that_occurs_once_is_the_rarest():
    scores = baselines.template_rarity(["job 1 done", "job 2 done", "no such file", "job 3 done"])
    np.testing.assert_allclose(scores, -np.log([3, 3, 1, 3]))


@pytest.mark.skipif(not importlib.util.find_spec("sklearn"), reason="scikit-learn is not installed")
def test_a_forest_finds_the_one_line_of_another_kind():
    lines = [f"job {i} done" for i in range(60)]
    lines[40] = "#### !!!! ????"
    assert int(np.argmax(baselines.forest(lines, samples=60))) == 40
    assert int(np.argmax(baselines.forest_of_words(lines, samples=60))) == 40


def test_a_picture_keeps_the_highest_normal_line_of_each_part(log):
    scores = np.zeros(2_000)
    scores[[7, 8]] = 3, 4
    kept = anomalies.reduce_scores(scores, log, 500, 20)
    assert kept["normal"][0] == 4
    assert sum(map(len, kept["odd"].values())) == 20
