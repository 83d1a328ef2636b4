"""A model whose rare characters share one place: it reads and predicts classes of characters."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrnn.array_types import Carry, Ids, Logits, Params
from jaxrnn.errors import InputError
from jaxrnn.models.model import Model, num_characters


def with_classes(model: Model, classes: Int[np.ndarray, " vocab"]) -> Model:
    """A model of classes as one of the characters in them, which share what is likely of their class evenly.

    P(y) = P(class of y) / C, where C characters are in that class: what is read is its class, and the logits of a class become
    those of its characters, less ln C. The weights are those of the model given.

    Args:
      classes: of each character, from 0 on, each with one character at least.
    Raises:
      InputError: the model is not of these classes.
    Source: Mikolov et al. (2010), Interspeech, eq. 7: the rare words are one class, every other word is its own.
    """
    number = num_characters(model)
    if sorted(set(classes.tolist())) != list(range(number)):
        raise InputError(f"the classes of characters are not those of the model, 0 to {number - 1}, each used")
    class_of, log_size = jnp.asarray(classes, jnp.int32), np.log(np.bincount(classes))[classes]

    def spread(logits: Float[Array, "*streams classes"]) -> Logits:
        of_characters = jnp.take(logits, class_of, axis=-1)
        return of_characters - jnp.broadcast_to(jnp.asarray(log_size, logits.dtype), of_characters.shape)

    def step(params: Params, carry: Carry, ids: Ids) -> tuple[Carry, Logits]:
        carry, logits = model.step(params, carry, class_of[ids])
        return carry, spread(logits)

    return model._replace(
        step=step,
        embed=lambda params, ids: model.embed(params, class_of[ids]),
        read_out=lambda params, h: spread(model.read_out(params, h)),
        vocab_size=len(classes),
    )
