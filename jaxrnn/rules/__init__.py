"""Online gradient rules, one file per rule; no rule imports another."""

from jaxrnn.rules.base import (
    Gradient,
    Rule,
    RuleKind,
    loss_argument,
    make_rule,
    rule_kind,
    rule_length,
    takes_parameter,
    with_precision,
)
from jaxrnn.rules.bptt import bptt
from jaxrnn.rules.eprop import eprop
from jaxrnn.rules.one_step import one_step
from jaxrnn.rules.rflo import rflo
from jaxrnn.rules.rtrl import rtrl
from jaxrnn.rules.rtrl_diagonal import rtrl_diagonal
from jaxrnn.rules.rtrl_kronecker import rtrl_kronecker
from jaxrnn.rules.snap1 import snap1
from jaxrnn.rules.snap1_lookahead import snap1_lookahead
from jaxrnn.rules.snap_n import snap_n
from jaxrnn.rules.snap_n_lookahead import snap_n_lookahead
from jaxrnn.rules.tbptt_sliding import tbptt_sliding
from jaxrnn.rules.uoro import uoro

RULES: dict[str, RuleKind] = {
    "one_step": RuleKind(one_step),
    "bptt": RuleKind(bptt, in_blocks=True),
    "tbptt_sliding": RuleKind(tbptt_sliding),
    "rtrl": RuleKind(rtrl),
    "rtrl_diagonal": RuleKind(rtrl_diagonal),
    "snap1": RuleKind(snap1),
    "snap_n": RuleKind(snap_n),
    "snap1_lookahead": RuleKind(snap1_lookahead),
    "snap_n_lookahead": RuleKind(snap_n_lookahead),
    "rflo": RuleKind(rflo),
    "eprop": RuleKind(eprop),
    "uoro": RuleKind(uoro, is_noisy=True),
    "rtrl_kronecker": RuleKind(rtrl_kronecker, is_noisy=True),
}

__all__ = [
    "RULES",
    "Gradient",
    "Rule",
    "RuleKind",
    "bptt",
    "eprop",
    "loss_argument",
    "make_rule",
    "one_step",
    "rflo",
    "rtrl",
    "rtrl_diagonal",
    "rtrl_kronecker",
    "rule_kind",
    "rule_length",
    "snap1",
    "snap1_lookahead",
    "snap_n",
    "snap_n_lookahead",
    "takes_parameter",
    "tbptt_sliding",
    "uoro",
    "with_precision",
]
