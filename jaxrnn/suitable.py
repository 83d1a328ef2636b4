"""What suits: the values of settings that are left to choose (`auto`), from the other settings and the size of the text."""

import dataclasses

from jaxrnn.config import AUTO, Config

ADAPTIVE = ("adam", "adamw", "rmsprop")  # optimizers that move each weight by about the rate, however long the gradient is


def chosen(config: Config, num_characters: int) -> Config:
    """The settings without `auto`.

    Args:
      num_characters: of the training part.
    """
    learning = config.learning
    rate = suitable_rate(config) if learning.learning_rate == AUTO else learning.learning_rate
    dropout = suitable_dropout(num_characters) if learning.dropout == AUTO else learning.dropout
    return dataclasses.replace(config, learning=dataclasses.replace(learning, learning_rate=rate, dropout=dropout))


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
