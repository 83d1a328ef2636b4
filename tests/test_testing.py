"""The final test says what its numbers are of."""

import numpy as np
import pytest
from conftest import task_of

from jaxrnn.runs import limits, testing
from jaxrnn.runs.start import first_snapshot
from jaxrnn.runs.testing import Result
from jaxrnn.scoring import counting
from jaxrnn.scoring.evaluation import DynamicSettings
from jaxrnn.scoring.together import Scores
from jaxrnn.training.progress import FinalNumbers

FIXED = DynamicSettings("sgd", (0.1,), 1)
HELDOUT = [name for name in FinalNumbers._fields if name.startswith("heldout")]


@pytest.fixture(scope="module")
def task():
    """One with 900 characters to train and 100 held out."""
    return task_of()


def test_counts_say_how_much_they_have_read_before(task, monkeypatch):
    for module in (limits, testing):
        monkeypatch.setattr(module, "LEAST_HELDOUT", 300)
    params = first_snapshot(task).best_params
    measuring = testing.measure(task.config, task.data, task.model, params, FIXED, testing.TestLimits(seconds=0.0))
    result = counting.run_to_end(measuring)
    assert testing.describe_extent(result) == {"heldout_characters": 99, "train_characters": 899, "counted_characters": 300}
    said = "; counted before: the last 300 of 900 characters"
    assert testing.describe_parts(1, task.data, result) == {"heldout_counts_nats": said}


@pytest.mark.parametrize(
    ("num_streams", "train", "heldout", "counted", "said"),
    [
        (1, 899, 99, 900, {}),
        (8, 888, 99, 900, {}),  # what fills no character of every stream is not left out
        (1, 500, 99, 900, {"train_nats": "; 500 of its 900 characters"}),
        (1, 899, 1, 900, dict.fromkeys(HELDOUT, "; its first 1 character")),
        (
            1,
            899,
            50,
            600,
            {
                **dict.fromkeys(HELDOUT, "; its first 50 characters"),
                "heldout_counts_nats": "; its first 50 characters; counted before: the last 600 of 900 characters",
            },
        ),
    ],
)
def test_each_row_says_which_part_it_is_of_if_not_of_all(task, num_streams, train, heldout, counted, said):
    result = Result(2.0, train, counted, Scores(heldout, *np.ones(4).tolist()), FIXED)
    assert testing.describe_parts(num_streams, task.data, result) == said
