"""Which units of a network tell something about its text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.models.network import network
from jaxrnn.scoring.probes import make_probes, rank_units, read_units

PLAY = "NICETTE.\n\nOui (non) 12.\n"


def marked(probe, text=PLAY * 30):
    """The characters after which a probe holds, the first time the text is read."""
    found = make_probes(text)[probe][: len(PLAY)]
    return "".join(character if each else "_" for character, each in zip(PLAY, found, strict=True)).replace("\n", "/")


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        ("speaker", "NICETTE./_______________"),
        ("line end", "_______./_____________._"),
        ("in a word", "NICETT____Ou___no___1___"),
        ("word end", "______E_____i____n___2__"),
        ("vowel next", "N_C__T___/Ou___n________"),
        ("capital next", "NICETT___/_____________/"),
        ("in brackets", "______________(non______"),
        ("digit", "____________________12__"),
    ],
)
def test_a_probe_holds_where_it_should(probe, expected):
    assert marked(probe) == expected


def test_probes_that_hold_nowhere_or_everywhere_are_left_out():
    assert "speaker" not in make_probes("only small letters\n" * 30)
    assert make_probes("aaaa" * 100) == {}
    assert make_probes("a") == {}


@pytest.mark.parametrize("text", ["a) one (yes it is)\n", "(never closed\n\nbut here\n", "fine (or not)\n"])
def test_brackets_recover_from_what_is_unbalanced(text):
    found = make_probes(text * 60)["in brackets"]
    assert 0.2 < found.mean() < 0.8


def test_the_place_in_a_line_counts_from_its_start():
    found = make_probes("ab\n\ncde\n" * 30)["place in line"]
    assert found[:9].tolist() == [0, 1, 2, 0, 0, 1, 2, 3, 0]


@pytest.mark.parametrize("cell", ["elman", "lstm", "lru"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_units_are_what_the_readout_sees(cell, num_layers):
    """A readout of the identity shows the last layer itself."""
    model = network(cell, 6, 6, num_layers=num_layers)
    params = model.init(jax.random.key(0))
    params["readout"] = {"kernel": jnp.eye(6), "bias": jnp.zeros(6)}
    ids, key = np.array([1, 5, 0, 2, 2], np.int32), jax.random.key(4)
    found, carry = read_units(model, params, ids, key), model.initial_carry(jax.random.split(key)[0], ())
    assert found.shape == (5, num_layers, 6)
    for t, x in enumerate(ids):
        carry, logits = model.step(params, carry, jnp.int32(x))
        np.testing.assert_allclose(found[t, -1], logits, rtol=1e-5, atol=1e-6)


def test_the_most_telling_units_come_first():
    rng = np.random.default_rng(0)
    truth = {"a": rng.integers(0, 2, 500).astype(float), "b": rng.normal(size=500), "never best": rng.normal(size=500)}
    outputs = rng.normal(size=(500, 2, 4)).astype(np.float32)
    outputs[:, 1, 2] = 3 - 2 * truth["a"]  # perfectly, upside down
    outputs[:, 0, 3] = truth["b"] + rng.normal(size=500)
    outputs[:, 0, 1] = truth["b"] + 2 * rng.normal(size=500)
    outputs[:, 1, 0] = 7  # dead
    ranked = rank_units(outputs, truth)
    assert [each[:3] for each in ranked[:2]] == [(1, 2, "a"), (0, 3, "b")]
    assert ranked[0].correlation == pytest.approx(-1, abs=1e-6)
    expected = np.corrcoef(outputs[:, 0, 3], truth["b"])[0, 1]
    assert ranked[1].correlation == pytest.approx(expected, abs=1e-6)
    assert ranked[2][:3] == (0, 1, "b")  # not the best for it, but it tells something
    assert {each.probe for each in ranked[3:]} == {""}
    assert (ranked[-1].layer, ranked[-1].unit) == (1, 0)
    assert sorted(each[:2] for each in ranked) == [(layer, unit) for layer in range(2) for unit in range(4)]


def test_without_probes_units_keep_their_order():
    ranked = rank_units(np.zeros((3, 2, 2), np.float32), {})
    assert ranked == [(0, 0, "", 0.0), (0, 1, "", 0.0), (1, 0, "", 0.0), (1, 1, "", 0.0)]
