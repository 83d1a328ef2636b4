"""Truncated backpropagation through time in blocks of k characters, carrying the state from block to block."""

import operator
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxrnn.data.array_types import Carry, InputBlock, Memory, Outputs, Params, RandomKey, Targets
from jaxrnn.errors import InputError, is_number, is_whole
from jaxrnn.models.documents import split_marks
from jaxrnn.models.losses import Loss, nats, score_block
from jaxrnn.models.model import Model, check_model, join_carries, split_carry, streams_of
from jaxrnn.rules import _unroll
from jaxrnn.rules.base import Gradient, Rule


class Masks(NamedTuple):
    """What determines which units are dropped."""

    key: RandomKey
    block: Int[Array, ""]  # blocks read so far, i32


BlockOutputs: TypeAlias = Outputs  # logits, [length, *streams, vocab], or whatever the model returns at each step
Read = Callable[[Params, Carry, InputBlock, RandomKey | None], tuple[Carry, BlockOutputs]]


def bptt(model: Model, length: int, dropout: float = 0.0) -> Rule:
    """Exact gradient of the mean loss of a block, with the state before it held constant; one update per block.

    ``grads = d mean_t nats(logits_t, y_t) / d params``, t over the block, with ``h_{-1}`` a constant. Length 1 is `one_step`.

    Whatever does not recur stays outside the loops: the inputs, or the vocabulary if it is smaller, are projected at once, and
    the readout and all weights' gradients are one product over the block. Foreign cells (no `Model.layers`) take a slower path.

    Args:
      length: k, the characters in a block.
      dropout: fraction of the hidden units to drop between layers and before the readout, drawn anew for each character;
        the others are scaled up to keep the mean.
    Returns:
      A Rule. Its memory is () without dropout, else a key and a count.
    Raises:
      InputError: `length` is under 1, `dropout` is outside [0, 1), or the model is of foreign cells and has dropout.
    Source: Williams & Peng (1990), Neural Computation 2(4), BPTT(h; h') with h = h' = k; Zaremba et al. (2014; dropout).
    """
    check_model(model)
    if not is_whole(length, 1) or not is_number(dropout, 0) or dropout >= 1:
        raise InputError(
            f"length is {length!r} and dropout {dropout!r}; length must be 1 or more (whole), dropout at least 0 and under 1"
        )
    length = operator.index(length)
    if dropout and not model.layers:
        raise InputError("dropout needs a network of jaxrnn's own cells")
    read = block_reader(model, dropout)

    def init(params: Params, carry: Carry, key: RandomKey) -> Memory:
        del params, carry
        return Masks(key, jnp.int32(0)) if dropout else ()

    def gradient(params: Params, memory: Memory, carry: Carry, x: InputBlock, y: Targets, loss: Loss = nats) -> Gradient:
        key = jax.random.fold_in(*memory) if dropout else None

        def score(params: Params):
            after, outputs = read(params, jax.lax.stop_gradient(carry), x, key)
            found = score_block(loss, outputs, y, streams_of(model, x[0]))
            return found.mean, (after, found)

        grads, (after, found) = jax.grad(score, has_aux=True)(params)
        memory = memory._replace(block=memory.block + 1) if dropout else ()
        return Gradient(grads, after, memory, found.losses, found.asked)

    return Rule(length, init, gradient, model)


def block_reader(model: Model, dropout: float = 0.0) -> Read:
    """Make a function (params, carry, x, key) -> (last carry, outputs at each character of the block); no key, no dropout."""
    return _by_layers(model, dropout) if model.layers else _by_steps(model)


def _by_layers(model: Model, dropout: float) -> Read:
    """Make a function that runs one layer after another over the whole block."""
    runs = [_unroll.unroll_layer(layer) for layer in model.layers]

    def read(params: Params, carry: Carry, x: InputBlock, key: RandomKey | None) -> tuple[Carry, BlockOutputs]:
        ids, starts = split_marks(model, x)
        carries, px, h = [], _project_inputs(model, params, ids), jnp.zeros(())
        for number, (layer, run, before) in enumerate(zip(model.layers, runs, split_carry(carry, len(runs)), strict=True)):
            if number:
                px = layer.project(params[layer.name], h)
            after, h = run(params[layer.name], before, px, starts)
            carries.append(after)
            h = layer.output(params[layer.name], h)
            if key is not None:
                h = _drop_units(jax.random.fold_in(key, number), h, dropout)
        return join_carries(carries), model.read_out(params, h)

    return read


def _by_steps(model: Model) -> Read:
    """Make a function that runs one character after another through the whole model."""
    run = _unroll.unroll_steps(model.step)
    return lambda params, carry, x, key: run(params, carry, x)


def _project_inputs(model: Model, params: Params, x: InputBlock) -> Array:
    """Project the first layer's inputs: the whole vocabulary once, if it is smaller than a block of ids."""
    layer, known = model.layers[0], jnp.arange(model.vocab_size)
    of_layer = params[layer.name]
    if model.inputs or x.size < model.vocab_size:
        return layer.project(of_layer, model.embed(params, x))
    return layer.project(of_layer, model.embed(params, known))[x]


def _drop_units(key: RandomKey, h: Array, dropout: float) -> Array:
    kept = jax.random.bernoulli(key, 1 - dropout, h.shape)
    return jnp.where(kept, h / (1 - dropout), 0)
