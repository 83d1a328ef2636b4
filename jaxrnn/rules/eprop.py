"""Eligibility propagation (e-prop): eligibility traces of each unit, and a learning signal from the outputs."""

import functools
from typing import Any, Literal, NamedTuple

import jax
from jaxtyping import Array, Float

from jaxrnn.data.array_types import Carry, InputBlock, Memory, Outputs, Params, RandomKey, Targets
from jaxrnn.errors import InputError, is_whole
from jaxrnn.models.losses import Loss, nats, score_step
from jaxrnn.models.model import Model, check_model, input_shape, join_carries, split_carry, streams_of
from jaxrnn.rules import _carry_error, _influence, _unit_checks, _unitwise
from jaxrnn.rules._carry_parts import flatten_parts
from jaxrnn.rules._influence import LocalGradient
from jaxrnn.rules.base import Gradient, Rule

FeedbackWeights = tuple[Float[Array, "outputs hidden"], ...]  # for each layer; () for symmetric feedback


class Traces(NamedTuple):
    """What e-prop keeps."""

    eligibility: _unitwise.Blocks  # [*streams, *shape of the weights] for each layer, state and weight array
    feedback: FeedbackWeights  # never change


def eprop(
    model: Model,
    feedback: Literal["symmetric", "random"] = "symmetric",
    seed: int = 0,
    max_bytes: int = _influence.MAX_MEMORY_BYTES,
) -> Rule:
    """E-prop: the eligibility trace of each weight times the learning signal of its unit.

    ``E_t = I_t + B_t E_{t-1}``, with ``B = dcarry'/dcarry`` at constant recurrent products: what leak and gates keep. The
    gradient is ``L_t E_t``, with a learning signal L for each unit.

    - symmetric: L is the unit's exact error ``dl_t/dh_t`` through the readout and the layers above; l is the loss. This is
      `rflo`.
    - random: ``L_t = R^T e_t``. The error of the outputs, e (for `nats`, predicted minus true probabilities), reaches each
      layer through fixed random weights R, of variance 1 / hidden. No error passes through the readout or between layers.

    Weights that act after their layer's state, such as the readout's, get their ordinary gradient.

    Args:
      seed: of the random weights R, which stay the same when the carry is reset.
      max_bytes: limit of the memory.
    Returns:
      A Rule of length 1. Its memory is E, as for `rflo`, 4 B S P bytes, and R; time O(S^2 P).
    Raises:
      InputError: a custom cell, whose gates and recurrence cannot be separated; a weight that drives several units; an unknown
        `feedback` or a `seed` out of range; or, from its `init`, if the memory would take more than `max_bytes`.
    Source: Bellec et al. (2020), Nature Communications 11, eq. 3 (the gradient), 4 (L) and 13-14 (E): "symmetric" and "random
      e-prop", for a readout without a leak.
    """
    check_model(model)
    if feedback not in ("symmetric", "random"):
        raise InputError(f"feedback is {feedback!r}; it must be symmetric or random")
    if not is_whole(seed, 0) or seed >= 2**32:
        raise InputError(f"seed is {seed!r}; it must be a whole number from 0 to {2**32 - 1}")
    if not model.layers:
        raise InputError("eprop needs a network of jaxrnn's own cells; try snap1")
    return _with_feedback(model, feedback == "random", seed, max_bytes)


def _with_feedback(model: Model, is_random: bool, seed: int, max_bytes: int) -> Rule:
    paths = _unitwise.layer_paths(model)
    _unit_checks.check_units(model, paths, "eprop")
    follow = _unitwise.follow_units(model, _unitwise.steps_by_layer(model, paths, _unitwise.through_gates), paths)

    def init(params: Params, carry: Carry, key: RandomKey) -> Memory:
        del key  # another one whenever the carry is reset
        eligibility = _unitwise.memory_shapes(model, params, carry, paths)
        shapes = eligibility, _feedback_shapes(model) if is_random else ()
        zeros = Traces(*_influence.zero_memory(shapes, max_bytes, "eprop"))
        return zeros._replace(feedback=_draw(jax.random.key(seed), zeros.feedback))

    def gradient(params: Params, memory: Traces, carry: Carry, x: InputBlock, y: Targets, loss: Loss = nats) -> Gradient:
        memory, carry = jax.lax.stop_gradient((memory, carry))
        by_random = functools.partial(_random_gradient, weights=memory.feedback)
        here = (by_random if is_random else _carry_error.layers_gradient)(model, params, carry, x, y, loss)
        of_layers, eligibility = follow(params, memory.eligibility, here.delta, carry, x[0])
        grads = _influence.add_correction(here.grads, of_layers)
        return Gradient(grads, here.carry, Traces(eligibility, memory.feedback), here.losses, here.asked)

    return Rule(1, init, gradient, model)


def _random_gradient(
    model: Model, params: Params, carry: Carry, x: InputBlock, y: Targets, loss: Loss, weights: FeedbackWeights
) -> LocalGradient:
    """Compute `_carry_error.layers_gradient` with errors that reach each layer through random weights."""
    streams = streams_of(model, x[0])

    def score(outputs: Outputs) -> tuple[Array, Any]:
        found = score_step(loss, outputs, _influence.first(x, y), streams)
        return found.mean, found

    def step(params: Params) -> tuple[Carry, Outputs]:
        return _unitwise.layered_step(model, params, carry, x[0], apart=True)

    (after, outputs), step_vjp = jax.vjp(step, params)
    of_outputs, found = jax.grad(score, has_aux=True)(outputs)
    error = flatten_parts(of_outputs, streams)
    signals = []
    for layer, of_layer, R in zip(model.layers, split_carry(after, len(model.layers)), weights, strict=True):
        h, hidden_vjp = jax.vjp(layer.hidden, of_layer)
        signals += hidden_vjp((error @ R.astype(error.dtype)).astype(h.dtype))
    delta = join_carries(signals)
    (grads,) = step_vjp((delta, of_outputs))
    return LocalGradient(grads, delta, after, found.losses, found.asked)


def _feedback_shapes(model: Model) -> tuple[jax.ShapeDtypeStruct, ...]:
    def read(params: Params, carry: Carry, x: Any) -> tuple[Array, list[Array]]:
        after, outputs = model.step(params, carry, x)
        carries = zip(model.layers, split_carry(after, len(model.layers)), strict=True)
        return flatten_parts(outputs), [layer.hidden(of_layer) for layer, of_layer in carries]

    with jax.enable_x64(False):  # as in `model_shapes`
        outputs, hidden = jax.eval_shape(read, *_influence.model_shapes(model), input_shape(model))
    return tuple(jax.ShapeDtypeStruct((*outputs.shape, *h.shape), h.dtype) for h in hidden)


def _draw(key: RandomKey, zeros: FeedbackWeights) -> FeedbackWeights:
    keys = [jax.random.fold_in(key, number) for number in range(len(zeros))]
    return tuple(jax.random.normal(key, R.shape, R.dtype) / R.shape[1] ** 0.5 for key, R in zip(keys, zeros, strict=True))
