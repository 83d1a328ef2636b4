"""Optimizers by name, and the entry that one of one's own gets; their rate is in the state, so that a run can change it and a
checkpoint holds it; clipping that counts.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from jaxtyping import Array, Float, Int

from jaxrnn.errors import InputError
from jaxrnn.rules import takes

WARM_UP = 100  # updates until a cosine schedule has reached its rate, in a run of ten times as many or more
ENDLESS = 2**31 - 1  # updates: the end is not known yet
RATES = ("learning_rate", "max_learning_rate", "rate", "lr", "step_size")  # parameters that are an optimizer's rate


def schedule_free_params(opt_state: optax.OptState, params: optax.Params) -> optax.Params:
    """The weights to test with: the average that `optax.contrib.schedule_free` keeps, and the weights themselves without it.

    Source: Defazio et al. (2024), NeurIPS ("The road less scheduled").
    """
    states = jax.tree.leaves(opt_state, is_leaf=_is_schedule_free)
    found = next((state for state in states if _is_schedule_free(state)), None)
    return params if found is None else optax.contrib.schedule_free_eval_params(found, params)


def _is_schedule_free(state: Any) -> bool:
    return isinstance(state, optax.contrib.ScheduleFreeState)


class OptimizerKind(NamedTuple):
    """An optimizer, and what the settings must know of it."""

    make: Callable[..., optax.GradientTransformation]  # (learning_rate), and `weight_decay` where its signature has it
    # Moves each weight by about the rate, however long the gradient is. That of one's own may: the lower rates are safer.
    is_adaptive: bool = True
    rate_divisor: int = 1  # of the rate that suits others of its kind
    relu_divisor: int = 1  # the same with rectified units
    dynamic_rates: tuple[float, ...] = ()  # that `--dynamic auto` tries
    test_params: Callable[[optax.OptState, optax.Params], optax.Params] = schedule_free_params  # the weights to test with


# All of them move the weights in proportion to their rate, so that a schedule may multiply what comes out of them. Dynamic
# rates go from one that learns too slowly in a text like that of training to one that learns too fast in any.
OPTIMIZERS: dict[str, OptimizerKind] = {
    "sgd": OptimizerKind(optax.sgd, is_adaptive=False, dynamic_rates=(0.02, 0.05, 0.1, 0.2)),
    "momentum": OptimizerKind(functools.partial(optax.sgd, momentum=0.9), is_adaptive=False, rate_divisor=10),
    "adam": OptimizerKind(optax.adam, dynamic_rates=(1e-4, 3e-4, 1e-3)),
    "adamw": OptimizerKind(optax.adamw),
    # Optax forgets a squared gradient after ten updates: too soon for those of single characters. With rectified units the loss
    # jumps now and then at the whole rate.
    "rmsprop": OptimizerKind(functools.partial(optax.rmsprop, decay=0.99), relu_divisor=2, dynamic_rates=(1e-4, 3e-4, 1e-3)),
}


def optimizer_kind(thing: Any) -> OptimizerKind | None:
    """The entry of an optimizer: a function of its learning rate, as those of Optax are; None for anything else."""
    if isinstance(thing, OptimizerKind):
        return thing
    return OptimizerKind(thing) if _can_make(thing) else None


def _can_make(function: Any) -> bool:
    with contextlib.suppress(TypeError, ValueError):
        inspect.signature(function).bind(**{_rate_parameter(function) or "": 0.1})
        return True
    return False


def _rate_parameter(make: Callable[..., Any]) -> str | None:
    return next((name for name in RATES if takes(make, name)), None)


class ClippingState(NamedTuple):
    """What clipping remembers."""

    num_clipped: Int[Array, ""]  # updates whose gradient was too long, i32


class CosineState(NamedTuple):
    """What a cosine schedule follows from."""

    num_done: Int[Array, ""]  # updates so far, i32
    num_updates: Int[Array, ""]  # of the whole run, i32


def make_optimizer(
    name: str | OptimizerKind,
    learning_rate: float,
    clip_norm: float = 0.0,
    weight_decay: float | None = None,
    cosine_over: int | None = None,
) -> optax.GradientTransformation:
    """An optimizer of Optax, its rate in the state (`with_learning_rate`).

    Args:
      name: in `OPTIMIZERS`, or the entry of another one (`optimizer_kind`).
      clip_norm: longer gradients are shortened to this global norm, and counted; 0 = none is.
      weight_decay: of one that has it; None = as the optimizer has it by itself.
      cosine_over: as many updates take the rate up and then down to nothing (`cosine_schedule`); None = it stays.
    Raises:
      InputError: a weight decay that it does not take; it makes something else than an optimizer.
    """
    kind = name if isinstance(name, OptimizerKind) else OPTIMIZERS[name]
    has_decay = takes(kind.make, "weight_decay")
    if weight_decay and not has_decay:
        raise InputError(f"an optimizer without weight decay cannot have one of {weight_decay:g}")
    decay = {"weight_decay": weight_decay} if has_decay and weight_decay is not None else {}

    def make(learning_rate: Any) -> optax.GradientTransformation:
        made = kind.make(**{_rate_parameter(kind.make) or "learning_rate": learning_rate}, **decay)
        if not isinstance(made, optax.GradientTransformation):
            raise InputError(f"the optimizer gives a {type(made).__name__}; it must give an optax.GradientTransformation")
        return made

    descent = optax.inject_hyperparams(make)(learning_rate=learning_rate)
    before = [clip_by_global_norm(clip_norm)] if clip_norm else []
    behind = [] if cosine_over is None else [cosine_schedule(cosine_over)]
    return _allow_promotion(optax.chain(*before, descent, *behind) if before or behind else descent)


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """`optax.clip_by_global_norm`, and a count of how often it did something.

    Source: Pascanu, Mikolov & Bengio (2013), ICML, section 3.2.
    """
    clip = optax.clip_by_global_norm(max_norm)

    def init(params: optax.Params) -> ClippingState:
        del params  # one count for all of them
        return ClippingState(jnp.int32(0))

    def update(updates: optax.Updates, state: Any, params: optax.Params | None = None) -> tuple[optax.Updates, ClippingState]:
        del params  # the norm is that of the gradient alone
        too_long = optax.tree.norm(updates) > max_norm
        clipped, _ = clip.update(updates, optax.EmptyState())
        return clipped, ClippingState(state.num_clipped + too_long.astype(jnp.int32))

    return optax.GradientTransformation(init, update)


def cosine_schedule(num_updates: int) -> optax.GradientTransformation:
    """Multiplies what an optimizer gives by `cosine_factor`; how long the run is stands in the state (`with_num_updates`)."""

    def init(params: optax.Params) -> CosineState:
        del params
        return CosineState(jnp.int32(0), jnp.int32(num_updates))

    def update(updates: optax.Updates, state: Any, params: optax.Params | None = None) -> tuple[optax.Updates, CosineState]:
        del params
        factor = cosine_factor(state.num_done, state.num_updates)
        scaled = jax.tree.map(lambda leaf: leaf * factor.astype(leaf.dtype), updates)
        return scaled, state._replace(num_done=state.num_done + 1)

    return optax.GradientTransformation(init, update)


def cosine_factor(num_done: Int[Array, ""], num_updates: Int[Array, ""]) -> Float[Array, ""]:
    """What the rate is multiplied by: straight up at first, and all the way half a cosine down to 0.

    The way up takes `WARM_UP` updates, or a tenth of a shorter run.

    Source: Loshchilov & Hutter (2017), ICLR, eq. 5, without restarts.
    """
    done, whole = num_done.astype(jnp.float32), num_updates.astype(jnp.float32)
    warm = jnp.minimum((done + 1) / jnp.clip(whole / 10, 1, WARM_UP), 1)
    return warm * optax.cosine_decay_schedule(1.0, 1)(done / whole)


def _allow_promotion(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same, where JAX is told to promote no types: Optax counts in integers and computes with them."""

    accepting = optax.with_extra_args_support(transformation)

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None, **extra: Any
    ) -> tuple[optax.Updates, Any]:
        with jax.numpy_dtype_promotion("standard"):
            return accepting.update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(transformation.init, update)


