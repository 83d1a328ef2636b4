"""What the final numbers say: whether anything was learned, and whether learning on while tested has helped."""

import math
from collections.abc import Sequence

from jaxrnn.errors import pluralize

ROSE = 1.1, 0.3  # a loss has risen that is so many times its lowest, and so many nats above it: new weights differ by less
FEW_UPDATES = 1_000


def on_learning(
    online_nats: float, window_nats: Sequence[float], guess_nats: float, num_updates: int, rate: float, fresh: bool
) -> str:
    """Say why a run that ends no better than a guess has not learned, and what to change; "" if it has.

    Args:
      online_nats: of the last epoch; NaN if none was finished.
      window_nats: of each thousand characters, in their order.
      guess_nats: the loss of guessing evenly among all characters.
      fresh: whether the weights were random at first, so that the loss began near that of a guess.
    """
    end = window_nats[-1] if window_nats else online_nats
    if online_nats <= guess_nats or end <= guess_nats or (not window_nats and math.isnan(online_nats)):
        return ""
    before = [*window_nats[:-1], *([guess_nats] if fresh and window_nats else [])]
    lowest, (times, more) = min(before, default=math.inf), ROSE
    if before and not end <= max(times * lowest, lowest + more):  # NaN, too
        start = f"the {lowest:.4f} of guessing evenly" if lowest == guess_nats else f"{lowest:.4f}"
        return (
            f"learning failed: the loss rose from {start} to {end:.4f} nats in the last thousand characters; "
            f"start again with a --learning-rate lower than {rate:g}"
        )
    loss = end if math.isnan(online_nats) else online_nats
    updates = pluralize(num_updates, "update")
    ended = f"after {updates} the online loss is {loss:.4f} nats, and guessing evenly costs {guess_nats:.4f}"
    if num_updates < FEW_UPDATES:
        return (
            f"too short to learn: {ended}; read more text (--max-characters 0), more often (--epochs), or make more updates of "
            "it (fewer --num-streams, a shorter --rule-length)"
        )
    return f"too little was learned: {ended}; try a --learning-rate higher than {rate:g}, or a text that can be predicted"


def on_dynamic(frozen_nats: float, dynamic_nats: float, rates: Sequence[float], chosen: bool, flag: str, auto: str) -> str:
    """Say that learning on while tested made the loss worse, and which flag to change; "" if it did not.

    Args:
      rates: that it went on learning at.
      chosen: whether they were chosen on the validation part.
      flag: by which a rate is given.
      auto: by which rates are chosen; "" where they cannot be.
    """
    if f"{dynamic_nats:.4f}" == f"{frozen_nats:.4f}" or dynamic_nats < frozen_nats:
        return ""
    difference = dynamic_nats - frozen_nats
    worse = f"worse than frozen by {difference:.4f} nats" if math.isfinite(difference) else "of no use: the loss diverged"
    if chosen:
        return f"dynamic evaluation is {worse}; the rates chosen on the validation part do not suit this text: set {flag}"
    lower = f"set {flag} lower than {min(rates):g}"
    return f"dynamic evaluation is {worse}; {lower}, or {auto}" if auto else f"dynamic evaluation is {worse}; {lower}"
