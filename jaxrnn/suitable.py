"""What suits: the values of settings that are left to choose (`auto`), from the other settings and the size of the text."""

import dataclasses

from jaxrnn.config import AUTO, Config

ADAPTIVE = ("adam", "adamw", "rmsprop")  # optimizers that move each weight by about the rate, however long the gradient is

MOST_VALIDATION = 30_000  # characters, if their number is left to choose


def chosen(config: Config, num_characters: int) -> Config:
    """The settings without `auto`.

    Args:
      num_characters: of the text that is used.
    """
    text, learning = config.text, config.learning
    rate = suitable_rate(config) if learning.learning_rate == AUTO else learning.learning_rate
    dropout = suitable_dropout(num_characters) if learning.dropout == AUTO else learning.dropout
    return dataclasses.replace(
        config,
        text=dataclasses.replace(text, validation_fraction=validation_fraction(config, num_characters)),
        learning=dataclasses.replace(learning, learning_rate=rate, dropout=dropout),
    )


def validation_fraction(config: Config, num_characters: int) -> float:
    """The part of the text that choices are made on: what is said, or as much as tells hundredths of a nat and no more.

    What it takes away is the end of the training part, which is the most like what comes after it: with 84,000 instead of
    34,000 of Molière's characters, the held-out loss was higher by 0.03 nats.
    """
    wanted = config.text.validation_fraction
    return min(0.05, MOST_VALIDATION / num_characters) if isinstance(wanted, str) else wanted


def suitable_rate(config: Config) -> float:
    """A learning rate to begin with: the course's for its network, a smaller one where that does not train."""
    model, learning = config.model, config.learning
    if learning.optimizer in ADAPTIVE:
        return 5e-4 if learning.rule_length == 1 else 1e-2
    rate = 0.1 if model.cell == "lstm" or model.activation == "sigmoid" else 0.01
    rate = 0.03 if model.cell == "gru" else rate
    return rate / 10 if learning.optimizer == "momentum" else rate


def suitable_dropout(num_characters: int) -> float:
    """The less text, the sooner a network learns it by heart instead of the language.

    Tried on Molière's 1.4 million characters (0.1 beside 0 and 0.2) and the 63,000 of the comedy (0.4 beside 0.1 and 0.2).
    """
    if num_characters >= 5_000_000:
        return 0.0
    return 0.1 if num_characters >= 500_000 else 0.4
