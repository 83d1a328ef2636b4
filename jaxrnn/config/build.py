"""From settings to what is run: the keys, the parts of the text as ids, the model, the learner."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from jaxrnn.array_types import RandomKey
from jaxrnn.config import auto, lengths
from jaxrnn.config.settings import Config, characters_per_update, dropout_rate, learning_rate, resolved
from jaxrnn.data import text as texts
from jaxrnn.data.vocabulary import Vocabulary, class_ids, class_representatives, encode, merge_rare, of_text
from jaxrnn.errors import InputError, check_value
from jaxrnn.models.model import Model, network, with_classes
from jaxrnn.rules import RULES
from jaxrnn.training.learner import Learner, online
from jaxrnn.training.optimizers import ENDLESS, make_optimizer

MAX_UPDATES = 2**31 - 1  # the step number is an i32


class Keys(NamedTuple):
    """One root for each use of random numbers; what is drawn follows from these and a number (an epoch, a sample)."""

    init: RandomKey
    epochs: RandomKey
    samples: RandomKey
    evaluation: RandomKey


class Data(NamedTuple):
    """A text ready to be read, i32[characters] each."""

    vocabulary: Vocabulary
    train: Int[np.ndarray, " train_characters"]
    validation: Int[np.ndarray, " validation_characters"]
    heldout: Int[np.ndarray, " heldout_characters"]
    num_characters: int  # of the whole text, before --max-characters
    num_used: int
    sha256: str  # of the characters that are used
    text: str | None = None  # these characters, if their source is known, whose own losses are asked for


def make_keys(seed: int) -> Keys:
    """The roots of all random numbers of a run."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


def load_data(config: Config, known: Vocabulary | None = None) -> Data:
    """Reads, cuts and encodes the text.

    Args:
      known: a vocabulary that the text's characters are added to, each by itself; without one, it is that of all parts of the
        text, its characters that are rare in the training part merged if the settings say so.
    Raises:
      InputError: what `text.read` raises, and a text too short for its parts and streams, with one distinct character or with
        none that is not merged.
    """
    settings = config.text
    whole, used = read_used_text(config)
    if len(used) < len(whole):
        check_value("max-characters", len(used), len(used) >= 2, "0 (all) or more than 1: two characters or more are needed")
    texts.check_length(settings.text, used)
    vocabulary = of_text(used, known)
    if len(vocabulary.characters) < 2:
        raise InputError(f"text {settings.text!r} is one distinct character, {used[0]!r}, {len(used)} times: nothing to learn")
    parts = texts.split(used, auto.resolve_validation_fraction(config, len(used)), settings.heldout_fraction)
    lengths.check_lengths(config, len(whole))
    _check_num_updates(config, len(parts.train))
    train, validation, heldout = (encode(vocabulary, part) for part in parts)
    if known is None and settings.rare_threshold:
        vocabulary = merge_rare(vocabulary, train, settings.rare_threshold)
        if vocabulary.rare == vocabulary.characters:
            raise InputError(f"--rare-threshold {settings.rare_threshold} merges all characters: set a lower one")
    known_source = used if texts.has_floor(settings.text) else None
    return Data(vocabulary, train, validation, heldout, len(whole), len(used), texts.hash_text(used), known_source)


def read_used_text(config: Config) -> tuple[str, str]:
    """The whole text, and its first characters, which are used; `InputError` as `text.read` raises it."""
    whole = texts.read(config.text.text)
    return whole, whole[: config.text.max_characters] if config.text.max_characters else whole


def build_model(config: Config, vocabulary: Vocabulary) -> Model:
    """The network that the settings describe, once they are chosen, for this vocabulary."""
    settings = {**vars(config.model), "hidden_size": resolved(config.model.hidden_size)}
    of_classes = network(vocab_size=len(class_representatives(vocabulary)), **settings)
    return with_classes(of_classes, class_ids(vocabulary)) if vocabulary.rare else of_classes


def build_learner(config: Config, model: Model) -> Learner:
    """The network, the rule and the optimizer that the settings name."""
    settings = config.learning
    optimize = make_optimizer(
        settings.optimizer,
        learning_rate(config),
        clip_norm=settings.clip_norm,
        weight_decay=settings.weight_decay,
        cosine_over=ENDLESS if settings.schedule == "cosine" else None,  # how long the run is is not known here
    )
    rule = RULES[settings.rule](model, settings.rule_length, dropout_rate(config))
    return online(model, rule, optimize, streams_shape(config))


def describe_optimizer(config: Config) -> str:
    """What `build_learner` updates with."""
    settings = config.learning
    return f"{settings.optimizer}, clipped by global norm" if settings.clip_norm else settings.optimizer


def streams_shape(config: Config) -> tuple[int, ...]:
    """The shape of what is read at one time: () for one stream, (B,) for more."""
    return () if config.learning.num_streams == 1 else (config.learning.num_streams,)


def _check_num_updates(config: Config, num_train: int) -> None:
    block = characters_per_update(config) * config.learning.num_streams
    updates = config.learning.epochs * (num_train // block)
    if updates > MAX_UPDATES:
        raise InputError(f"--epochs {config.learning.epochs} makes {updates:,} updates; at most {MAX_UPDATES:,} can be counted")
