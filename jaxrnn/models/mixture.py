"""Mix models of a text while they read it: networks and counts, at each binary decision of a character's code.

A model's probabilities of all characters give the odds of each decision (`binary_code`); so do the counts after each context.
The log odds x of all of them are mixed,

    log odds = w x,    w <- w + rate (decision - p) x,

with weights that are selected by the previous character and by how much is known about the context, and that learn as they
read. The results of several such selections are mixed once more, and corrected by how often such decisions were right before
("refined"). A character's probability is the product over its decisions, so that the probabilities of all characters sum to 1.

Each mixture is then mixed linearly with each of its models and with the mixtures of some of them, which costs little and finds
out whether one of these is better (`linear_mixture`).

Source: Mahoney (2005), "Adaptive weighing of context models for lossless data compression", Florida Tech CS-2005-16.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrnn.models import decisions
from jaxrnn.models.binary_code import BinaryCode
from jaxrnn.models.decisions import NEVER, Decisions, Known, log_known
from jaxrnn.models.linear_mixture import learn_trust, mix_linearly, start_trust
from jaxrnn.models.scalar_loops import as_one_kernel, get_row, put_row

# Learning rate of the weights, with and without counts among the models; how many times higher it is at first; and the number
# of characters over which it falls. All rates from 0.001 to 0.004 are within 0.002 nats (Molière, Austen); for networks alone,
# 0.005 is 0.004 nats better.
RATE, RATE_OF_NETWORKS, FIRST_RATES, CHARACTERS_TO_SETTLE = 0.002, 0.005, 5.0, 200.0
COUNT_RATE = 0.01  # for what counts are worth
REFINING_RATE = 0.03
REFINED_ODDS, NUM_REFINED = 8.0, 33  # log odds are refined between -8 and 8, in steps of a half
LEAST, LEAST_WORTH, MOST_ODDS = 1e-6, 1e-4, 18.0  # bounds: of a probability, of what counts are worth, of log odds


class Mixture(NamedTuple):
    """Weights of several mixtures, each of some of the models; they learn as they read. Arrays only, f32."""

    weights: tuple[Float[Array, "_ mixtures inputs"], ...]  # one row of each is selected
    last_weights: Float[Array, "nodes mixtures selections"]
    refined: tuple[Float[Array, "_ mixtures odds"], ...]  # probabilities; one row of each is selected
    worth: tuple[Float[Array, " cells"], ...]  # for each context, the probability of a decision after such counts
    log_trust: Float[Array, "mixtures experts"]  # in each expert of the linear mixture: the mixtures, then each model
    before: Int[Array, ""]  # the character before the previous one, i32
    num_read: Int[Array, ""]  # characters, i32


class _Kind(NamedTuple):
    """Choices that are fixed before a mixture reads."""

    code: BinaryCode
    num_contexts: tuple[int, ...]  # of each model that counts
    groups: Bool[np.ndarray, "mixtures models"]  # which models each mixture combines: networks first, then those that count


class MixtureModel(NamedTuple):
    """The pure functions of a mixture."""

    init: Callable[[], Mixture]  # equal weights
    join: Callable[..., Mixture]  # (mixture, share): add networks to a mixture of counts alone, with this share of the weight
    learn: Callable[..., tuple[Mixture, Float[Array, "time mixtures"]]]
    predict: Callable[..., Float[Array, "mixtures vocab"]]


def mixture_model(code: BinaryCode, num_contexts: tuple[int, ...], groups: Bool[np.ndarray, "mixtures models"]) -> MixtureModel:
    """Make several mixtures of the same models.

    Args:
      num_contexts: the number of contexts of each model that counts.
      groups: which models each mixture combines: networks first, then the models that count.
    Returns:
      A MixtureModel. `learn(state, known, previous, y)` scores the characters y, i32[time], each before anything learns from
      it, and returns the new state and the nats of each mixture. `predict(state, known, characters)` returns the log
      probabilities of all characters that may follow these two, i32[2]. `known` is a `decisions.Known`.
    """
    kind = _Kind(code, num_contexts, groups)
    return MixtureModel(partial(_init, kind), partial(_join, kind), partial(_learn, kind), partial(_predict, kind))


def _init(kind: _Kind) -> Mixture:
    num_mixtures, num_models = kind.groups.shape
    equal = (kind.groups / kind.groups.sum(axis=1, keepdims=True)).astype(np.float32)
    weights = np.zeros(_takes(kind).shape, np.float32)
    weights[:, 1 : 1 + num_models] = equal
    selects = _selects(kind)
    last = (selects / selects.sum(axis=1, keepdims=True)).astype(np.float32)
    odds = np.linspace(-REFINED_ODDS, REFINED_ODDS, NUM_REFINED, dtype=np.float32)
    refined = jnp.broadcast_to(jax.nn.sigmoid(odds), (decisions.NUM_PLACES, num_mixtures, NUM_REFINED))
    return Mixture(
        weights=tuple(
            jnp.asarray(np.tile(weights, (rows, 1, 1))) for rows in decisions.num_selected(kind.code, kind.num_contexts)
        ),
        last_weights=jnp.asarray(np.tile(last, (max(1, len(kind.code.lengths) - 1), 1, 1))),
        refined=(refined,) * decisions.NUM_REFINEMENTS,
        worth=(jnp.asarray(decisions.worth_of_counts()),) * sum(kind.num_contexts),
        log_trust=start_trust(kind.groups, _is_network(kind), jnp.float32(0.5)),
        before=jnp.int32(0),
        num_read=jnp.int32(0),
    )


def _join(kind: _Kind, learned: Mixture, share_of_networks: Float[Array, ""]) -> Mixture:
    new, num_networks = _init(kind), _num_networks(kind)
    has_networks, has_counts = kind.groups[:, :num_networks].any(axis=1), kind.groups[:, num_networks:].any(axis=1)
    kept = jnp.where(has_counts, jnp.where(has_networks, 1 - share_of_networks, 1), 0).astype(jnp.float32)
    inputs = np.arange(_takes(kind).shape[1])
    at_networks = np.outer(has_networks, (inputs >= 1) & (inputs <= num_networks))
    of_networks = jnp.where(at_networks, ((1 - kept) / max(1, num_networks))[:, None], 0)

    def joined(old: Array) -> Array:
        nothing = jnp.zeros((*old.shape[:2], num_networks), old.dtype)
        spread = jnp.concatenate([old[..., :1], nothing, old[..., 1:]], axis=-1)
        return kept[None, :, None] * spread + of_networks[None]

    of_counts, only_counts = jnp.asarray(has_counts)[None, :, None], jnp.asarray(has_counts & ~has_networks)[:, None]
    own = jnp.where(np.eye(len(kept), dtype=bool), learned.log_trust[0, 0], -jnp.inf)
    of_models = jnp.concatenate([jnp.full(num_networks, -jnp.inf, jnp.float32), learned.log_trust[0, 1:]])
    trust = jnp.concatenate([own, jnp.broadcast_to(of_models, (len(kept), len(of_models)))], axis=1)
    return new._replace(
        weights=tuple(map(joined, learned.weights)),
        last_weights=jnp.where(of_counts, learned.last_weights, new.last_weights),
        refined=tuple(jnp.where(of_counts, old, fresh) for old, fresh in zip(learned.refined, new.refined, strict=True)),
        worth=learned.worth,
        log_trust=jnp.where(only_counts, trust, start_trust(kind.groups, _is_network(kind), share_of_networks)),
        before=learned.before,
    )


def _num_networks(kind: _Kind) -> int:
    return kind.groups.shape[1] - len(kind.num_contexts)


def _is_network(kind: _Kind) -> Bool[np.ndarray, " models"]:
    return np.arange(kind.groups.shape[1]) < _num_networks(kind)


def _takes(kind: _Kind) -> Bool[np.ndarray, "mixtures inputs"]:
    """Mark the inputs that each mixture takes: those of its own models, and the bias."""
    of_contexts = np.repeat(kind.groups[:, _num_networks(kind) :], kind.num_contexts, axis=1)
    return np.concatenate([np.ones((len(kind.groups), 1), bool), kind.groups, of_contexts, of_contexts], axis=1)


def _selects(kind: _Kind) -> Bool[np.ndarray, "mixtures selections"]:
    """Mark the selections of weights that each mixture uses: by the previous character, and by contexts of its own models."""
    return np.concatenate([np.ones((len(kind.groups), 1), bool), kind.groups[:, _num_networks(kind) :]], axis=1)


def _rates(kind: _Kind) -> Float[np.ndarray, " mixtures"]:
    has_counts = kind.groups[:, _num_networks(kind) :].any(axis=1)
    return np.where(has_counts, np.float32(RATE), np.float32(RATE_OF_NETWORKS))


def _learn(
    kind: _Kind, state: Mixture, known: Known, previous: Int[Array, " time"], y: Int[Array, " time"]
) -> tuple[Mixture, Float[Array, "time mixtures"]]:
    characters = jnp.concatenate([state.before[None], previous])
    described = decisions.on_path(kind.code, kind.num_contexts, known, characters, y)
    bits, lengths = jnp.asarray(kind.code.bits)[y], jnp.asarray(kind.code.lengths)[y]
    of_models = jnp.take_along_axis(log_known(known.log_ps), y[:, None, None], axis=2)[:, :, 0]
    # Set before the kernel, not after it: all of the kernel's arguments must be used (`as_one_kernel`).
    begun = state._replace(before=previous[-1])
    learn = partial(_learn_characters, kind)
    if len(kind.code.lengths) < 3:  # one decision or none: not all of these arguments would be used
        return learn(begun, described, bits, lengths, of_models)
    return as_one_kernel(learn)(begun, described, bits, lengths, of_models)


def _learn_characters(
    kind: _Kind,
    state: Mixture,
    described: Decisions,
    bits: Int[Array, "time depth"],
    lengths: Int[Array, " time"],
    of_models: Float[Array, "time models"],
) -> tuple[Mixture, Float[Array, "time mixtures"]]:
    """Predict each decision of each character, and learn from it before the next."""
    (time,), num_mixtures = lengths.shape, len(kind.groups)

    def read_character(loop: tuple) -> tuple:
        t, state, nats = loop
        length = get_row(lengths, t)  # here: inside the loop below, XLA in JAX 0.12 would read at t + 1 instead of t

        def decide(loop: tuple) -> tuple:
            d, state, log_p = loop
            at = jax.tree.map(lambda each: get_row(each, t, d), described)
            state, of_decision = _learn_decision(kind, state, at, get_row(bits, t, d))
            return d + 1, state, log_p + of_decision

        start = (jnp.int32(0), state, jnp.zeros(num_mixtures, jnp.float32))
        _, state, log_p = jax.lax.while_loop(lambda loop: loop[0] < length, decide, start)
        experts = jnp.concatenate([log_p, get_row(of_models, t)])
        nats = put_row(nats, -mix_linearly(state.log_trust, experts), t)
        trust = learn_trust(state.log_trust, experts)
        return t + 1, state._replace(log_trust=trust, num_read=state.num_read + 1), nats

    start = (jnp.int32(0), state, jnp.zeros((time, num_mixtures), jnp.float32))
    _, state, nats = jax.lax.while_loop(lambda loop: loop[0] < time, read_character, start)
    return state, nats


class _Judged(NamedTuple):
    """The prediction of one decision, and everything that it was computed from."""

    x: Float[Array, "mixtures inputs"]
    rows: list[Float[Array, "mixtures inputs"]]  # of the weights
    z: Float[Array, "mixtures selections"]  # log odds that each selection gives
    last_row: Float[Array, "mixtures selections"]
    p: Float[Array, " mixtures"]  # before the refinement
    refining: list[Float[Array, "mixtures odds"]]
    near: Float[Array, "mixtures odds"]  # the weight of each refined probability
    worth: Float[Array, " contexts"]
    refined_p: Float[Array, " mixtures"]


def _judge(kind: _Kind, state: Mixture, at: Decisions) -> _Judged:
    worth = jnp.stack([get_row(of_context, at.cells[c]) for c, of_context in enumerate(state.worth)] or [jnp.zeros(0)]).ravel()
    odds = jnp.where(at.cells == NEVER, 0, _logit(worth))
    x = jnp.concatenate([at.inputs[: at.inputs.shape[0] - odds.shape[0]], odds])
    x = jnp.where(jnp.asarray(_takes(kind)), x[None], 0)
    rows = [get_row(of_selection, at.selected[s]) for s, of_selection in enumerate(state.weights)]
    z = jnp.stack([(row * x).sum(axis=1) for row in rows], axis=1)
    z = jnp.where(jnp.asarray(_selects(kind)), jnp.clip(z, -MOST_ODDS, MOST_ODDS), 0)
    last_row = get_row(state.last_weights, at.node)
    mixed = jnp.clip((last_row * z).sum(axis=1), -MOST_ODDS, MOST_ODDS)
    p, refining = jax.nn.sigmoid(mixed), [get_row(each, at.places[r]) for r, each in enumerate(state.refined)]
    near = _nearness(mixed)
    refined = sum((row * near).sum(axis=1) for row in refining) / len(refining)
    refined_p = jnp.clip(0.5 * p + 0.5 * refined, LEAST, 1 - LEAST)
    return _Judged(x, rows, z, last_row, p, refining, near, worth, refined_p)


def _learn_decision(
    kind: _Kind, state: Mixture, at: Decisions, bit: Int[Array, ""]
) -> tuple[Mixture, Float[Array, " mixtures"]]:
    judged, taken = _judge(kind, state, at), bit.astype(jnp.float32)
    log_p = jnp.log(jnp.where(bit > 0, judged.refined_p, 1 - judged.refined_p))
    rate = jnp.asarray(_rates(kind)) * (1 + FIRST_RATES / (1 + state.num_read.astype(jnp.float32) / CHARACTERS_TO_SETTLE))
    steps = rate[:, None] * (taken - jax.nn.sigmoid(judged.z))
    weights = [
        put_row(each, row + steps[:, s, None] * judged.x, at.selected[s])
        for s, (each, row) in enumerate(zip(state.weights, judged.rows, strict=True))
    ]
    last_row = judged.last_row + (rate * (taken - judged.p))[:, None] * judged.z
    nearest = (judged.near > 0.5).astype(jnp.float32)
    refined = [
        put_row(each, row + REFINING_RATE * nearest * (taken - row), at.places[r])
        for r, (each, row) in enumerate(zip(state.refined, judged.refining, strict=True))
    ]
    worth = judged.worth + COUNT_RATE * (taken - judged.worth)
    learned = state._replace(
        weights=tuple(weights),
        last_weights=put_row(state.last_weights, last_row, at.node),
        refined=tuple(refined),
        worth=tuple(put_row(of_context, worth[c], at.cells[c]) for c, of_context in enumerate(state.worth)),
    )
    return learned, log_p


def _predict(kind: _Kind, state: Mixture, known: Known, characters: Int[Array, "2"]) -> Float[Array, "mixtures vocab"]:
    described = decisions.at_all_nodes(kind.code, kind.num_contexts, known, characters)
    p = jax.vmap(lambda at: _judge(kind, state, at).refined_p)(described)  # [nodes, mixtures]
    log_sides = jnp.log(jnp.stack([1 - p, p]))[jnp.asarray(kind.code.bits), jnp.asarray(kind.code.nodes)]
    is_taken = np.arange(kind.code.bits.shape[1])[None] < kind.code.lengths[:, None]
    mixed = jnp.where(jnp.asarray(is_taken)[:, :, None], log_sides, 0).sum(axis=1).T
    experts = jnp.concatenate([mixed, log_known(known.log_ps)])
    return mix_linearly(state.log_trust, experts)


def _nearness(odds: Float[Array, " mixtures"]) -> Float[Array, "mixtures odds"]:
    """Compute the weights of the two grid points around these odds: 1 at a grid point, falling to 0 at its neighbours."""
    inside = jnp.clip(odds, -REFINED_ODDS, REFINED_ODDS)
    place = (inside + REFINED_ODDS) * ((NUM_REFINED - 1) / (2 * REFINED_ODDS))
    return jnp.maximum(0, 1 - jnp.abs(place[:, None] - jnp.arange(NUM_REFINED, dtype=jnp.float32)[None]))


def _logit(p: Array) -> Array:
    bounded = jnp.clip(p, LEAST_WORTH, 1 - LEAST_WORTH)
    return jnp.log(bounded) - jnp.log(1 - bounded)
