"""The picture shows the losses in the right place, and its failure never costs the result."""

import contextlib
import os
import sys

import matplotlib as mpl
import pytest
from conftest import DRAWING_PROCESS, SMALL, events, metrics

from jaxrnn import train
from jaxrnn.console import plot
from jaxrnn.console.plot import Curves
from jaxrnn.storage import run_folder as folder


def apart(*arguments):
    """Draw in a process of its own."""
    with DRAWING_PROCESS() as draw:
        return draw(*arguments)


NUMBERS = {"online_nats": 1.5, "train_nats": 1.4, "heldout_nats": float("nan"), "heldout_dynamic_nats": float("inf")}
LINE = Curves(windows=[(0.5, 2.0)], epochs=[(0.5, 2.0)], validation=[(1.0, 1.9)], end=1.0)


def epoch(number, step, nats: float | None = 2.0, **more):
    return {"event": "epoch", "epoch": number, "step": step, "online_nats": nats, **more}


def test_whole_epochs_lie_side_by_side():
    found = plot.collect_curves([epoch(0, 100, 3.0, validation_nats=2.5), epoch(1, 200, 2.0, validation_nats=1.5)], 100)
    assert found == Curves([], [(0.5, 3.0), (1.5, 2.0)], [(1.0, 2.5), (2.0, 1.5)], 2.0)


def test_an_epoch_that_was_cut_short_lies_where_it_was_read():
    window = {"event": "progress", "step": 120, "online_nats": 2.2}
    found = plot.collect_curves([epoch(0, 100, 3.0), window, epoch(1, 130, 2.0, validation_nats=1.5)], 100)
    assert found == Curves([(1.2, 2.2)], [(0.5, 3.0), (1.15, 2.0)], [(1.3, 1.5)], 1.3)


def test_a_run_shorter_than_an_epoch_fills_the_picture():
    assert plot.collect_curves([epoch(0, 30)], 100) == Curves([], [(0.15, 2.0)], [], 0.3)


def test_an_epoch_whose_predecessor_is_missing_is_no_longer_than_an_epoch():
    assert plot.collect_curves([epoch(4, 500)], 100).epochs == [(4.5, 2.0)]


@pytest.mark.parametrize(
    "line", [{"event": "epoch"}, {}, epoch(0, None), epoch(0, "7"), epoch(0, 7, None), epoch(0, 7, float("nan"))]
)
def test_a_line_that_was_changed_by_hand_is_left_out(line):
    assert plot.collect_curves([line], 100) == Curves([], [], [], 0.0)


def test_the_metrics_of_a_run_are_placed(trained):
    found = plot.collect_curves(events(trained / "runs" / "notebook-comedie-0"), 2_699)
    assert [place for place, _ in found.epochs] == [0.5, 1.5]
    assert (len(found.windows), found.validation, found.end) == (5, [], 2.0)


def test_drawing_leaves_the_users_settings_as_they_are():
    with mpl.rc_context({"lines.linewidth": 7.0, "figure.facecolor": "black"}):
        before = dict(mpl.rcParams)
        with_settings = plot.draw(LINE, NUMBERS, 1_000, "a run")
        assert dict(mpl.rcParams) == before
    assert plot.draw(LINE, NUMBERS, 1_000, "a run") == with_settings


def test_a_figure_has_the_losses_and_keeps_the_style_that_is_set():
    with mpl.rc_context({"figure.facecolor": "black"}):
        drawn = plot.figure(LINE, NUMBERS, 1_000, "a run")
    assert drawn.get_facecolor() == (0.0, 0.0, 0.0, 1.0)
    axes = drawn.axes[0]
    assert (axes.get_title(), axes.get_ylabel()) == ("a run", "nats per character")
    assert [line.get_ydata() for line in axes.lines[:3]] == [[2.0], [2.0], [1.9]]


def test_the_legend_covers_nothing_and_no_two_lines_look_alike():
    drawn = plot.figure(LINE, {"train_nats": 1.4, "heldout_nats": 1.5, "heldout_dynamic_nats": 1.45}, 1_000, "a run")
    (axes,), (legend,) = drawn.axes, drawn.legends
    drawn.draw_without_rendering()
    around = axes.get_tightbbox()
    assert around is not None
    assert not legend.get_window_extent().overlaps(around)
    looks = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axes.lines]
    assert len(set(looks)) == len(axes.lines) == 6
    assert len({dashes for _, dashes, _ in looks[3:]}) == 3


