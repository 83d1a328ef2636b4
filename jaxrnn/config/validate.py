"""Check that settings are valid for training; errors name the flag."""

import importlib.util
from collections.abc import Mapping
from typing import Any

from jaxrnn.config import parts
from jaxrnn.config.settings import (
    AUTO,
    AUTO_VALIDATION,
    Config,
    EvaluationConfig,
    LearningConfig,
    ModelConfig,
    RunConfig,
    TextConfig,
)
from jaxrnn.data.reading import check_encoding
from jaxrnn.data.text import has_floor
from jaxrnn.errors import InputError, check_rate, check_seed, check_value
from jaxrnn.models.cells import CELLS, derives_from_cell
from jaxrnn.rules import RULES, takes_parameter
from jaxrnn.training.optimizers import OPTIMIZERS

MOST_PIECES = 1_000  # of the validation part
READING_RULES = ("one_step", "bptt")  # the rules that work with counts


def check_config(config: Config) -> None:
    """Raise `InputError`, naming the flag, if a value is invalid."""
    _check_text(config.text, config.run)
    _check_network(config.model)
    _check_learning(config.learning, config.text)
    dropout = config.learning.dropout
    if dropout not in (0, AUTO) and not derives_from_cell(parts.find_cell(config.model.cell)):
        raise InputError(
            f"--dropout works only with jaxrnn's own cells and those derived from them; --cell is {config.model.cell}"
        )
    _check_evaluation(config.evaluation, config.text)
    _check_run(config.run)


def _check_text(text: TextConfig, run: RunConfig) -> None:
    parts.check_names(text.text)
    check_encoding(text.encoding)
    if text.separator and isinstance(text.text, str) and has_floor(text.text):
        raise InputError(f"--separator does not work with {text.text}, which is one document")
    check_value("max-characters", text.max_characters, text.max_characters >= 0, "0 (all) or more")
    validation = AUTO_VALIDATION if text.validation_fraction == AUTO else text.validation_fraction
    check_value("validation-fraction", validation, 0 <= validation < 1, "at least 0 and under 1")
    check_value("heldout-fraction", text.heldout_fraction, 0 <= text.heldout_fraction < 1, "at least 0 and under 1")
    pieces = 1 if text.validation_pieces == AUTO else text.validation_pieces
    check_value("validation-pieces", pieces, 1 <= pieces <= MOST_PIECES, f"1 to {MOST_PIECES}")
    fractions = validation + text.heldout_fraction
    check_value("validation-fraction + --heldout-fraction", fractions, fractions < 1, "under 1 together")
    check_value("rare-threshold", text.rare_threshold, text.rare_threshold >= 0, "0 (merge none) or more")
    if text.rare_threshold and run.init_from:
        raise InputError("--rare-threshold does not work with --init-from: the weights determine which characters are merged")


def _check_network(model: ModelConfig) -> None:
    if model.hidden_size != AUTO:
        check_value("hidden-size", model.hidden_size, 1 <= model.hidden_size <= 100_000, "1 to 100000")
    check_value("num-layers", model.num_layers, 1 <= model.num_layers <= 100, "1 to 100")
    check_value("embedding-size", model.embedding_size, 0 <= model.embedding_size <= 100_000, "0 (one-hot) to 100000")
    cell = parts.find_cell(model.cell)
    if "activation" not in cell.choices and model.activation != "sigmoid":
        raise InputError(f"--activation works only with --cell {_cells_with('activation')}; {model.cell} has a fixed one")
    check_value("leak", model.leak, 0 < model.leak <= 1, "over 0 and at most 1")
    if "leak" not in cell.choices and model.leak != ModelConfig().leak:
        raise InputError(f"--leak works only with --cell {_cells_with('leak')}; {model.cell} has none")
    if cell.has_complex_units and model.hidden_size != AUTO:
        even = model.hidden_size % 2 == 0
        check_value("hidden-size", model.hidden_size, even, f"even for --cell {model.cell} (two reals per complex unit)")
    if model.tied_readout and model.embedding_size != model.hidden_size:
        width = "the --hidden-size" if model.hidden_size == AUTO else model.hidden_size
        raise InputError(f"--tied-readout needs an embedding as wide as the hidden layer: set --embedding-size to {width}")


