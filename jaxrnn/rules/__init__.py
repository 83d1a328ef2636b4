"""Online gradient rules, one file a rule; no rule imports another."""

from jaxrnn.rules.base import Gradient, Rule
from jaxrnn.rules.one_step import one_step

RULES = {"one_step": one_step}

__all__ = ["RULES", "Gradient", "Rule", "one_step"]
