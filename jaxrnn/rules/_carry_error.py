"""The error of the carry after a character, dL_t/dh_t, for rules whose mask also applies to the newest step.

`_influence.local_gradient` differentiates with respect to the carry before the character; the functions here use the carry
after it, from which the readout computes the logits. A foreign cell returns both from one function, so its step is traced, and
the logits are recomputed with the new carry as an input.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Var, jaxpr_as_fun
from jax.interpreters.partial_eval import dce_jaxpr
from jaxtyping import Array

from jaxrnn.data.array_types import Carry, InputBlock, Inputs, Outputs, Params, Targets
from jaxrnn.errors import InputError
from jaxrnn.models.losses import Loss, score_step
from jaxrnn.models.model import Model, input_shape, split_carry, streams_of
from jaxrnn.rules import _influence, _unitwise
from jaxrnn.rules._carry_parts import Parts, real_parts, with_parts
from jaxrnn.rules._influence import LocalGradient

NEEDED = (
    "a cell that computes its output from the arrays of its new carry; this one's output also uses the previous carry, or "
    "values that are packed or cast before they are returned"
)


def carry_gradient(model: Model, params: Params, carry: Carry, x: InputBlock, y: Targets, loss: Loss) -> LocalGradient:
    """Differentiate the loss at one character with respect to the weights and, as `delta`, the carry after it.

    A layer's effect on the layers above in the same step is not in `delta`; it is in I.
    """

    targets, streams = _influence.first(x, y), streams_of(model, x[0])

    def score(params: Params) -> tuple[Array, tuple]:
        after, outputs = model.step(params, carry, x[0])
        found = score_step(loss, outputs, targets, streams)
        return found.mean, (after, found)

    def score_of_parts(parts: Parts) -> Array:
        outputs = read_outputs(model, params, carry, with_parts(after, parts), x[0])
        return score_step(loss, outputs, targets, streams).mean

    grads, (after, found) = jax.grad(score, has_aux=True)(params)
    return LocalGradient(grads, jax.grad(score_of_parts)(real_parts(after)), after, found.losses, found.asked)


def layers_gradient(model: Model, params: Params, carry: Carry, x: InputBlock, y: Targets, loss: Loss) -> LocalGradient:
    """Differentiate the loss at one character with respect to the weights and, as `delta`, each layer's carry after it.

    The error of a layer comes through the layers above it in the same step, for rules that track each layer by itself. The
    gradient excludes what a layer's weights do to its own carry; the caller adds it as I^T delta.
    """

    def score(params: Params, shift: Carry) -> tuple[Array, tuple]:
        after, outputs = _unitwise.layered_step(model, params, carry, x[0], shift)
        found = score_step(loss, outputs, _influence.first(x, y), streams_of(model, x[0]))
        return found.mean, (after, found)

    none = jax.tree.map(jnp.zeros_like, carry)
    (grads, error), (after, found) = jax.grad(score, argnums=(0, 1), has_aux=True)(params, none)
    return LocalGradient(grads, error, after, found.losses, found.asked)


def check_outputs(model: Model, rule: str) -> None:
    """Raise `InputError` unless the logits of a foreign cell can be seen to come from its new carry alone."""
    if model.layers:
        return
    params, carry = _influence.model_shapes(model)
    with jax.enable_x64(False):  # as in `model_shapes`
        traced = _trace_outputs(model, params, carry, input_shape(model))
    if _reads_before(traced, params, carry):
        raise InputError(f"{rule} needs {NEEDED}; try {rule}_lookahead")


def read_outputs(model: Model, params: Params, before: Carry, after: Carry, x: Inputs) -> Outputs:
    """Compute the outputs of a step from the carry after it; `before` is needed only to trace a foreign cell."""
    if model.layers:
        layer, of_last = model.layers[-1], split_carry(after, len(model.layers))[-1]
        return model.read_out(params, layer.output(params[layer.name], layer.hidden(of_last)))
    traced = _trace_outputs(model, params, before, x)
    if _reads_before(traced, params, before):  # a cast that is one only with these types, or streams
        raise InputError(f"with arrays of these types and shapes, this rule needs {NEEDED}; try its lookahead form")
    known = [leaf for leaf, is_input in zip(jax.tree.leaves(after), traced.are_inputs, strict=True) if is_input]
    outputs = jaxpr_as_fun(traced.program)(*jax.tree.leaves((params, before, x)), *known)
    return jax.tree.unflatten(traced.structure, outputs)


class Traced(NamedTuple):
    """The part of a step that computes the outputs from the new carry."""

    program: ClosedJaxpr
    are_inputs: list[bool]  # for each array of the new carry, whether it is an input of the program, after those of the step
    structure: Any  # of the outputs


def _reads_before(traced: Traced, params: Any, carry: Any) -> bool:
    """Return whether the outputs also depend on numbers of the carry before the step."""
    _, reads = dce_jaxpr(traced.program.jaxpr, [True] * len(traced.program.jaxpr.outvars))
    num_params, leaves = len(jax.tree.leaves(params)), jax.tree.leaves(carry)
    read_before = zip(leaves, reads[num_params : num_params + len(leaves)], strict=True)
    return any(is_read and jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf, is_read in read_before)


def _trace_outputs(model: Model, params: Any, carry: Any, x: Any) -> Traced:
    """Trace a step, of arrays or of their shapes, and cut it where the new carry is known."""
    with jax.disable_jit():  # what the cell's author has jitted becomes part of the program; its loops may be unrolled
        whole, (after_shapes, outputs_shapes) = jax.make_jaxpr(model.step, return_shape=True)(params, carry, x)
    num_after = len(jax.tree.leaves(after_shapes))
    after, outputs = whole.jaxpr.outvars[:num_after], whole.jaxpr.outvars[num_after:]
    known: list[Var] = []
    are_inputs = []
    for var in after:
        are_inputs.append(isinstance(var, Var) and var not in [*whole.jaxpr.invars, *known])
        known += [var] if are_inputs[-1] else []
    # An operation that also has other outputs is kept: then the logits depend on its inputs, and `check_outputs` says so.
    others = [eqn for eqn in whole.jaxpr.eqns if not set(eqn.outvars) <= set(known)]
    cut = whole.jaxpr.replace(invars=[*whole.jaxpr.invars, *known], outvars=outputs, eqns=others)
    return Traced(ClosedJaxpr(cut, whole.consts), are_inputs, jax.tree.structure(outputs_shapes))
