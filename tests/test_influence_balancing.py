"""Influence balancing, where short memory is worse than none, as in `experiments/influence_balancing.py`."""

import importlib
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments"))
balancing = importlib.import_module("influence_balancing")


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def test_the_whole_influence_has_the_other_sign_than_the_near_one():
    near, whole = (balancing.influence_within(window) for window in (10, None))
    np.testing.assert_allclose([near, whole, balancing.GOAL * whole], [10, -6, 1], rtol=1e-12)


@pytest.mark.parametrize(("name", "num_steps"), [("TBPTT(100)", 5_000), ("RTRL", 25_000), ("UORO", 25_000)])
def test_rules_that_see_far_enough_converge(name, num_steps):
    np.testing.assert_allclose(end_of(name, num_steps), -1 / 6, rtol=0.01)


@pytest.mark.parametrize("name", ["TBPTT(1)", "TBPTT(10)"])
def test_rules_that_see_too_few_steps_go_the_wrong_way(name):
    assert abs(end_of(name)) > 1e3


def end_of(name, num_steps=25_000):
    case = balancing.CASES[name]
    return balancing.thetas_of(case.rule, case.rate, num_steps)[-1]
