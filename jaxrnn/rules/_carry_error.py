"""The error of the carry after a character, dL_t/dh_t, for rules whose mask also applies to the newest step.

`_influence.local_gradient` differentiates with respect to the carry before the character; the functions here use the carry
after it, from which the readout computes the logits. A foreign cell returns both from one function, so its step is traced, and
the logits are recomputed with the new carry as an input.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Var, jaxpr_as_fun
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import Array

from jaxrnn.data.array_types import Block, Carry, Ids, Logits, Params
from jaxrnn.errors import InputError
from jaxrnn.models.losses import nats
from jaxrnn.models.model import Model, split_carry
from jaxrnn.rules import _influence, _unitwise
from jaxrnn.rules._influence import LocalGradient


def carry_gradient(model: Model, params: Params, carry: Carry, x: Block, y: Block) -> LocalGradient:
    """Differentiate the loss at one character with respect to the weights and, as `delta`, the carry after it.

    A layer's effect on the layers above in the same step is not in `delta`; it is in I.
    """

    def loss(params: Params) -> tuple[Array, Carry]:
        after, logits = model.step(params, carry, x[0])
        return nats(logits, y[0]), after

    (value, after), grads = jax.value_and_grad(loss, has_aux=True)(params)
    error = jax.grad(lambda after: nats(read_outputs(model, params, carry, after, x[0]), y[0]))(after)
    return LocalGradient(grads, error, after, value[None])


def layers_gradient(model: Model, params: Params, carry: Carry, x: Block, y: Block) -> LocalGradient:
    """Differentiate the loss at one character with respect to the weights and, as `delta`, each layer's carry after it.

    The error of a layer comes through the layers above it in the same step, for rules that track each layer by itself.
    """

    def loss(params: Params, shift: Carry) -> tuple[Array, Carry]:
        after, logits = _unitwise.layered_step(model, params, carry, carry, x[0], shift)
        return nats(logits, y[0]), after

    derivative = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    (value, after), (grads, error) = derivative(params, jax.tree.map(jnp.zeros_like, carry))
    return LocalGradient(grads, error, after, value[None])


def check_outputs(model: Model, rule: str) -> None:
    """Raise `InputError` unless the logits of a foreign cell can be seen to come from its new carry alone."""
    if model.layers:
        return
    params, carry = _influence.model_shapes(model)
    with jax.enable_x64(False):  # as in `model_shapes`
        program, _ = _trace_outputs(model, params, carry, jax.ShapeDtypeStruct((), jnp.int32))
    _, reads = dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars))
    num_params = len(jax.tree.leaves(params))
    if any(reads[num_params : num_params + len(jax.tree.leaves(carry))]):
        raise InputError(
            f"{rule} needs a cell that computes its output from the arrays of its new carry; this one's output also uses the "
            f"previous carry, or values that are packed or cast before they are returned; try {rule}_lookahead"
        )


def read_outputs(model: Model, params: Params, before: Carry, after: Carry, x: Ids) -> Logits:
    """Compute the logits of a step from the carry after it; `before` is needed only to trace a foreign cell."""
    if model.layers:
        layer, of_last = model.layers[-1], split_carry(after, len(model.layers))[-1]
        return model.read_out(params, layer.output(params[layer.name], layer.hidden(of_last)))
    program, computed = _trace_outputs(model, params, before, x)
    known = [leaf for leaf, is_computed in zip(jax.tree.leaves(after), computed, strict=True) if is_computed]
    (logits,) = jaxpr_as_fun(program)(*jax.tree.leaves((params, before, x)), *known)
    return logits


def _trace_outputs(model: Model, *given: Any) -> tuple[ClosedJaxpr, list[bool]]:
    """Trace a step and return the program of its logits, with the new carry's arrays as extra inputs.

    Args:
      given: params, carry and ids, or their shapes.
    Returns:
      The program, and for each array of the carry whether it is an extra input.
    """
    with jax.disable_jit():  # what the cell's author has jitted becomes part of the program; its loops may be unrolled
        whole = jax.make_jaxpr(model.step)(*given)
    *after, logits = whole.jaxpr.outvars
    known: list[Var] = []
    computed = []
    for var in after:
        computed.append(isinstance(var, Var) and var not in [*whole.jaxpr.invars, *known])
        known += [var] if computed[-1] else []
    # An operation that also has other outputs is kept: then the logits depend on its inputs, and `check_outputs` says so.
    others = [eqn for eqn in whole.jaxpr.eqns if not set(eqn.outvars) <= set(known)]
    cut = whole.jaxpr.replace(invars=[*whole.jaxpr.invars, *known], outvars=[logits], eqns=others)
    return ClosedJaxpr(cut, whole.consts), computed
