"""What the experiments share: a run by its flags, and the check that a number lies where the documentation says."""

import contextlib
import functools
import io
import tempfile
from pathlib import Path

from jaxrnn import eprop, train
from jaxrnn.rules import RULES, RuleKind
from jaxrnn.storage.logs import read_events

# The rules by name, and those whose options are not the default.
NAMED_RULES = RULES | {"eprop random": RuleKind(functools.partial(eprop, feedback="random"))}

# Printed under each table that names these rules.
SNAP_NOTE = """
`snap1` and `snap_n` are SnAp-1 and SnAp-n of Menick et al. (2020), except that `snap1` masks whole units and treats each layer
separately. The `_lookahead` rules take one exact step back before the mask.
"""


def run(*flags: str) -> list[dict]:
    """Run `python -m jaxrnn.train FLAGS`. Returns its epoch events and its final event."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        train.main([*flags, "--sample-length", "0", "--test-characters", "0", "--run-dir", folder])  # however slow it is here
        return [event for event in read_events(Path(folder)) if event["event"] in ("epoch", "final")]


def write_table(name: str, lines: list[str]) -> None:
    """Print a Markdown table, and write it to results/NAME.md, which the documentation includes."""
    table = "\n".join(lines) + "\n"
    print(table, end="")
    Path(__file__).with_name("results").joinpath(f"{name}.md").write_text(table, "utf-8")


def four_numbers(final: dict) -> list[str]:
    """Format a run's four final numbers as the lines of a table."""
    names = ("online_nats", "train_nats", "heldout_nats", "heldout_dynamic_nats")
    return [
        "| online | training, frozen | held-out, frozen | held-out, dynamic |",
        "|---|---|---|---|",
        "| " + " | ".join(f"{final[name]:.4f}" for name in names) + " |",
    ]


def expect(name: str, value: float, lowest: float, highest: float) -> None:
    """End the script unless the value lies between the two bounds."""
    if not lowest <= value <= highest:
        raise SystemExit(f"{name} is {value:.4f}, which is not between {lowest:.4f} and {highest:.4f}")
