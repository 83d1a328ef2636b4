"""Merge characters into classes that a model reads and predicts as one."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrnn.data.array_types import Carry, Ids, Logits, Params
from jaxrnn.errors import InputError
from jaxrnn.models.documents import split_marks
from jaxrnn.models.model import Model, check_model, num_characters


def with_classes(model: Model, classes: Int[np.ndarray, " vocab"]) -> Model:
    """Turn a model of classes into one of characters, which share the probability of their class equally.

    P(y) = P(class of y) / C for a class of C characters: the model reads the class of a character, and the logit of a class,
    less ln C, becomes that of its characters. The weights stay the same.

    Args:
      classes: the class of each character, numbered from 0, each used at least once.
    Raises:
      InputError: the classes do not match the model.
    Source: Mikolov et al. (2010), Interspeech, eq. 7: the rare words are one class, every other word is its own.
    """
    check_model(model)
    number, classes = num_characters(model), np.asarray(classes)
    if classes.ndim != 1 or not np.issubdtype(classes.dtype, np.integer):
        raise InputError(f"the classes are {classes.dtype}{list(classes.shape)}; they must be integers, one for each character")
    if sorted(set(classes.tolist())) != list(range(number)):
        raise InputError(f"the classes of characters must be those of the model, 0 to {number - 1}, and each must be used")
    class_of, log_size = jnp.asarray(classes, jnp.int32), np.log(np.bincount(classes))[classes]

    def spread(logits: Float[Array, "*streams classes"]) -> Logits:
        of_characters = jnp.take(logits, class_of, axis=-1)
        return of_characters - jnp.broadcast_to(jnp.asarray(log_size, logits.dtype), of_characters.shape)

    def to_classes(ids: Ids) -> Ids:
        unmarked, starts = split_marks(model, ids)
        of_ids = class_of[unmarked]
        return of_ids if starts is None else jnp.where(starts, ~of_ids, of_ids)

    def step(params: Params, carry: Carry, ids: Ids) -> tuple[Carry, Logits]:
        carry, logits = model.step(params, carry, to_classes(ids))
        return carry, spread(logits)

    return model._replace(
        step=step,
        embed=lambda params, ids: model.embed(params, to_classes(ids)),
        read_out=lambda params, h: spread(model.read_out(params, h)),
        vocab_size=len(classes),
        step_of_layers=step if model.layers else None,
    )
