"""Which weights reach the carry, flat weights and carries, and the models that rules reject."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import HIDDEN, VOCAB
from fixed import drawn
from flax import linen as nn
from foreign_cells import OneVector

from jaxrnn import network, with_cell
from jaxrnn.errors import InputError
from jaxrnn.models.cells import CELLS
from jaxrnn.models.model import with_step
from jaxrnn.rules import _carry_parts, _influence, rflo, rtrl, rtrl_diagonal, snap1, snap1_lookahead

EVEN = 4
LAYERS = network("lru", VOCAB, EVEN, num_layers=2, embedding_size=3)
FLAX = with_cell(nn.GRUCell(HIDDEN), VOCAB, HIDDEN)
RECURRENT = {
    "elman": "bias input_kernel recurrent_kernel",
    "leaky": "bias input_kernel recurrent_kernel",
    "indrnn": "bias input_kernel recurrent_weights",
    "gru": "bias input_kernel recurrent_bias recurrent_kernel",
    "lstm": "bias input_kernel recurrent_kernel",
    "lru": "input_kernel nu theta",
}


def all_paths(model):
    leaves, _ = jax.tree.flatten_with_path(drawn(model)[0])
    return {"/".join(key.key for key in path) for path, _ in leaves}


@pytest.mark.parametrize("cell", CELLS)
def test_the_recurrent_weights_reach_the_carry_and_the_readout_does_not(cell):
    model = network(cell, VOCAB, EVEN)
    found = _influence.recurrent_paths(model)
    assert found == tuple(f"cell/{name}" for name in RECURRENT[cell].split())
    assert all_paths(model) - set(found) >= {"readout/kernel", "readout/bias"}


def test_what_a_layer_puts_out_reaches_the_carry_of_the_next():
    expected = {path for path in all_paths(LAYERS) if not path.startswith(("cell_2/output", "readout"))}
    assert set(_influence.recurrent_paths(LAYERS)) == expected
    assert expected > {"embedding/kernel", "cell/output_kernel", "cell_2/nu"}


@pytest.mark.parametrize("tied", [False, True])
def test_an_embedding_reaches_the_carry_also_where_it_is_the_readout(tied):
    model = network("gru", VOCAB, HIDDEN, embedding_size=HIDDEN, tied_readout=tied)
    assert set(_influence.recurrent_paths(model)) == {path for path in all_paths(model) if not path.startswith("readout")}


def test_a_jitted_step_reaches_no_more():
    jitted = with_step(LAYERS, jax.jit(LAYERS.step))
    assert _influence.recurrent_paths(jitted) == _influence.recurrent_paths(LAYERS)


def test_all_weights_of_a_foreign_cell_reach_the_carry():
    assert set(_influence.recurrent_paths(FLAX)) == {path for path in all_paths(FLAX) if path.startswith("cell/")}


@pytest.mark.parametrize("model", [LAYERS, FLAX], ids=["layers", "Flax"])
def test_putting_back_what_was_taken_changes_nothing(model):
    params, _ = drawn(model)
    theta = _influence.select_weights(params, _influence.recurrent_paths(model))
    assert tuple(theta) == _influence.recurrent_paths(model)
    again = _influence.replace_weights(params, theta)
    assert jax.tree.structure(again) == jax.tree.structure(params)
    assert all(a is b for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(params), strict=True))
    doubled = _influence.replace_weights(params, {name: 2 * leaf for name, leaf in theta.items()})
    jax.tree.map(
        np.testing.assert_array_equal, _influence.select_weights(doubled, theta), {name: 2 * theta[name] for name in theta}
    )


@pytest.mark.parametrize("streams", [(), (3,)])
@pytest.mark.parametrize("model", [LAYERS, FLAX], ids=["layers", "Flax"])
def test_a_carry_is_a_vector_and_back(model, streams):
    _, carry = drawn(model, streams)
    vector = _carry_parts.flatten_parts(carry, streams)
    assert vector.shape[:-1] == streams == _carry_parts.carry_streams_shape(model, carry)
    again = _carry_parts.unflatten_parts(carry, vector)
    assert jax.tree.structure(again) == jax.tree.structure(carry)
    jax.tree.map(np.testing.assert_array_equal, again, carry)


def test_bytes_are_formatted_with_their_unit():
    sizes = [1023, 1536, 2**20, 2**31]
    assert [_influence.format_bytes(size) for size in sizes] == ["1023 bytes", "1.5 KiB", "1 MiB", "2 GiB"]


class OfSeveralUnits(OneVector):
    """A cell whose weights are not each of one unit, in one of several ways."""

    way: str = "mixed"

    @nn.compact
    def __call__(self, carry, inputs):
        both = jnp.concatenate([carry, inputs], axis=-1)
        ways = {
            "mixed": lambda: nn.tanh(nn.Dense(HIDDEN)(nn.tanh(nn.Dense(HIDDEN)(both)))),
            "normalised": lambda: nn.LayerNorm()(nn.Dense(HIDDEN)(both)),
            "reversed": lambda: nn.tanh(nn.Dense(HIDDEN)(both)[..., ::-1]),
            "of no unit": lambda: nn.Dense(HIDDEN)(nn.Dense(3)(both)),
            "a scalar": lambda: nn.tanh(nn.Dense(HIDDEN)(both) * self.param("scale", nn.initializers.ones, ())),
        }
        h = ways[self.way]()
        return h, h


@pytest.mark.parametrize("rule", [snap1, snap1_lookahead, rtrl_diagonal])
@pytest.mark.parametrize("way", ["mixed", "normalised", "reversed", "of no unit", "a scalar"])
def test_weights_of_more_than_one_unit_are_refused(rule, way):
    said = f"{rule.__name__} needs weights that each drive one unit; those of 'cell/.*' drive several; try rtrl"
    with pytest.raises(InputError, match=said):
        rule(with_cell(OfSeveralUnits(HIDDEN, way), VOCAB, HIDDEN))


class AtOneCharacter(OneVector):
    """A diagonal cell of which something is turned round at the last character."""

    turned: str = ""

    @nn.compact
    def __call__(self, carry, inputs):
        own = self.param("own", nn.initializers.normal(), (HIDDEN,))
        seen = jnp.where((inputs[..., -1:] > 0) & (self.turned == "the recurrence"), carry[..., ::-1], carry)
        h = nn.tanh(nn.Dense(HIDDEN, name="input")(inputs) + own * seen)
        h = jnp.where((inputs[..., -1:] > 0) & (self.turned == "the weights"), h[..., ::-1], h)
        return h, h


@pytest.mark.parametrize(("rule", "turned", "said"), [
    (snap1, "the weights", "those of 'cell/.*' drive several"), (snap1_lookahead, "the weights", "drive several"),
    (rtrl_diagonal, "the weights", "drive several"), (rtrl_diagonal, "the recurrence", "needs a diagonal recurrence"),
])  # fmt: skip
def test_what_a_cell_does_at_one_character_alone_is_seen(rule, turned, said):
    with pytest.raises(InputError, match=said):
        rule(with_cell(AtOneCharacter(HIDDEN, turned), VOCAB, HIDDEN))
    assert rule(with_cell(AtOneCharacter(HIDDEN, "nothing"), VOCAB, HIDDEN)).length == 1


def by_hand(*widths):
    """A model whose weights have names of its own; its carry has as many arrays."""

    def step(params, carry, x):
        after = tuple(jnp.tanh(h * params[f"weights {number}"] + x.astype(h.dtype)) for number, h in enumerate(carry))
        return after, after[0][:VOCAB]

    return FLAX._replace(
        init=lambda key: {f"weights {number}": jnp.ones(width) for number, width in enumerate(widths)},
        initial_carry=lambda key, streams: tuple(jnp.zeros((*streams, width)) for width in widths),
        step=step,
    )


def test_a_model_made_by_hand_is_followed_by_its_own_names():
    params, carry = drawn(by_hand(VOCAB))
    ((memory,),) = snap1(by_hand(VOCAB)).init(params, carry, jax.random.key(0))
    assert set(memory) == {"weights 0"}


def test_units_that_cannot_be_told_from_the_carry_are_refused():
    with pytest.raises(InputError, match=r"snap1 needs carry arrays of equal width; these are \[7, 8\]"):
        snap1(by_hand(VOCAB, 8))


def test_gates_of_flax_are_taken():
    for cell in (nn.GRUCell, nn.MGUCell):
        assert snap1(with_cell(cell(HIDDEN), VOCAB, HIDDEN)).length == 1


@pytest.mark.parametrize("cell", ["elman", "leaky", "gru", "lstm", "Flax"])
def test_units_that_reach_others_are_no_diagonal(cell):
    model = FLAX if cell == "Flax" else network(cell, VOCAB, EVEN)
    said = "rtrl_diagonal needs a diagonal recurrence, as in the cells indrnn and lru; try snap1 or rtrl"
    with pytest.raises(InputError, match=said):
        rtrl_diagonal(model)


@pytest.mark.parametrize("more", [{"num_layers": 2}, {"embedding_size": 3}])
@pytest.mark.parametrize("cell", ["indrnn", "lru"])
def test_what_lies_above_or_below_a_diagonal_layer_is_refused(cell, more):
    said = "rtrl_diagonal is exact only for one layer without an embedding: set num_layers=1 and embedding_size=0, or try rtrl"
    with pytest.raises(InputError, match=said):
        rtrl_diagonal(network(cell, VOCAB, EVEN, **more))


def test_gates_that_cannot_be_told_apart_are_refused():
    with pytest.raises(InputError, match="rflo needs a network of jaxrnn's own cells; try snap1"):
        rflo(FLAX)


def test_rtrl_takes_any_cell():
    model = with_cell(OfSeveralUnits(HIDDEN, "a scalar"), VOCAB, HIDDEN)
    params, carry = drawn(model)
    memory = rtrl(model).init(params, carry, jax.random.key(0))
    assert {name: leaf.shape for name, leaf in memory.items()}["cell/scale"] == (HIDDEN,)
