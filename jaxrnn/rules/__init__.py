"""Online gradient rules, one file a rule; no rule imports another."""

from collections.abc import Callable

from jaxrnn.model import Model
from jaxrnn.rules.base import Gradient, Rule
from jaxrnn.rules.bptt import bptt
from jaxrnn.rules.one_step import one_step

# (model, length, dropout) -> the rule; what a rule does not have must be 1 and 0.
RULES: dict[str, Callable[[Model, int, float], Rule]] = {
    "one_step": lambda model, length, dropout: one_step(model),
    "bptt": bptt,
}

__all__ = ["RULES", "Gradient", "Rule", "bptt", "one_step"]