def _check_learning(learning: LearningConfig, text: TextConfig) -> None:
    check_value("epochs", learning.epochs, learning.epochs >= 1, "1 or more")
    check_value("minutes", learning.minutes, 0 <= learning.minutes <= 1e6, "0 (train for --epochs) to 1000000")
    if learning.learning_rate != AUTO:
        check_rate("learning-rate", learning.learning_rate)
    check_value("rule-length", learning.rule_length, 1 <= learning.rule_length <= 100_000, "1 to 100000")
    rule, optimizer = parts.find_rule(learning.rule), parts.find_optimizer(learning.optimizer)
    if learning.rule_length > 1 and not takes_parameter(rule.make, "length"):
        raise InputError(f"--rule-length works only with --rule {_that_take(RULES, 'length')}; {learning.rule} has none")
    if learning.dropout != AUTO:
        check_value("dropout", learning.dropout, 0 <= learning.dropout < 1, "at least 0 and under 1")
    if learning.dropout not in (0, AUTO) and not takes_parameter(rule.make, "dropout"):
        raise InputError(f"--dropout works only with --rule {_that_take(RULES, 'dropout')}; {learning.rule} has none")
    if learning.weight_decay != AUTO:
        check_value("weight-decay", learning.weight_decay, 0 <= learning.weight_decay < 1e30, "0 or more, and finite")
    if learning.weight_decay not in (0, AUTO) and not takes_parameter(optimizer.make, "weight_decay"):
        known = _that_take(OPTIMIZERS, "weight_decay")
        raise InputError(f"--weight-decay works only with --optimizer {known}; {learning.optimizer} has none")
    check_value("num-streams", learning.num_streams, learning.num_streams >= 1, "1 or more")
    if learning.schedule == "halving" and not text.validation_fraction:
        raise InputError("--schedule halving needs a validation part: set --validation-fraction, for example to 0.05")
    check_value("replay", learning.replay, 0 <= learning.replay <= 10_000, "0 (none) to 10000")
    if learning.counts:
        _check_reading(learning)
    elif learning.replay:
        raise InputError("--replay works only with --counts, for a text that is read once")
    check_value("clip-norm", learning.clip_norm, 0 <= learning.clip_norm < 1e30, "0 (none) or more, and finite")


def _check_reading(learning: LearningConfig) -> None:
    """Check that a text with counts is read once: at a second reading, the counts would already know it."""
    for name, wanted in (("epochs", 1), ("minutes", 0), ("num_streams", 1), ("dropout", 0)):
        if getattr(learning, name) != wanted:
            flag = name.replace("_", "-")
            raise InputError(f"--counts reads the text once, in one stream, without dropout: set --{flag} to {wanted}")
    if learning.rule not in READING_RULES:
        raise InputError(f"--counts works only with --rule {' or '.join(READING_RULES)}; --rule is {learning.rule}")


def _check_evaluation(tested: EvaluationConfig, text: TextConfig) -> None:
    check_rate("dynamic-rate", tested.dynamic_rate)
    parts.find_optimizer(tested.dynamic_optimizer, "dynamic-optimizer")
    num_tested = 0 if tested.test_characters == AUTO else tested.test_characters
    check_value("test-characters", num_tested, num_tested >= 0, "0 (all) or more")
    check_value("dynamic-length", tested.dynamic_length, 1 <= tested.dynamic_length <= 100_000, "1 to 100000")
    if tested.dynamic == AUTO and not text.validation_fraction:
        raise InputError("--dynamic auto needs a validation part: set --validation-fraction, for example to 0.05")


def _check_run(run: RunConfig) -> None:
    if run.log == "tensorboard" and importlib.util.find_spec("tensorboardX") is None:
        raise InputError("--log tensorboard needs the package tensorboardX: pip install 'jaxrnn[tensorboard]', or leave it out")
    check_seed(run.seed)
    check_value("updates-per-call", run.updates_per_call, 1 <= run.updates_per_call <= 10**8, "1 to 100000000")
    check_value("save-every-seconds", run.save_every_seconds, run.save_every_seconds >= 0, "0 (as often as possible) or more")
    check_value("keep-checkpoints", run.keep_checkpoints, 1 <= run.keep_checkpoints <= 10_000, "1 to 10000")
    check_value("sample-length", run.sample_length, 0 <= run.sample_length <= 100_000, "0 (none) to 100000")


def _cells_with(choice: str) -> str:
    return " or ".join(name for name, kind in CELLS.items() if choice in kind.choices)


def _that_take(known: Mapping[str, Any], parameter: str) -> str:
    return ", ".join(name for name, kind in known.items() if takes_parameter(kind.make, parameter))
