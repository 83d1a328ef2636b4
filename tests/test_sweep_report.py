"""The table and the picture of a sweep."""

import numpy as np
import pytest

from jaxrnn.console.sweep_report import average_sweep, best_rate, sweep_figure, sweep_table
from jaxrnn.runs.api import show
from jaxrnn.training.sweeps import Sweep

RATES, SEEDS, LENGTH = (0.01, 0.1, 1.0), (0, 1), 40


def swept(losses, rates=RATES, seeds=SEEDS):
    return Sweep(rates, seeds, np.asarray(losses, np.float32), states=None)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def found():
    """Losses of 2, 1 and 3 at last, 4 before, a tenth more with the second seed."""
    losses = np.full((3, 2, LENGTH), 4.0)
    losses[:, :, -10:] = np.array([2.0, 1.0, 3.0])[:, None, None]
    return swept(losses * np.array([1.0, 1.1])[None, :, None])


def test_the_last_quarter_is_compared(found):
    averaged = average_sweep(found)
    np.testing.assert_allclose(averaged.means, np.outer([2, 1, 3], [1, 1.1]), rtol=1e-6)
    assert (averaged.last, best_rate(averaged)) == (10, 1)
    np.testing.assert_allclose(average_sweep(found, 20).means[1], [2.5, 2.75], rtol=1e-6)


def test_the_table_has_a_row_for_each_rate(found):
    head, line, *rows = str(show(found)).splitlines()
    assert head == "| learning rate | mean loss | standard deviation | lowest | highest | diverged |"
    assert set(line) == set("| -")
    assert rows == [
        "| 0.01 | 2.1000 | 0.1414 | 2.0000 | 2.2000 | 0 |",
        "| **0.1** | **1.0500** | 0.0707 | 1.0000 | 1.1000 | 0 |",
        "| 1 | 3.1500 | 0.2121 | 3.0000 | 3.3000 | 0 |",
    ]


def test_a_rate_at_which_a_seed_diverged_is_not_the_best(found):
    losses = found.losses.copy()
    losses[1, 0, -1] = np.inf
    averaged = average_sweep(swept(losses))
    assert best_rate(averaged) == 0
    assert sweep_table(averaged).splitlines()[3] == "| 0.1 | nan | nan | 1.1000 | 1.1000 | 1 |"
    nothing = average_sweep(swept(np.full((3, 2, LENGTH), np.nan)))
    assert best_rate(nothing) is None
    assert "| 1 | nan | nan | nan | nan | 2 |" in sweep_table(nothing)
    assert "every learning rate" in sweep_figure(nothing).get_suptitle()


def test_the_mixture_of_networks_and_counts_is_the_last_column(found):
    columns = np.stack([found.losses + 1, found.losses], axis=-1)
    np.testing.assert_array_equal(average_sweep(found._replace(losses=columns)).means, average_sweep(found).means)


def test_the_picture_shows_every_run_and_the_mean_of_each_rate(found):
    figure = show(found).figure
    by_rate, along = figure.axes
    assert figure.get_suptitle() == "Learning rate 0.1 is best: 1.0500 (mean of 2 seeds)"
    runs = [line for line in by_rate.lines if line.get_marker() == "o"]
    assert [tuple(line.get_xdata()) for line in runs] == [(rate, rate) for rate in RATES]
    np.testing.assert_allclose([line.get_ydata() for line in runs], np.outer([2, 1, 3], [1, 1.1]), rtol=1e-6)
    assert [line.get_label() for line in along.lines] == ["0.01", "0.1", "1"]
    np.testing.assert_allclose(along.lines[1].get_ydata()[[0, -1]], [4.2, 1.05], rtol=1e-6)
    lowest, highest = along.get_ylim()
    assert lowest < 1 < 4.4 < highest


def test_what_lies_above_the_picture_is_on_its_edge(found):
    losses = found.losses.copy()
    losses[2] = 1_000
    losses[0, 1] = np.nan
    by_rate, _ = show(swept(losses)).figure.axes
    highest = by_rate.get_ylim()[1]
    assert highest < 10
    marks = {line.get_marker(): line for line in by_rate.lines}
    np.testing.assert_array_equal(marks["x"].get_xydata(), [[0.01, highest]])
    np.testing.assert_array_equal(by_rate.lines[-1].get_ydata(), [highest, highest])


def test_rates_are_sorted(found):
    turned = found._replace(rates=RATES[::-1], losses=found.losses[::-1])
    assert sweep_table(average_sweep(turned)) == sweep_table(average_sweep(found))
    np.testing.assert_array_equal(show(turned).figure.axes[0].lines[0].get_xdata(), RATES)


def test_every_run_lies_within_the_picture(found):
    losses = found.losses.copy()
    losses[:, :, -1] = 0.01  # less than the mean of any piece
    losses[2, 0] = np.nan  # its rate is not the best, but its other seed is the best run
    losses[2, 1, -1] = 0.001
    by_rate, _ = show(swept(losses), last=1).figure.axes
    lowest, highest = by_rate.get_ylim()
    places = np.concatenate([line.get_ydata() for line in by_rate.lines if line.get_marker() == "o"])
    assert len(places) == 5
    assert lowest < places.min() <= places.max() <= highest


@pytest.mark.parametrize("length", [1, 3, 700])
def test_any_length_has_a_report(length):
    report = show(swept(np.ones((1, 1, length)), (0.1,), (3,)))
    assert "one seed" in report.figure.get_suptitle()
    assert "| **0.1** | **1.0000** |" in report.table


def test_a_notebook_shows_both(found):
    shown = show(found)._repr_html_()
    assert shown.count("<tr>") == 4
    assert "<td>0.1</td><td>1.0500</td>" in shown
    assert "data:image/png;base64,iVBOR" in shown
