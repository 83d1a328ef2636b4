"""Build what settings describe: random keys, data, model and learner."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from jaxrnn.array_types import RandomKey
from jaxrnn.config import auto, lengths, parts
from jaxrnn.config.plugins import explain_failures
from jaxrnn.config.settings import Config, resolved, resolved_dropout, resolved_rate
from jaxrnn.config.trust import imports_of
from jaxrnn.data import text as texts
from jaxrnn.data.automaton import Source
from jaxrnn.data.vocabulary import Vocabulary, class_ids, class_representatives, encode, merge_rare, of_text
from jaxrnn.errors import InputError, check_value
from jaxrnn.models.classes import with_classes
from jaxrnn.models.model import Model, network
from jaxrnn.rules import make_rule
from jaxrnn.training.learner import Learner, online
from jaxrnn.training.optimizers import ENDLESS, make_optimizer

MAX_UPDATES = 2**31 - 1  # the step number is an i32


class Keys(NamedTuple):
    """One root key for each use of random numbers; draws follow from it and a number, such as the epoch."""

    init: RandomKey
    epochs: RandomKey
    samples: RandomKey
    evaluation: RandomKey


class Data(NamedTuple):
    """The parts of a text as ids, i32[characters] each."""

    vocabulary: Vocabulary
    train: Int[np.ndarray, " train_characters"]
    validation: Int[np.ndarray, " validation_characters"]
    heldout: Int[np.ndarray, " heldout_characters"]
    num_characters: int  # of the whole text, before --max-characters
    num_used: int
    sha256: str  # of the characters in use
    text: str | None = None  # the characters in use, if their source is known
    source: Source | None = None


def make_keys(seed: int) -> Keys:
    """Make the root keys of a run."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


def load_data(config: Config, known: Vocabulary | None = None) -> Data:
    """Read the text, then split and encode it; raise `InputError` as `parts.find_text` and `split_data` do."""
    return split_data(config, parts.find_text(config.text.text), known)


def split_data(config: Config, text: parts.Text, known: Vocabulary | None = None) -> Data:
    """Split and encode a text that was read.

    Args:
      known: a vocabulary to extend with the text's characters; None = make one from the whole text, and merge the characters
        that are rare in the training part if the settings say so.
    Raises:
      InputError: a text that is too short for its parts and streams, has one distinct character, or would have all characters
        merged.
    """
    settings, (whole, source) = config.text, text
    used = _cut(config, whole)
    if len(used) < len(whole):
        check_value("max-characters", len(used), len(used) >= 2, "0 (all) or more than 1: two characters or more are needed")
    texts.check_length(settings.text, used)
    vocabulary = of_text(used, known)
    if len(vocabulary.characters) < 2:
        raise InputError(f"text {settings.text!r} is one distinct character, {used[0]!r}, {len(used)} times: nothing to learn")
    split = texts.split(used, auto.resolve_validation_fraction(config, len(used)), settings.heldout_fraction)
    lengths.check_lengths(config, len(whole))
    _check_num_updates(config, len(split.train))
    train, validation, heldout = (encode(vocabulary, part) for part in split)
    if known is None and settings.rare_threshold:
        vocabulary = merge_rare(vocabulary, train, settings.rare_threshold)
        if vocabulary.rare == vocabulary.characters:
            raise InputError(f"--rare-threshold {settings.rare_threshold} merges all characters: set a lower one")
    kept = used if source else None
    return Data(vocabulary, train, validation, heldout, len(whole), len(used), texts.hash_text(used), kept, source)


def read_used_text(config: Config) -> tuple[str, str]:
    """Read the whole text, and cut off the part in use; raise `InputError` as `parts.find_text` does."""
    whole = parts.find_text(config.text.text).characters
    return whole, _cut(config, whole)


def _cut(config: Config, whole: str) -> str:
    return whole[: config.text.max_characters] if config.text.max_characters else whole


def build_model(config: Config, vocabulary: Vocabulary) -> Model:
    """Build the model of resolved settings for a vocabulary."""
    settings = {**vars(config.model), "hidden_size": resolved(config.model.hidden_size)}
    settings["cell"] = parts.find_cell(config.model.cell)
    with explain_failures(imports_of(config)):
        of_classes = network(vocab_size=len(class_representatives(vocabulary)), **settings)
    return with_classes(of_classes, class_ids(vocabulary)) if vocabulary.rare else of_classes


def build_learner(config: Config, model: Model) -> Learner:
    """Build the learner: model, rule and optimizer."""
    settings = config.learning
    kind = parts.find_optimizer(settings.optimizer)
    optimize = make_optimizer(
        kind,
        resolved_rate(config),
        clip_norm=settings.clip_norm,
        weight_decay=settings.weight_decay,
        cosine_over=ENDLESS if settings.schedule == "cosine" else None,  # the length of the run is not known here
    )
    with explain_failures(imports_of(config)):
        rule = make_rule(parts.find_rule(settings.rule), model, settings.rule_length, resolved_dropout(config))
    learner = online(model, rule, optimize, streams_shape(config), kind.test_params)
    if settings.schedule == "halving" and _tests_other_weights(learner):
        raise InputError(f"--schedule halving restores weights, which {settings.optimizer} cannot: it tests with their average")
    return learner


def try_update(config: Config, learner: Learner) -> None:
    """Trace an update if parts of your own take part in it; raise `InputError` if that fails. Nothing is computed."""
    named = imports_of(config)
    if not named:
        return
    block = jax.ShapeDtypeStruct((learner.length, *streams_shape(config)), np.int32)
    with explain_failures(named):
        jax.eval_shape(learner.update, jax.eval_shape(learner.init, make_keys(0).init), block, block)


def _tests_other_weights(learner: Learner) -> bool:
    state = jax.eval_shape(learner.init, make_keys(0).init)
    return bool(jax.make_jaxpr(learner.test_params)(state).eqns)


def describe_optimizer(config: Config) -> str:
    """Describe the optimizer."""
    settings = config.learning
    return f"{settings.optimizer}, clipped by global norm" if settings.clip_norm else settings.optimizer


def streams_shape(config: Config) -> tuple[int, ...]:
    """Return the shape of the inputs of one step: () for one stream, (B,) for more."""
    return () if config.learning.num_streams == 1 else (config.learning.num_streams,)


def _check_num_updates(config: Config, num_train: int) -> None:
    block = parts.block_length(config) * config.learning.num_streams
    updates = config.learning.epochs * (num_train // block)
    if updates > MAX_UPDATES:
        raise InputError(f"--epochs {config.learning.epochs} makes {updates:,} updates; at most {MAX_UPDATES:,} can be counted")
