"""Resolve `auto` settings from the other settings and the size of the text."""

import dataclasses
from collections.abc import Mapping

from jaxrnn.config import parts
from jaxrnn.config.settings import AUTO, AUTO_VALIDATION, Config, resolved
from jaxrnn.models.cells import TANH_RELU_RATES, derives_from_cell
from jaxrnn.rules import takes_parameter

ADAPTIVE_RATES = (1e-3, 1e-2)  # for an adaptive optimizer with an update per character, and per block
# For an adaptive optimizer with an update per block, where a text is read once, in one stream. Measured with an LSTM and a GRU
# of 256 units on the first 300,000 characters of Molière; 0.004 is 0.01 nats worse.
READING_RATE = 2e-3
HIDDEN_SIZES = (256, 384, 512)
# Nats that a network loses by its width, and by the characters that it has not learned from: fitted in `experiments/width.py`.
WIDTH_NATS, WIDTH_POWER, READING_NATS, READING_POWER = 0.10, 0.9, 0.32, 1.3
MUCH_TEXT = 500_000  # characters
WIDE_TEXT = 1_000_000  # characters, from which on a wider network pays
SHORT_TEXT_DROPOUT = 0.4
CHARACTERS_PER_DECAY = 2_048  # the size of the updates for which an optimizer's weight decay is meant
MAX_VALIDATION = 30_000  # characters, if chosen automatically
MOST_PIECES, LEAST_IN_PIECE = 6, 500  # pieces of the validation part, and characters in each, if chosen automatically


def resolve_auto(config: Config, num_characters: int) -> Config:
    """Replace every `auto` with a value; a timed run may choose a wider network once its speed is known (`runs/width.py`).

    Args:
      num_characters: length of the text in use.
    """
    text, model, learning = config.text, config.model, config.learning
    hidden_size = HIDDEN_SIZES[0] if model.hidden_size == AUTO else model.hidden_size
    rate = choose_rate(config) if learning.learning_rate == AUTO else learning.learning_rate
    drops = derives_from_cell(parts.find_cell(model.cell)) and takes_parameter(parts.find_rule(learning.rule).make, "dropout")
    dropout = (choose_dropout(num_characters) if drops else 0.0) if learning.dropout == AUTO else learning.dropout
    decay = choose_weight_decay(config) if learning.weight_decay == AUTO else learning.weight_decay
    validation, pieces = resolve_validation_fraction(config, num_characters), resolve_validation_pieces(config, num_characters)
    return dataclasses.replace(
        config,
        text=dataclasses.replace(text, validation_fraction=validation, validation_pieces=pieces),
        model=dataclasses.replace(model, hidden_size=hidden_size),
        learning=dataclasses.replace(learning, learning_rate=rate, dropout=dropout, weight_decay=decay),
    )


def resolve_auto_as_saved(settings: Config, begun: Config) -> Config:
    """Replace `auto` in a resumed run: keep each saved value that `auto` may have given, and choose anew otherwise."""
    text, model, learning = settings.text, settings.model, settings.learning
    validation, hidden_size = text.validation_fraction, model.hidden_size
    if hidden_size == AUTO and begun.model.hidden_size in HIDDEN_SIZES:
        hidden_size = begun.model.hidden_size
    if isinstance(validation, str) and 0 < resolved(begun.text.validation_fraction) <= AUTO_VALIDATION:
        validation = begun.text.validation_fraction
    pieces = begun.text.validation_pieces if text.validation_pieces == AUTO else text.validation_pieces
    rate, chosen = learning.learning_rate, choose_rate(settings)
    if rate == AUTO:  # an earlier version halved it for long runs
        rate = begun.learning.learning_rate if begun.learning.learning_rate in (chosen, chosen / 2) else chosen
    dropout = begun.learning.dropout if learning.dropout == AUTO else learning.dropout
    decay = begun.learning.weight_decay if learning.weight_decay == AUTO else learning.weight_decay
    return dataclasses.replace(
        settings,
        text=dataclasses.replace(text, validation_fraction=validation, validation_pieces=pieces),
        model=dataclasses.replace(model, hidden_size=hidden_size),
        learning=dataclasses.replace(learning, learning_rate=rate, dropout=dropout, weight_decay=decay),
        device=dataclasses.replace(
            settings.device,
            num_devices=settings.device.num_devices or begun.device.num_devices,
            precision=begun.device.precision if settings.device.precision == AUTO else settings.device.precision,
        ),
    )