def test_what_is_not_drawn_does_not_widen_the_axes():
    numbers = {"train_nats": 1.4, "heldout_counts_nats": 0.1}
    assert plot.figure(LINE, numbers, 1_000, "a run").axes[0].get_ylim() == pytest.approx((1.15, 2.5))


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_no_setting_of_matplotlib_reaches_the_picture(tmp_path, monkeypatch, capfd, backend):
    """Not that of a notebook, of a file of settings that cannot even be read, nor a folder that cannot be written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "matplotlibrc").write_bytes(b"text.usetex: True\nlines.linewidth: wide\nfont.family: \xff\n")
    monkeypatch.setenv("MPLBACKEND", backend)
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path / "matplotlibrc"))
    monkeypatch.setenv("MPLCONFIGDIR", "/proc/none")
    before = dict(os.environ), list(sys.path)
    assert apart(LINE, NUMBERS, 1_000, "名 $x_1") == plot.draw(LINE, NUMBERS, 1_000, "名 $x_1")
    assert (dict(os.environ), sys.path) == before
    assert capfd.readouterr() == ("", "")


def test_ctrl_c_in_the_terminal_does_not_reach_the_process_that_draws(monkeypatch):
    monkeypatch.setattr(plot, "PROGRAM", "import os; print(os.getsid(0), os.getpgrp())")
    session, group = apart(LINE, NUMBERS, 1_000, "a run").split()
    assert int(session) != os.getsid(0)
    assert int(group) != os.getpgrp()


def test_what_goes_wrong_is_said_in_one_line(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(plot, "PROGRAM", "import nothing_of_this_name")
        with pytest.raises(plot.NotDrawn, match="ModuleNotFoundError: "):
            apart(LINE, NUMBERS, 1_000, "a run")
    monkeypatch.setattr(plot, "SECONDS", 0.01)
    with pytest.raises(plot.NotDrawn, match=r"it took over 0\.01 seconds"):
        apart(LINE, NUMBERS, 1_000, "a run")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(plot.NotDrawn, match="No such file"):
        apart(LINE, NUMBERS, 1_000, "a run")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("\n\x1b"),
        *(pytest.param(e, marks=pytest.mark.slow) for e in (ImportError("no matplotlib"), MemoryError(), plot.NotDrawn("x"))),
    ],
)
def test_the_result_is_there_before_the_picture_and_without_it(tmp_path, monkeypatch, capsys, error):
    run_dir, seen = tmp_path / "run", []

    def fail(*arguments):
        seen.append((metrics(run_dir)[-1]["event"], capsys.readouterr().out))
        raise error

    monkeypatch.setattr(plot, "drawing_process", lambda: contextlib.nullcontext(fail))
    train.main([*SMALL, "--epochs", "1", "--run-dir", str(run_dir)])
    out, err = capsys.readouterr()
    ((event, before),) = seen
    assert (event, err) == ("final", "")
    assert "held-out text, dynamic" in before
    warning, *facts = out.splitlines()
    assert warning.startswith("warning: the picture of the loss could not be drawn: ")
    assert [line.split("  ")[0] for line in facts if line] == ["write with it", "see it think", "test it"]
    assert not (run_dir / folder.PICTURE).exists()
    train.main(["--resume", str(run_dir)])
    assert "is finished" in capsys.readouterr().out


def test_a_folder_whose_name_no_screen_can_show_is_no_reason_to_lose_the_result(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"r\xff$x_1\n'\x1b[31m")
    train.main([*SMALL, "--epochs", "1", "--run-dir", name])
    out, err = capsys.readouterr()
    assert err == ""
    assert r"python -m jaxrnn.evaluate $'r\xff$x_1\x0a\x27\x1b[31m'" in out
    assert "\x1b" not in out
    assert metrics(tmp_path / name)[-1]["event"] == "final"
    assert (tmp_path / name / folder.PICTURE).read_bytes().startswith(b"\x89PNG")


def test_a_process_that_is_not_needed_is_ended(monkeypatch):
    started, start = [], plot._start_process
    monkeypatch.setattr(plot, "_start_process", lambda: started.append(start()) or started[-1])
    with DRAWING_PROCESS():
        assert started[0].poll() is None
    assert started[0].returncode < 0
    assert all(stream.closed for stream in (started[0].stdin, started[0].stdout, started[0].stderr))


def test_a_process_that_dies_before_it_has_something_to_draw_is_reported(monkeypatch):
    started, start = [], plot._start_process
    monkeypatch.setattr(plot, "_start_process", lambda: started.append(start()) or started[-1])
    with DRAWING_PROCESS() as draw:
        started[0].kill()
        started[0].wait()
        with pytest.raises(plot.NotDrawn, match="exit code -9"):
            draw(LINE, NUMBERS, 1_000, "a run")
