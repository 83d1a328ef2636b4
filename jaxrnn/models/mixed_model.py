"""A network and counts as one model, whose step is their mixture, so that one can sample from it as from any other model."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxrnn.data.array_types import Carry, Ids, Logits, Params, RandomKey
from jaxrnn.models.count_tree import NUM_COLUMNS
from jaxrnn.models.counts import CountModel, Counts
from jaxrnn.models.decisions import Known
from jaxrnn.models.documents import restart_carry, split_marks
from jaxrnn.models.mixture import Mixture, MixtureModel
from jaxrnn.models.model import Model, num_characters


class MixedParams(NamedTuple):
    """What the mixture has learned; it learns nothing more from what it reads."""

    network: Params
    counts: tuple[Counts, ...]
    mixture: Mixture  # its last one combines all models, network first


class MixedCarry(NamedTuple):
    """The position of the mixture in its text."""

    network: Carry
    contexts: tuple[Int[Array, " contexts"], ...]  # of each model that counts
    previous: Int[Array, ""]  # the last character, i32


def mixed_model(model: Model, counts: tuple[CountModel, ...], mixture: MixtureModel) -> Model:
    """Make a model with `MixedParams` for one stream; it has no layers, and cannot initialise weights."""

    def initial_contexts() -> tuple[Int[Array, " contexts"], ...]:
        no_tree = jnp.zeros((0, NUM_COLUMNS), jnp.int32)
        return tuple(each.restart(Counts(no_tree, jnp.int32(0), jnp.zeros(0, jnp.int32))).contexts for each in counts)

    def initial_carry(key: RandomKey, streams: tuple[int, ...]) -> MixedCarry:
        return MixedCarry(model.initial_carry(key, streams), initial_contexts(), jnp.int32(0))

    def step(params: MixedParams, carry: MixedCarry, x: Ids) -> tuple[MixedCarry, Logits]:
        network, logits = model.step(params.network, carry.network, x)
        x, starts = split_marks(model, x)
        before = restart_carry(carry.contexts, starts, initial_contexts())
        states = [
            each.advance(state._replace(contexts=contexts), x)
            for each, state, contexts in zip(counts, params.counts, before, strict=True)
        ]
        of_counts = [jnp.log(each.predict(state)) for each, state in zip(counts, states, strict=True)]
        times, last = zip(*(each.followers(state) for each, state in zip(counts, states, strict=True)), strict=True)
        known = Known(jnp.stack([jax.nn.log_softmax(logits), *of_counts]), jnp.concatenate(times), jnp.concatenate(last))
        mixed = mixture.predict(params.mixture, known, jnp.stack([carry.previous, x]))[-1]
        return MixedCarry(network, tuple(state.contexts for state in states), x), mixed

    return Model(model.init, initial_carry, step, vocab_size=num_characters(model), reads_marks=model.reads_marks)
