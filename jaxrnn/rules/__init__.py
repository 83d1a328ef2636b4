"""Online gradient rules, one file a rule; no rule imports another."""

from collections.abc import Callable

from jaxrnn.models.model import Model
from jaxrnn.rules.base import Gradient, Rule
from jaxrnn.rules.bptt import bptt
from jaxrnn.rules.one_step import one_step
from jaxrnn.rules.rflo import rflo
from jaxrnn.rules.rtrl import rtrl
from jaxrnn.rules.rtrl_diagonal import rtrl_diagonal
from jaxrnn.rules.snap1 import snap1
from jaxrnn.rules.snap_n import snap_n
from jaxrnn.rules.tbptt_sliding import tbptt_sliding
from jaxrnn.rules.uoro import uoro

# (model, length, dropout) -> the rule; what a rule does not have must be 1 and 0.
RULES: dict[str, Callable[[Model, int, float], Rule]] = {
    "one_step": lambda model, length, dropout: one_step(model),
    "bptt": bptt,
    "tbptt_sliding": lambda model, length, dropout: tbptt_sliding(model, length),
    "rtrl": lambda model, length, dropout: rtrl(model),
    "rtrl_diagonal": lambda model, length, dropout: rtrl_diagonal(model),
    "snap1": lambda model, length, dropout: snap1(model),
    "snap_n": lambda model, length, dropout: snap_n(model, length),
    "rflo": lambda model, length, dropout: rflo(model),
    "uoro": lambda model, length, dropout: uoro(model),
}

__all__ = [
    "RULES",
    "Gradient",
    "Rule",
    "bptt",
    "one_step",
    "rflo",
    "rtrl",
    "rtrl_diagonal",
    "snap1",
    "snap_n",
    "tbptt_sliding",
    "uoro",
]
