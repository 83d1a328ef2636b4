"""Online gradient rules, one file a rule; no rule imports another."""

from jaxrnn.rules.base import Gradient, Rule
from jaxrnn.rules.bptt import bptt
from jaxrnn.rules.one_step import one_step

RULES = {"one_step": one_step, "bptt": bptt}

__all__ = ["RULES", "Gradient", "Rule", "bptt", "one_step"]
