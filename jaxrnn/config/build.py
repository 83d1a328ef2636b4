"""From settings to what is run: the keys, the parts of the text as ids, the model, the learner."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from jaxrnn.array_types import RandomKey
from jaxrnn.config import auto, lengths, parts
from jaxrnn.config.settings import Config, dropout_rate, learning_rate, resolved
from jaxrnn.data import text as texts
from jaxrnn.data.automaton import Source
from jaxrnn.data.vocabulary import Vocabulary, class_ids, class_representatives, encode, merge_rare, of_text
from jaxrnn.errors import InputError, check_value
from jaxrnn.models.classes import with_classes
from jaxrnn.models.model import Model, network
from jaxrnn.rules import make_rule
from jaxrnn.training.learner import Learner, online
from jaxrnn.training.optimizers import ENDLESS, OPTIMIZERS, make_optimizer

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
    source: Source | None = None


def make_keys(seed: int) -> Keys:
    """The roots of all random numbers of a run."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


def load_data(config: Config, known: Vocabulary | None = None) -> Data:
    """Reads, cuts and encodes the text.

    Args:
      known: a vocabulary that the text's characters are added to, each by itself; without one, it is that of all parts of the
        text, its characters that are rare in the training part merged if the settings say so.
    Raises:
      InputError: what `parts.text` raises, and a text too short for its parts and streams, with one distinct character or with
        none that is not merged.
    """
    settings = config.text
    (whole, source), used = _read(config)
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
    text = used if source else None
    return Data(vocabulary, train, validation, heldout, len(whole), len(used), texts.hash_text(used), text, source)


def read_used_text(config: Config) -> tuple[str, str]:
    """The whole text, and its first characters, which are used; `InputError` as `parts.text` raises it."""
    whole, used = _read(config)
    return whole.characters, used


def _read(config: Config) -> tuple[parts.Text, str]:
    whole = parts.text(config.text.text)
    return whole, whole.characters[: config.text.max_characters] if config.text.max_characters else whole.characters


def build_model(config: Config, vocabulary: Vocabulary) -> Model:
    """The network that the settings describe, once they are chosen, for this vocabulary."""
    settings = {**vars(config.model), "hidden_size": resolved(config.model.hidden_size)}
    settings["cell"] = parts.cell(config.model.cell)
    of_classes = network(vocab_size=len(class_representatives(vocabulary)), **settings)
    return with_classes(of_classes, class_ids(vocabulary)) if vocabulary.rare else of_classes


def build_learner(config: Config, model: Model) -> Learner:
    """The network, the rule and the optimizer that the settings name."""
    settings = config.learning
    kind = parts.optimizer(settings.optimizer)
    optimize = make_optimizer(
        kind,
        learning_rate(config),
        clip_norm=settings.clip_norm,
        # 0 is none in an optimizer of ours; one of somebody else's then decays as it does by itself.
        weight_decay=settings.weight_decay if settings.weight_decay or settings.optimizer in OPTIMIZERS else None,
        cosine_over=ENDLESS if settings.schedule == "cosine" else None,  # how long the run is is not known here
    )
    rule = make_rule(parts.rule(settings.rule), model, settings.rule_length, dropout_rate(config))
    learner = online(model, rule, optimize, streams_shape(config), kind.test_params)
    if settings.schedule == "halving" and _tests_other_weights(learner):
        raise InputError(f"--schedule halving takes weights back, and those of {settings.optimizer} are an average")
    return learner


def _tests_other_weights(learner: Learner) -> bool:
    state = jax.eval_shape(learner.init, make_keys(0).init)
    return bool(jax.make_jaxpr(learner.test_params)(state).eqns)


def describe_optimizer(config: Config) -> str:
    """What `build_learner` updates with."""
    settings = config.learning
    return f"{settings.optimizer}, clipped by global norm" if settings.clip_norm else settings.optimizer


def streams_shape(config: Config) -> tuple[int, ...]:
    """The shape of what is read at one time: () for one stream, (B,) for more."""
    return () if config.learning.num_streams == 1 else (config.learning.num_streams,)


def _check_num_updates(config: Config, num_train: int) -> None:
    block = parts.characters_per_update(config) * config.learning.num_streams
    updates = config.learning.epochs * (num_train // block)
    if updates > MAX_UPDATES:
        raise InputError(f"--epochs {config.learning.epochs} makes {updates:,} updates; at most {MAX_UPDATES:,} can be counted")
