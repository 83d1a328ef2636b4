"""Recurrent language models that learn as they read: one character in, one update out, the state carried on.

Axis names in signatures: time, streams, vocab, hidden; `*streams` is no axis for one stream and one axis for B of them.
Inside, losses are nats per character (natural logarithm); bits per character = nats / ln 2 are only shown.
"""

__version__ = "0.1.0"

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

HOME = {  # of the public names; the other modules are found by their own
    "learner": ("Learner", "State", "online"),
    "loop": ("fast_driver", "plain_driver"),
    "model": ("Model", "elman", "nats", "network", "with_cell"),
    "rules": (
        "Gradient", "Rule", "bptt", "one_step", "rflo", "rtrl", "rtrl_diagonal", "snap1", "snap_n", "tbptt_sliding", "uoro",
    ),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what is asked for: a program can say that it starts before JAX is there, and the picture is drawn without JAX."""
    for module, names in HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"jaxrnn.{module}"), name)
    if name in ("text", "vocabulary", *HOME):
        return importlib.import_module(f"jaxrnn.{name}")
    raise AttributeError(f"module 'jaxrnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
