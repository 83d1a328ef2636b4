"""Optimizers by name, entries for your own, and what their states tell.

The learning rate is part of the state, so that a run can change it and a checkpoint holds it.
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
from jaxtyping import Array, Float

from jaxrnn.errors import InputError, check_known, check_whole, describe_kind, is_number
from jaxrnn.rules import takes_parameter
from jaxrnn.training.transformations import (
    ClippingState,
    CosineState,
    allow_promotion,
    clip_by_global_norm,
    cosine_factor,
    cosine_schedule,
)

ENDLESS = 2**31 - 1  # updates of a run whose end is not known yet
WITH_RATE = 'make the optimizer with jaxrnn.make_optimizer("sgd", 0.1), or with optax.inject_hyperparams'
RATES = ("learning_rate", "max_learning_rate", "rate", "lr", "step_size")  # names of a learning rate among parameters


def schedule_free_params(opt_state: optax.OptState, params: optax.Params) -> optax.Params:
    """Return the weights to test with: the average kept by `optax.contrib.schedule_free`, else the weights themselves.

    Source: Defazio et al. (2024), NeurIPS ("The road less scheduled").
    """
    states = jax.tree.leaves(opt_state, is_leaf=_is_schedule_free)
    found = next((state for state in states if _is_schedule_free(state)), None)
    return params if found is None else optax.contrib.schedule_free_eval_params(found, params)


def _is_schedule_free(state: Any) -> bool:
    return isinstance(state, optax.contrib.ScheduleFreeState)


class OptimizerKind(NamedTuple):
    """An optimizer, and what settings need to know about it."""

    make: Callable[..., optax.GradientTransformation]  # (learning_rate), plus `weight_decay` if its signature has it
    # Moves each weight by about the rate, whatever the gradient's norm. Assumed for your own: lower rates are safer.
    is_adaptive: bool = True
    rate_divisor: int = 1  # divides the usual rate of its kind
    relu_divisor: int = 1  # divides it once more for rectified units
    weight_decay: float = 0.0  # what `--weight-decay auto` means for updates of 2,048 characters
    dynamic_rates: tuple[float, ...] = ()  # the rates that `--dynamic auto` tries
    test_params: Callable[[optax.OptState, optax.Params], optax.Params] = schedule_free_params  # the weights to test with


# All of them move the weights in proportion to their rate, so a schedule may multiply their output. Dynamic rates range from
# too slow for a text like the training text to too fast for any text.
OPTIMIZERS: dict[str, OptimizerKind] = {
    "sgd": OptimizerKind(optax.sgd, is_adaptive=False, dynamic_rates=(0.02, 0.05, 0.1, 0.2)),
    "momentum": OptimizerKind(functools.partial(optax.sgd, momentum=0.9), is_adaptive=False, rate_divisor=10),
    "adam": OptimizerKind(optax.adam, dynamic_rates=(1e-4, 3e-4, 1e-3)),
    # For a GRU on Molière and Austen's novels (`experiments/defaults.py`), this decay lowers the loss by 0.005 to 0.02 nats on
    # works that follow the training part, and by nothing within it. 0.5 is too much for thousands of updates.
    "adamw": OptimizerKind(optax.adamw, weight_decay=0.1),
    # Optax's default forgets squared gradients after ten updates, too soon for single characters. With rectified units the
    # loss jumps now and then at the full rate.
    "rmsprop": OptimizerKind(functools.partial(optax.rmsprop, decay=0.99), relu_divisor=2),
}


def optimizer_kind(thing: Any) -> OptimizerKind | None:
    """Make the registry entry of a function of a learning rate, such as Optax's optimizers; None for anything else."""
    if isinstance(thing, OptimizerKind):
        return thing
    return OptimizerKind(thing) if _can_make(thing) else None


def _can_make(function: Any) -> bool:
    with contextlib.suppress(TypeError, ValueError):
        inspect.signature(function).bind(**{_rate_parameter(function) or "": 0.1})
        return True
    return False


def _rate_parameter(make: Callable[..., Any]) -> str | None:
    return next((name for name in RATES if takes_parameter(make, name)), None)


def make_optimizer(
    name: str | OptimizerKind,
    learning_rate: float,
    clip_norm: float = 0.0,
    weight_decay: float | None = None,
    cosine_over: int | None = None,
) -> optax.GradientTransformation:
    """Make an Optax optimizer with its learning rate in the state (see `with_learning_rate`).

    Args:
      name: a name in `OPTIMIZERS`, or the entry of another optimizer (`optimizer_kind`).
      clip_norm: clip gradients to this global norm, and count how often; 0 = no clipping.
      weight_decay: for an optimizer that takes it; None = the optimizer's default.
      cosine_over: number of updates of a cosine schedule (`cosine_schedule`); None = constant rate.
    Raises:
      InputError: a number is out of range, the optimizer takes no weight decay, or is not an optimizer.
    """
    if not isinstance(name, OptimizerKind):
        check_known("optimizer", name, OPTIMIZERS)
    kind = name if isinstance(name, OptimizerKind) else OPTIMIZERS[name]
    for what, number in {"learning_rate": learning_rate, "clip_norm": clip_norm, "weight_decay": weight_decay or 0}.items():
        if not is_number(number, 0):
            raise InputError(f"{what} is {number!r}; it must be a finite number, 0 or more")
    if cosine_over is not None:
        check_whole(1, cosine_over=cosine_over)
    has_decay = takes_parameter(kind.make, "weight_decay")
    if weight_decay and not has_decay:
        raise InputError(f"weight decay is {weight_decay:g}, but this optimizer has none")
    decay = {"weight_decay": weight_decay} if has_decay and weight_decay is not None else {}

    def make(learning_rate: Any) -> optax.GradientTransformation:
        made = kind.make(**{_rate_parameter(kind.make) or "learning_rate": learning_rate}, **decay)
        if not isinstance(made, optax.GradientTransformation):
            raise InputError(f"the optimizer returns {describe_kind(made)}; it must return an optax.GradientTransformation")
        return made

    descent = optax.inject_hyperparams(make)(learning_rate=learning_rate)
    before = [clip_by_global_norm(clip_norm)] if clip_norm else []
    behind = [] if cosine_over is None else [cosine_schedule(cosine_over)]
    return allow_promotion(optax.chain(*before, descent, *behind) if before or behind else descent)


