"""Sweeps: a learner at several learning rates, with several seeds each, trained as one stack of states."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxrnn.data.streams import Pairs, count_updates
from jaxrnn.errors import InputError, describe_kind, is_whole, pluralize
from jaxrnn.training.learner import Learner, State, check_learner
from jaxrnn.training.optimizers import check_constant_rate, with_learning_rate
from jaxrnn.training.stacked import UPDATES_PER_CALL, Streams, stacked_driver


class Sweep(NamedTuple):
    """What `sweep` found. All arrays start with an axis for the rates and one for the seeds."""

    rates: tuple[float, ...]  #: learning rates
    seeds: tuple[int, ...]
    #: as from a driver: online, before each update; with a masked loss, 0 where nothing is asked
    losses: Float[np.ndarray, "rates seeds characters *columns"]
    states: State  #: after the last update
    aux: Any = ()  #: `Gradient.aux` of a learner that has it, one entry per update


def sweep(
    learner: Learner,
    rates: Iterable[float],
    seeds: Iterable[int],
    stream: Streams,
    num_updates: int | None = None,
    *,
    updates_per_call: int = UPDATES_PER_CALL,
    side_by_side: bool | None = None,
) -> Sweep:
    """Train a learner at each learning rate with each seed.

    Each run gets the numbers that it would get alone: to the last bit on a CPU, up to rounding side by side. It starts from
    `learner.init(jax.random.key(seed))`, with its learning rate in the optimizer's state. `jaxrnn.show` makes a table and a
    picture of the result.

    Args:
      learner: its optimizer holds a constant learning rate in its state, as those of `make_optimizer` do.
      seeds: integers, such as ``range(8)``.
      stream: what all runs read, as for a driver; or a list of one stream per seed, all of the same length.
      num_updates: updates of each run; None = one pass over the stream.
      updates_per_call, side_by_side: as for `stacked_driver`.
    Returns:
      A Sweep, with the losses ``f32[rates, seeds, num_updates * learner.length]``.
    Raises:
      InputError: an argument is not as above, or the stream does not fit the learner.
    """
    rates, seeds = _check_rates(rates), _check_seeds(seeds)
    states, drive = start_runs(learner, rates, seeds), stacked_driver(learner, updates_per_call, side_by_side)
    if isinstance(stream, tuple) and not isinstance(stream, Pairs):
        raise InputError("the streams are a tuple; give a list of one per seed, or Pairs(x, y)")
    if isinstance(stream, list) and len(stream) != len(seeds):
        raise InputError(f"there are {pluralize(len(stream), 'stream')} for {pluralize(len(seeds), 'seed')}; give one per seed")
    of_runs, first = (stream * len(rates), stream[0]) if isinstance(stream, list) else (stream, stream)
    learner.check(first)
    count = count_updates(first, learner.length) if num_updates is None else num_updates
    if not is_whole(count):
        raise InputError(f"num_updates is {count!r}; it must be a whole number")
    found = drive(states, of_runs, count)
    states, results = jax.tree.map(lambda leaf: leaf.reshape(len(rates), len(seeds), *leaf.shape[1:]), found)
    losses, aux = results if learner.has_aux else (results, ())
    return Sweep(rates, seeds, losses, states, aux)


def start_runs(learner: Learner, rates: Iterable[float], seeds: Iterable[int]) -> State:
    """Start a run at each learning rate with each seed.

    Returns:
      A State whose arrays are ``[rates * seeds, ...]``: all seeds of the first rate, then those of the next.
    Raises:
      InputError: the optimizer's state holds no constant learning rate, or a rate or seed is not allowed.
    """
    rates, seeds = _check_rates(rates), _check_seeds(seeds)
    check_learner(learner)
    check_constant_rate(jax.eval_shape(learner.init, jax.random.key(0)).opt_state)
    init = jax.jit(learner.init)
    started = [init(jax.random.key(seed)) for seed in seeds]
    runs = [state._replace(opt_state=with_learning_rate(state.opt_state, rate)) for rate in rates for state in started]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *runs)


def _check_rates(rates: Iterable[float]) -> tuple[float, ...]:
    found = _check_numbers("rates", rates, "(0.01, 0.1)")
    for rate in found:
        if not 1e-30 < rate < 1e30:
            raise InputError(f"rates has {rate}; a rate must be over 0, between 1e-30 and 1e30")
    return tuple(map(float, found))


def _check_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    found = _check_numbers("seeds", seeds, "range(8)")
    for seed in found:
        if not 0 <= seed < 2**32 or int(seed) != seed:
            raise InputError(f"seeds has {seed}; a seed must be a whole number, 0 to 4294967295")
    return tuple(map(int, found))


def _check_numbers(name: str, given: Iterable[Any], example: str) -> tuple[Any, ...]:
    if not isinstance(given, Iterable) or isinstance(given, str) or getattr(given, "shape", None) == ():
        raise InputError(f"{name} is {given!r}; it must be several numbers, such as {example}")
    found = tuple(each.item() if isinstance(each, jax.Array) and _is_scalar(each) else each for each in given)
    kinds = int | float | np.number | np.ndarray
    wrong = [each for each in found if np.ndim(each) or not isinstance(each, kinds) or np.iscomplexobj(each)]
    if wrong or not found:
        raise InputError(
            f"{name} {f'has {_shown(wrong[0])}' if wrong else 'is empty'}; it must be several numbers, such as {example}"
        )
    if len(set(map(float, found))) < len(found):
        raise InputError(f"{name} has the same number twice; give different ones")
    return found


def _shown(thing: Any) -> str:
    """Show a thing by its value, if that is short, or else by its type."""
    return repr(thing) if len(repr(thing)) < 50 and "\n" not in repr(thing) else describe_kind(thing)


def _is_scalar(array: jax.Array) -> bool:
    return array.ndim == 0 and not jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
