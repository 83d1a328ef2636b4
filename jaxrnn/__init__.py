"""Recurrent language models that learn as they read: one character in, one update out, the state carried on.

Axis names in signatures: time, streams, vocab, hidden; `*streams` is no axis for one stream and one axis for B of them.
Inside, losses are nats per character (natural logarithm); bits per character = nats / ln 2 are only shown.
"""

__version__ = "0.1.0"

from jaxrnn import text, vocabulary
from jaxrnn.learner import Learner, State, online
from jaxrnn.loop import fast_driver, plain_driver
from jaxrnn.model import Model, elman, nats, network, with_cell
from jaxrnn.rules import (
    Gradient,
    Rule,
    bptt,
    one_step,
    rflo,
    rtrl,
    rtrl_diagonal,
    snap1,
    snap_n,
    tbptt_sliding,
    uoro,
)

__all__ = [
    "Gradient",
    "Learner",
    "Model",
    "Rule",
    "State",
    "__version__",
    "bptt",
    "elman",
    "fast_driver",
    "nats",
    "network",
    "one_step",
    "online",
    "plain_driver",
    "rflo",
    "rtrl",
    "rtrl_diagonal",
    "snap1",
    "snap_n",
    "tbptt_sliding",
    "text",
    "uoro",
    "vocabulary",
    "with_cell",
]