def num_clipped(opt_state: optax.OptState) -> int | None:
    """Updates so far whose gradient was shortened; None without clipping."""
    count = optax.tree_utils.tree_get(opt_state, "num_clipped")
    return None if count is None else int(count)


def learning_rate(opt_state: optax.OptState) -> float:
    """The rate in the state, as the shortest number that float32 takes for it: 0.1, not 0.10000000149."""
    return float(str(np.float32(optax.tree_utils.tree_get(opt_state, "learning_rate"))))


def with_learning_rate(opt_state: optax.OptState, rate: float | Float[Array, ""]) -> optax.OptState:
    """The same state at another rate."""
    return optax.tree_utils.tree_set(opt_state, learning_rate=rate if isinstance(rate, jax.Array) else np.float32(rate))


def num_updates(opt_state: optax.OptState) -> int | None:
    """Over how many updates a cosine schedule runs; None without one."""
    count = optax.tree_utils.tree_get(opt_state, "num_updates")
    return None if count is None else int(count)


def with_num_updates(opt_state: optax.OptState, count: int) -> optax.OptState:
    """The same state of a run of another length, if it follows a cosine schedule."""
    return opt_state if num_updates(opt_state) is None else optax.tree_utils.tree_set(opt_state, num_updates=np.int32(count))


def schedule_factor(opt_state: optax.OptState) -> float:
    """What the rate is multiplied by at the next update; 1 without a cosine schedule."""
    num_done, count = (optax.tree_utils.tree_get(opt_state, name) for name in ("num_done", "num_updates"))
    return 1.0 if num_done is None else float(cosine_factor(num_done, count))