def num_clipped(opt_state: optax.OptState) -> int | None:
    """Return the number of clipped updates so far; None without clipping."""
    clipping = _find_state(opt_state, ClippingState)
    return None if clipping is None else int(clipping.num_clipped)


def learning_rate(opt_state: optax.OptState) -> float:
    """Return the learning rate in the state, as the shortest number that rounds to it in float32: 0.1, not 0.10000000149."""
    return float(str(np.float32(_find_rate(opt_state))))


def with_learning_rate(opt_state: optax.OptState, rate: float | Float[Array, ""]) -> optax.OptState:
    """Replace the learning rate in the state, even one that your own optimizer keeps deeper inside."""
    dtype = _find_rate(opt_state).dtype
    return optax.tree_utils.tree_set(
        opt_state, learning_rate=rate.astype(dtype) if isinstance(rate, jax.Array) else dtype.type(rate)
    )


def check_constant_rate(opt_state: optax.OptState) -> None:
    """Raise `InputError` unless the state holds one learning rate that `with_learning_rate` can replace for good."""
    found = _find_rates(opt_state)
    if not all(isinstance(rate, jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct) for _, rate in found):
        raise InputError(
            f"the learning rate follows a schedule, which sets it anew at each update; {WITH_RATE} and a constant rate"
        )
    outermost, _ = min(found, key=lambda each: len(each[0]))
    if any(
        path[: len(outermost) - 2] != outermost[:-2] or len(path) == len(outermost) for path, _ in found if path != outermost
    ):
        raise InputError(f"the optimizer's state holds {len(found)} learning rates; all runs of a sweep need a single one")


def _find_rate(opt_state: optax.OptState) -> Any:
    """Find the outermost learning rate: your own optimizer may contain another one."""
    return min(_find_rates(opt_state), key=lambda each: len(each[0]))[1]


def _find_rates(opt_state: optax.OptState) -> list[tuple[Any, Any]]:
    """Find all learning rates, with their paths."""
    found = optax.tree_utils.tree_get_all_with_path(opt_state, "learning_rate")
    if not found:
        raise InputError(f"the optimizer's state holds no learning rate; {WITH_RATE}")
    return found


def schedule_length(opt_state: optax.OptState) -> int | None:
    """Return the number of updates of the cosine schedule; None without one."""
    schedule = _find_state(opt_state, CosineState)
    return None if schedule is None else int(schedule.num_updates)


def with_schedule_length(opt_state: optax.OptState, count: int) -> optax.OptState:
    """Replace the number of updates of the cosine schedule, if there is one."""
    if schedule_length(opt_state) is None:
        return opt_state

    def lengthen(state: Any) -> Any:
        return state._replace(num_updates=np.int32(count)) if isinstance(state, CosineState) else state

    return jax.tree.map(lengthen, opt_state, is_leaf=lambda state: isinstance(state, CosineState))


def schedule_position(opt_state: optax.OptState) -> int | None:
    """Return the number of updates since the cosine schedule began; None without one."""
    schedule = _find_state(opt_state, CosineState)
    return None if schedule is None else int(schedule.num_done)


def with_stages(
    opt_state: optax.OptState, is_clipped: bool, has_schedule: bool, cosine_over: int | None = None
) -> optax.OptState:
    """Convert the state of `make_optimizer`, as if it had been made with or without clipping and a cosine schedule.

    The optimizer's own state stays, and so do the count of clipped updates and the position in the schedule.

    Args:
      cosine_over: number of updates of a new cosine schedule, which begins at its first update; None = the present one.
    """
    stages = opt_state if type(opt_state) is tuple else (opt_state,)  # of `optax.chain`
    (descent,) = [stage for stage in stages if not isinstance(stage, ClippingState | CosineState)]
    clipping, schedule = _find_state(opt_state, ClippingState), _find_state(opt_state, CosineState)
    if cosine_over is not None or schedule is None:
        schedule = CosineState(jnp.int32(0), jnp.int32(ENDLESS if cosine_over is None else cosine_over))
    before = (clipping or ClippingState(jnp.int32(0)),) if is_clipped else ()
    behind = (schedule,) if has_schedule else ()
    return (*before, descent, *behind) if before or behind else descent


def schedule_factor(opt_state: optax.OptState) -> float:
    """Return the factor of the learning rate at the next update; 1 without a cosine schedule."""
    schedule = _find_state(opt_state, CosineState)
    return 1.0 if schedule is None else float(cosine_factor(*schedule))


def _find_state(opt_state: optax.OptState, kind: type) -> Any:
    states = jax.tree.leaves(opt_state, is_leaf=lambda state: isinstance(state, kind))
    return next((state for state in states if isinstance(state, kind)), None)