def resolve_validation_fraction(config: Config, num_characters: int) -> float:
    """Resolve the validation fraction: as set, or just enough text to distinguish hundredths of a nat.

    With 84,000 instead of 34,000 of Molière's characters, the held-out loss was 0.03 nats higher.
    """
    wanted = config.text.validation_fraction
    return min(AUTO_VALIDATION, MAX_VALIDATION / num_characters) if isinstance(wanted, str) else wanted


def resolve_validation_pieces(config: Config, num_characters: int) -> int:
    """Resolve the number of validation pieces: as set, or several that are long enough to read.

    On novels, a single piece just before the held-out part, which begins inside a novel, cost 0.07 nats, because the network
    never learned from it; six pieces spread over the training part cost nothing (`experiments/validation.py`).
    """
    wanted = config.text.validation_pieces
    if not isinstance(wanted, str):
        return wanted
    num_validation = round(resolve_validation_fraction(config, num_characters) * num_characters)
    return max(1, min(MOST_PIECES, num_validation // LEAST_IN_PIECE))


def choose_rate(config: Config) -> float:
    """Choose a learning rate; for the course's network, that of the course.

    Tested for every cell and optimizer, with updates of one character and of 16 in four streams (`tests/test_suitable.py`).
    The rate of AdamW in blocks was measured with a GRU on Molière, Austen's novels and the comedy (`experiments/defaults.py`).
    With weight decay, 0.01 is as good as 0.02 in 2,600 updates and better than 0.005 in 6,000. Without it, 0.02 diverges in
    2,100, and 0.005 is better in 6,000.
    """
    model, learning = config.model, config.learning
    optimizer, rule = parts.find_optimizer(learning.optimizer), parts.find_rule(learning.rule)
    of_sgd = parts.find_cell(model.cell).sgd_rates if model.activation == "sigmoid" else TANH_RELU_RATES
    after_character, after_block = ADAPTIVE_RATES if optimizer.is_adaptive else of_sgd
    if optimizer.is_adaptive and learning.counts:
        after_block = READING_RATE
    rate = after_character if parts.block_length(config) == 1 else after_block
    noise_divisor = 10 if rule.is_noisy and not optimizer.is_adaptive else 1
    return rate / optimizer.rate_divisor / noise_divisor / (optimizer.relu_divisor if model.activation == "relu" else 1)


def choose_weight_decay(config: Config) -> float:
    """Choose a weight decay: that of the optimizer, less for updates of fewer characters, because there are more of them."""
    learning = config.learning
    characters = parts.block_length(config) * learning.num_streams
    return parts.find_optimizer(learning.optimizer).weight_decay * min(1.0, characters / CHARACTERS_PER_DECAY)


def choose_hidden_size(characters: Mapping[int, float]) -> int:
    """Choose the width that promises the lowest loss: a wider network learns more from a character, but reads fewer of them.

    Args:
      characters: that a network of each width would learn from, in the time that there is on the machine that there is.
    """
    return min(characters, key=lambda width: predict_excess(width, characters[width]))


def predict_excess(hidden_size: int, characters: float) -> float:
    """Predict how many nats a character costs a GRU beyond what it would cost one that is infinitely wide and has read forever.

    Measured on Molière, Python code and English documentation, for 2.6 to 16 million characters (`experiments/width.py`).

    Source of the form: Hoffmann et al. (2022), arXiv:2203.15556, eq. 2.
    """
    by_width = WIDTH_NATS * (HIDDEN_SIZES[0] / hidden_size) ** WIDTH_POWER
    return by_width + READING_NATS * (1e6 / characters) ** READING_POWER


def choose_dropout(num_characters: int) -> float:
    """Choose a dropout: none with much text, where weight decay is enough.

    On the comedy's 74,000 characters 0.4 is the best of 0.2, 0.4 and 0.5. On Molière and Austen's novels, with weight decay, no
    dropout is 0.02 nats better than 0.1 (`experiments/defaults.py`).
    """
    return SHORT_TEXT_DROPOUT if num_characters < MUCH_TEXT else 0.0
