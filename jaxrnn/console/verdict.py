"""Advice from the final numbers: whether the model learned anything, and whether dynamic evaluation helped."""

import math
from collections.abc import Sequence

from jaxrnn.errors import pluralize

ROSE = 1.1, 0.3  # a loss has risen if it is over 1.1 times its minimum and 0.3 nats above: initial weights differ by less
FEW_UPDATES = 1_000


def judge_learning(
    online_nats: float,
    window_nats: Sequence[float],
    guess_nats: float,
    num_updates: int,
    rate: float,
    fresh: bool,
    remedies: Sequence[str],
) -> str:
    """Explain why a run ended no better than a uniform guess, and what to change; "" if it learned something.

    Args:
      online_nats: loss of the last epoch; NaN if none was finished.
      window_nats: mean loss of each thousand characters, in order.
      guess_nats: the loss of a uniform guess among all characters.
      fresh: whether the initial weights were random, so that the loss began near that of a guess.
      remedies: what would give this run more updates, from `list_remedies`.
    """
    end = window_nats[-1] if window_nats else online_nats
    if online_nats <= guess_nats or end <= guess_nats or (not window_nats and math.isnan(online_nats)):
        return ""
    lowest = lowest_before(window_nats, guess_nats, fresh)
    if has_risen(end, lowest):
        start = f"the {lowest:.4f} of a uniform guess" if lowest == guess_nats else f"{lowest:.4f}"
        return (
            f"learning failed: the loss rose from {start} to {end:.4f} nats in the last thousand characters; "
            f"start again with a --learning-rate lower than {rate:g}"
        )
    loss = end if math.isnan(online_nats) else online_nats
    updates = pluralize(num_updates, "update")
    ended = f"after {updates} the online loss is {loss:.4f} nats; a uniform guess costs {guess_nats:.4f}"
    if num_updates < FEW_UPDATES:
        return f"too short to learn: {ended}; use {_join_or(remedies)}"
    return f"learned too little: {ended}; try a --learning-rate higher than {rate:g}, or a more predictable text"


def lowest_before(window_nats: Sequence[float], guess_nats: float, fresh: bool) -> float:
    """Find the lowest loss before the last window; infinite if there is nothing to compare the last one with."""
    before = [*window_nats[:-1], *([guess_nats] if fresh and window_nats else [])]
    return min(before, default=math.inf)


def has_risen(end: float, lowest: float) -> bool:
    """Return whether a loss has risen since its lowest value, by more than initial weights explain."""
    times, more = ROSE
    return lowest < math.inf and not end <= max(times * lowest, lowest + more)  # NaN, too


def list_remedies(more_text: bool, lasting: str, num_streams: int, block_length: int) -> list[str]:
    """List what would give a run more updates and is possible with its settings.

    Args:
      more_text: whether the text is longer than the part that was used.
      lasting: the flag that sets the length of the run; "" if the run ended by itself.
    """
    fewer = ["fewer --num-streams"] * (num_streams > 1) + ["a shorter --rule-length"] * (block_length > 1)
    text = "more text (--max-characters 0)" if more_text else "a longer text"
    return [text, *([f"more {lasting}"] if lasting else []), *fewer]


def judge_dynamic(frozen_nats: float, dynamic_nats: float, rates: Sequence[float], chosen: bool, flag: str, auto: str) -> str:
    """Say that dynamic evaluation raised the loss, and which flag to change; "" if it did not.

    Args:
      rates: the learning rates of dynamic evaluation.
      chosen: whether they were chosen on the validation part.
      flag: the flag that sets a rate.
      auto: the flag that lets jaxrnn choose rates; "" where that is not possible.
    """
    if f"{dynamic_nats:.4f}" == f"{frozen_nats:.4f}" or dynamic_nats < frozen_nats:
        return ""
    difference = dynamic_nats - frozen_nats
    worse = f"worse than frozen by {difference:.4f} nats" if math.isfinite(difference) else "of no use: the loss diverged"
    if chosen:
        return f"dynamic evaluation is {worse}; the rates chosen on the validation part do not suit this text: set {flag}"
    lower = f"set {flag} lower than {min(rates):g}"
    return f"dynamic evaluation is {worse}; {lower}, or {auto}" if auto else f"dynamic evaluation is {worse}; {lower}"


def _join_or(choices: Sequence[str]) -> str:
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last
