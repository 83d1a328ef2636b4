"""How much a final test reads: a number of characters, or as many as there is time for."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxrnn.config.build import Data
from jaxrnn.config.settings import AUTO, resolved
from jaxrnn.runs.task import Task
from jaxrnn.runs.time_budget import seconds_to_test
from jaxrnn.scoring import counting

# Without --minutes: share of the time for learning that a test may take, and the least time for it.
TEST_SHARE, LEAST_SECONDS = 0.1, 10.0
# Largest shares of the time for testing: for the training part, for counting, and for learning what counts are worth.
TRAIN_SHARE, COUNT_SHARE, MIX_SHARE = 0.1, 0.2, 0.2
# Rough speeds, to know beforehand what there is time for.
COUNTED_PER_SECOND, MIXED_PER_SECOND, TESTED_PER_SECOND = 200_000, 40_000, 10_000
LEAST_HELDOUT = 8_000  # characters that are tested however little time there is: all of a text as short as the comedy


class TestLimits(NamedTuple):
    """How much to test: whichever limit is reached first ends the test."""

    characters: int = 0  # of the held-out text, and of the training text; 0 = all
    seconds: float = math.inf


class Extent(NamedTuple):
    """How many characters a test counts and tests, at most, within its limits."""

    counted: int  # before the held-out part
    mixed: int  # of these, the last ones, to learn what counts are worth
    heldout: int


def test_limits(task: Task, events: Sequence[Mapping[str, Any]]) -> TestLimits:
    """Limit the test to a share of --minutes or of the time of training, unless --test-characters says how much to test."""
    known = _limits_of_settings(task)
    if known is not None:
        return known
    rows = [event for event in events if event["event"] == "epoch"]
    trained = sum(row["characters"] / row["characters_per_second"] for row in rows if row["characters_per_second"])
    return TestLimits(seconds=max(LEAST_SECONDS, TEST_SHARE * trained))


def known_limits(task: Task) -> TestLimits | None:
    """Return limits that give the same extent as those after training; None if that depends on the time training will take."""
    known, least, most = _limits_of_settings(task), TestLimits(seconds=LEAST_SECONDS), TestLimits()
    return most if known is None and plan_extent(task.data, least) == plan_extent(task.data, most) else known


def plan_extent(data: Data, limits: TestLimits) -> Extent:
    """Plan what there is time for."""
    num_before = len(data.train) + len(data.validation)
    counted = most_within(min(num_before, counting.MOST_COUNTED), COUNT_SHARE * limits.seconds, COUNTED_PER_SECOND)
    mixed = min(most_within(counting.MOST_MIXED, MIX_SHARE * limits.seconds, MIXED_PER_SECOND), counted)
    heldout = len(data.heldout[: limits.characters + 1] if limits.characters else data.heldout)
    return Extent(counted, mixed, most_within(heldout, limits.seconds, TESTED_PER_SECOND))


def most_within(characters: int, seconds: float, per_second: int) -> int:
    """Limit a number of characters to those for which there is time, but not below the least."""
    return characters if seconds == math.inf else min(characters, max(LEAST_HELDOUT, int(seconds * per_second)))


def _limits_of_settings(task: Task) -> TestLimits | None:
    wanted = task.config.evaluation.test_characters
    if wanted != AUTO:
        return TestLimits(characters=resolved(wanted))
    return TestLimits(seconds=seconds_to_test(task)) if task.config.learning.minutes else None
