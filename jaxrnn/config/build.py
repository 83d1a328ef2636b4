"""Build what settings describe: random keys, data, model and learner."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Integer

from jaxrnn.config import auto, lengths, parts
from jaxrnn.config.plugins import explain_failures
from jaxrnn.config.settings import AUTO, Config, resolved, resolved_dropout, resolved_rate, resolved_weight_decay
from jaxrnn.config.trust import imports_of
from jaxrnn.data import documents, files, joining, reading, splitting
from jaxrnn.data import text as texts
from jaxrnn.data.array_types import RandomKey
from jaxrnn.data.automaton import Source
from jaxrnn.data.files import Found
from jaxrnn.data.reading import CodedText
from jaxrnn.data.splitting import Places
from jaxrnn.data.vocabulary import Vocabulary, class_ids, class_representatives, merge_rare
from jaxrnn.errors import InputError, check_value
from jaxrnn.models.classes import with_classes
from jaxrnn.models.counts import CountModel
from jaxrnn.models.model import Model
from jaxrnn.models.model import num_characters as vocab_size_of
from jaxrnn.models.network import network
from jaxrnn.models.scalar_loops import first_device
from jaxrnn.rules import make_rule, with_precision
from jaxrnn.scoring.counting import make_counts
from jaxrnn.training.learner import Learner, online
from jaxrnn.training.mixed import online_with_counts
from jaxrnn.training.optimizers import ENDLESS, make_optimizer
from jaxrnn.training.replay import Replay

MAX_UPDATES = 2**31 - 1  # the step number is an i32


class Keys(NamedTuple):
    """One root key for each use of random numbers; each draw folds in a number, such as the epoch."""

    init: RandomKey
    epochs: RandomKey
    samples: RandomKey
    evaluation: RandomKey


class UsedText(NamedTuple):
    """The characters of a text that are in use."""

    coded: CodedText
    count_all: Callable[[], int]  # counts the characters of the whole text, which may mean reading it
    characters: str | None = None  # the text itself, kept if its source is known
    source: Source | None = None
    found: Found = Found(())  # its files


class Data(NamedTuple):
    """The parts of a text as ids in the type that `reading.smallest_type` chooses: widen them before arithmetic."""

    vocabulary: Vocabulary
    train: Integer[np.ndarray, " train_characters"]
    validation: Integer[np.ndarray, " validation_characters"]
    heldout: Integer[np.ndarray, " heldout_characters"]
    num_characters: int | None  # of the whole text, before --max-characters; None if it was not read to its end
    num_used: int
    sha256: str  # of the characters in use
    text: str | None = None  # the characters in use, if their source is known
    source: Source | None = None
    num_documents: int = 1
    pieces: tuple[tuple[int, int], ...] = ()  # of the validation part: where in the text each begins and ends
    files: tuple[tuple[str, int], ...] = ()  # that were read, with the number of characters in use
    found: Found = Found(())  # all files of the text


def make_keys(seed: int) -> Keys:
    """Make the root keys of a run."""
    root = jax.random.key(seed)
    return Keys(*(_fold_in(root, np.uint32(number)) for number in range(len(Keys._fields))))


def make_epoch_key(seed: int, epoch: int) -> RandomKey:
    """Make the key of an epoch, counted from 0."""
    return _fold_in(make_keys(seed).epochs, np.uint32(epoch))


_fold_in = jax.jit(jax.random.fold_in)  # one small program makes all keys: compiling it takes a tenth of a second


def load_data(config: Config, known: Vocabulary | None = None) -> Data:
    """Read the text as ids, then split it; raise `InputError` as `read_used_text` and `split_data` do."""
    return split_data(config, read_used_text(config, known), known)


def read_used_text(config: Config, known: Vocabulary | None = None) -> UsedText:
    """Read as much of the text as is in use; raise `InputError` as `data.text.read` does.

    Args:
      known: a vocabulary whose characters get ids even if the text does not contain them.
    """
    settings, name = config.text, config.text.text
    if isinstance(name, str) and (parts.is_own_text(name) or texts.has_floor(name)):
        return use_text(config, parts.find_text(name), known)
    how = settings.encoding, settings.separator
    found = files.find_files(files.as_tuple(name), settings.encoding)
    coded = texts.code_files(found.files, settings.max_characters, known.characters if known else "", *how)
    if not coded.ids.size:
        raise texts.no_characters(name)
    whole = coded.num_characters

    def count_all() -> int:
        return reading.count_characters(texts.join_files(found.files, *how)) if whole is None else whole

    return UsedText(coded, count_all, found=found)


def use_text(config: Config, text: parts.Text, known: Vocabulary | None = None) -> UsedText:
    """Turn the part of a text that is in use into ids, as `read_used_text` does."""
    whole, most, separator = text.characters, config.text.max_characters, config.text.separator
    joined = joining.join_texts([reading.cut_parts(whole)], 1, separator)
    coded = reading.code_parts(joined, len(whole), most, known.characters if known else "")
    num_characters = len(whole)
    if separator:
        num_characters = reading.count_characters(joining.join_texts([reading.cut_parts(whole)], 1, separator))
    kept = whole[: len(coded.ids)] if text.source else None
    return UsedText(coded._replace(num_characters=num_characters), lambda: num_characters, kept, text.source)


def split_data(config: Config, used: UsedText, known: Vocabulary | None = None) -> Data:
    """Split a text that was read into its parts.

    Args:
      known: the vocabulary with which `used` was read, whose rare characters stay merged; None = merge characters that are rare
        in the training part, if the settings say so.
    Raises:
      InputError: the text is too short for its parts and streams, has one distinct character, or would have all characters
        merged.
    """
    settings, coded = config.text, used.coded
    ids, num_used, num_documents = coded.ids, len(coded.ids), len(coded.starts)
    if coded.num_characters is None or num_used < coded.num_characters:
        check_value("max-characters", num_used, num_used >= 2, "0 (all), or 2 or more")
    texts.check_length(settings.text, num_used)
    if len(coded.characters) < 2:
        raise InputError(
            f"text {files.quote_names(settings.text)} repeats one character, {coded.characters!r}, {num_used} times: "
            "there is nothing to learn"
        )
    places = _place_parts(config, used)
    _check_num_updates(config, splitting.count_parts(places).train)
    if settings.reset:
        ids = documents.mark(ids, coded.starts[1:])
    split = splitting.cut(ids, places)
    vocabulary = Vocabulary(coded.characters, known.rare if known else "")
    if known is None and settings.rare_threshold:
        vocabulary = merge_rare(vocabulary, split.train, settings.rare_threshold)
        if vocabulary.rare == vocabulary.characters:
            raise InputError(f"--rare-threshold {settings.rare_threshold} merges all characters: set a lower one")
    return Data(
        vocabulary,
        *split,
        coded.num_characters,
        num_used,
        coded.sha256,
        used.characters,
        used.source,
        num_documents,
        places.pieces,
        tuple(zip(used.found.files, coded.sizes, strict=False)),  # those after the last character in use were not read
        used.found,
    )


def _place_parts(config: Config, used: UsedText) -> Places:
    """Place the parts in the text; `InputError` if one of them is too short, or there are too few documents."""
    num_used, starts = len(used.coded.ids), used.coded.starts
    validation, pieces = auto.resolve_validation_fraction(config, num_used), auto.resolve_validation_pieces(config, num_used)
    places = splitting.place_parts(num_used, starts, validation, config.text.heldout_fraction, pieces)
    if len(starts) > 1:
        lengths.check_parts(config, splitting.count_parts(places), len(starts))
    else:
        lengths.check_lengths(config, num_used, used.count_all)
    return places


def build_model(config: Config, vocabulary: Vocabulary) -> Model:
    """Build the model of resolved settings for a vocabulary."""
    settings = {**vars(config.model), "hidden_size": resolved(config.model.hidden_size)}
    settings["cell"] = parts.find_cell(config.model.cell)
    with explain_failures(imports_of(config)):
        of_classes = network(vocab_size=len(class_representatives(vocabulary)), **settings)
    return with_classes(of_classes, class_ids(vocabulary)) if vocabulary.rare else of_classes


def build_counts(config: Config, characters: str, num_characters: int) -> tuple[CountModel, ...]:
    """Build the models that count alongside the network, for a vocabulary and a number of characters to read; () for none."""
    return make_counts(characters, num_characters) if config.learning.counts else ()


def build_learner(config: Config, model: Model, counts: tuple[CountModel, ...] = (), num_characters: int = 0) -> Learner:
    """Build the learner from the model, the rule and optimizer of the settings, and the models that count alongside.

    Args:
      num_characters: length of the text, which is kept if passages of it are replayed.
    """
    settings = config.learning
    kind = parts.find_optimizer(settings.optimizer)
    optimize = make_optimizer(
        kind,
        resolved_rate(config),
        clip_norm=settings.clip_norm,
        weight_decay=resolved_weight_decay(config),
        cosine_over=ENDLESS if settings.schedule == "cosine" else None,  # the length of the run is not known here
    )
    if counts:
        replay = Replay(settings.replay, num_characters, vocab_size_of(model)) if settings.replay else None
        return online_with_counts(model, parts.block_length(config), optimize, counts, kind.test_params, replay)
    with explain_failures(imports_of(config)):
        exact = make_rule(parts.find_rule(settings.rule), model, settings.rule_length, resolved_dropout(config))
    precision = config.device.precision
    if precision == "bfloat16" and not parts.can_round(config) and first_device().platform == "gpu":
        precision = "tensorfloat32"  # a run of an earlier version, where bfloat16 meant this on a GPU
    rule = exact if precision in (AUTO, "float32") else with_precision(exact, precision)
    learner = online(model, rule, optimize, streams_shape(config), kind.test_params)
    if settings.schedule == "halving" and _tests_other_weights(learner):
        raise InputError(
            f"--schedule halving restores earlier weights, but --optimizer {settings.optimizer} tests with an average of them"
        )
    return learner


def try_update(config: Config, learner: Learner) -> None:
    """Trace an update if it uses your own parts; raise `InputError` if that fails. Nothing is computed."""
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
