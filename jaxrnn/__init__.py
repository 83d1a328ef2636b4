"""Recurrent language models that learn as they read: one character in, one update out, the state carried on.

Axis names in signatures: time, streams, vocab, hidden. ``*streams`` means no axis for one stream, and one axis for B streams.
Losses are in nats per character (natural logarithm); bits per character (nats / ln 2) appear only in output.
"""

from importlib import import_module

__version__ = "0.1.0"

TYPE_CHECKING = False  # like `typing.TYPE_CHECKING`; importing `typing` would take longer than everything else here

if TYPE_CHECKING:
    from typing import Any

    from jaxrnn.config.settings import PRESETS, Config
    from jaxrnn.data import text, vocabulary
    from jaxrnn.data.streams import Pairs
    from jaxrnn.models.losses import masked, nats
    from jaxrnn.models.model import Model
    from jaxrnn.models.network import elman, network, with_cell, with_nnx_cell
    from jaxrnn.rules import (
        Gradient,
        Rule,
        bptt,
        eprop,
        one_step,
        rflo,
        rtrl,
        rtrl_diagonal,
        rtrl_kronecker,
        snap1,
        snap1_lookahead,
        snap_n,
        snap_n_lookahead,
        tbptt_sliding,
        uoro,
    )
    from jaxrnn.runs.api import fit, generate, show, surprisal
    from jaxrnn.runs.loaded import Run, load
    from jaxrnn.training import meters
    from jaxrnn.training.drivers import fast_driver, plain_driver
    from jaxrnn.training.learner import Learner, State, online
    from jaxrnn.training.optimizers import make_optimizer
    from jaxrnn.training.sweeps import Sweep, sweep

FOUND_IN = {
    "config.settings": ("PRESETS", "Config"),
    "data.streams": ("Pairs",),
    "models.losses": ("masked", "nats"),
    "models.model": ("Model",),
    "models.network": ("elman", "network", "with_cell", "with_nnx_cell"),
    "rules": (
        "Gradient", "Rule", "bptt", "eprop", "one_step", "rflo", "rtrl", "rtrl_diagonal", "rtrl_kronecker", "snap1",
        "snap1_lookahead", "snap_n", "snap_n_lookahead", "tbptt_sliding", "uoro",
    ),
    "runs.api": ("fit", "generate", "show", "surprisal"),
    "runs.loaded": ("Run", "load"),
    "training.drivers": ("fast_driver", "plain_driver"),
    "training.learner": ("Learner", "State", "online"),
    "training.optimizers": ("make_optimizer",),
    "training.sweeps": ("Sweep", "sweep"),
}  # fmt: skip
MODULES = {"meters": "training.meters", "text": "data.text", "vocabulary": "data.vocabulary"}

__all__ = [
    "PRESETS",
    "Config",
    "Gradient",
    "Learner",
    "Model",
    "Pairs",
    "Rule",
    "Run",
    "State",
    "Sweep",
    "__version__",
    "bptt",
    "elman",
    "eprop",
    "fast_driver",
    "fit",
    "generate",
    "load",
    "make_optimizer",
    "masked",
    "meters",
    "nats",
    "network",
    "one_step",
    "online",
    "plain_driver",
    "rflo",
    "rtrl",
    "rtrl_diagonal",
    "rtrl_kronecker",
    "show",
    "snap1",
    "snap1_lookahead",
    "snap_n",
    "snap_n_lookahead",
    "surprisal",
    "sweep",
    "tbptt_sliding",
    "text",
    "uoro",
    "vocabulary",
    "with_cell",
    "with_nnx_cell",
]


def __getattr__(name: str) -> "Any":
    """Import a public name on first use, so that programs can start before JAX is imported."""
    for module, names in FOUND_IN.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    path = f"{__name__}.{MODULES.get(name, name)}"
    try:
        if name.isidentifier():  # not `x.y`
            return import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
