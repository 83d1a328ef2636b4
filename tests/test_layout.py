"""Lines fit a terminal of any width and break between words; without a terminal they stay whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from jaxrnn import inspect
from jaxrnn.console import report
from jaxrnn.console.layout import choose_columns, hang_text, hang_unbroken, split_command, wrap_words
from jaxrnn.storage import verify
from jaxrnn.training.progress import Epoch

PROSE = "SGD at rate 0.1 after every character of 32 streams, gradients clipped at norm 3"
COMMAND = "python -m jaxrnn.sample runs/notebook-comedie-0"


def shown(show, columns):
    """The lines that it shows on a terminal of this width, or in a pipe."""
    screen = Console(force_terminal=columns is not None, width=columns or 80, color_system=None, highlight=False)
    screen.soft_wrap = columns is None
    with screen.capture() as captured:
        show(screen)
    return captured.get().split("\n")


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=100), st.integers(2, 90))
def test_no_line_is_longer_than_the_terminal_and_no_character_is_lost(text, width):
    lines = wrap_words(text, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_a_text_breaks_between_words_and_hangs():
    assert hang_text("learning  ", PROSE, 50) == [
        "learning  SGD at rate 0.1 after every character of",
        "          32 streams, gradients clipped at norm 3",
    ]


def test_where_there_is_no_room_beside_a_name_the_text_goes_below_it():
    assert hang_text("dynamic-optimizer  ", PROSE, 30)[:2] == ["dynamic-optimizer", "  SGD at rate 0.1 after every"]


@pytest.mark.parametrize("place", [hang_text, hang_unbroken])
def test_in_a_pipe_nothing_is_broken(place):
    assert place("learning  ", PROSE * 9, None) == ["learning  " + PROSE * 9]


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (60, [f"write  {COMMAND}"]),
        (40, ["write  python -m jaxrnn.sample \\", "       runs/notebook-comedie-0"]),
        (30, ["write", "  python -m jaxrnn.sample \\", "  runs/notebook-comedie-0"]),
        (10, ["write", "  python -m jaxrnn.sample \\", "  runs/notebook-comedie-0"]),
    ],
)
def test_a_command_can_be_copied_from_any_terminal(columns, lines):
    assert hang_unbroken("write  ", COMMAND, columns) == lines


def test_a_path_is_never_broken():
    path = "/a/long path/" + "x" * 60
    assert hang_unbroken("run  ", path, 40) == ["run", f"  {path}"]
    assert split_command(f"python -m jaxrnn.sample '{path}'") == ("python -m jaxrnn.sample", f"'{path}'")


def test_a_narrow_table_leaves_out_what_matters_least():
    widths = {"a": 5, "b": 5, "c": 5}
    assert choose_columns(widths, "cab", None) == ["a", "b", "c"]
    assert choose_columns(widths, "cab", 19) == ["a", "b", "c"]
    assert choose_columns(widths, "cab", 18) == ["a", "c"]
    assert choose_columns(widths, "cab", 11) == ["c"]


ROW = Epoch(
    epoch=0, step=2_699, characters=2_699, online_nats=2.8402, characters_per_second=1_372_628.0, learning_rate=0.00031622,
    validation_nats=2.7, clipped_fraction=0.125,
)  # fmt: skip
SAMPLE = "Que pour hout anside à juine lut des marquis, monsieur Colas, venez ici avec Bichon.\n\n" * 3
FACTS = {"text": "comedie, the first 30,000 of 73,879 characters (--max-characters)", "learning": PROSE, "x" * 19: "0.1"}
LOSSES = {"held-out text, the source itself: no model is better on average": 1.5, "training text, weights frozen": 2.5}
ROWS = [
    {**inspect.checkpoint_row(verify.Verified(1, 23_000, None, "its SHA-256 differs from when it was saved", damaged=True))},
    {
        "number": 2,
        "bytes": 1,
        "good": True,
        "step": 10**9,
        "epochs": 9,
        "learning_rate": 0.1,
        "online_nats": 2.0,
        "best_nats": None,
    },
]
SHOWN = {
    "facts": lambda screen: report.show_facts(screen, FACTS),
    "losses": lambda screen: report.show_losses(screen, LOSSES),
    "header": lambda screen: report.show_header(screen, validated=True, clipped=True),
    "epoch": lambda screen: report.show_epoch(screen, ROW, SAMPLE),
    "wide": lambda screen: report.show_epoch(screen, ROW, "日本語の文字は二列を占める" * 20),
    "checkpoints": lambda screen: report.show_checkpoints(screen, ROWS),
}


@pytest.mark.parametrize("columns", [100, 80, 60, 40])
@pytest.mark.parametrize("name", SHOWN)
def test_all_that_is_shown_fits(name, columns):
    assert all(cell_len(line) <= columns for line in shown(SHOWN[name], columns))


@pytest.mark.parametrize("columns", [None, 80, 60, 40])
def test_the_head_of_the_table_stands_over_its_columns(columns):
    header, row = shown(SHOWN["header"], columns)[0], shown(SHOWN["epoch"], columns)[0]
    assert len(header) == len(row)
    assert header.startswith("epoch  online nats  ")


def test_a_pipe_gets_the_lines_of_always():
    assert shown(SHOWN["epoch"], None) == [
        "    1       2.8402   4.098     1,372,628  0.0003162           2.7000    12.5%",
        "       │ Que pour hout anside à juine lut des marquis, monsieur Colas, venez",
        "       │ ici avec Bichon.",
        "       │ Que pour hout anside à juine lut des marquis, monsieur Colas, venez",
        "       │ ici avec Bichon.",
        "",
    ]
    assert shown(SHOWN["facts"], None)[0] == "text" + " " * 17 + FACTS["text"]
    assert shown(SHOWN["checkpoints"], None) == [
        "number         step  epochs       rate  online nats  best nats      kB  SHA-256",
        "     1                                                              23  DAMAGED: " + ROWS[0]["reason"],
        "     2  1,000,000,000       9        0.1       2.0000          –       0  good",
        "",
    ]


def test_a_message_breaks_between_words_on_a_terminal_only(monkeypatch):
    for columns, num_lines in ((40, 2), (None, 1)):
        monkeypatch.setattr(report.Console, "is_terminal", property(lambda screen, c=columns: c is not None))
        screen = report.make_screen()
        screen.width = columns or 40
        with screen.capture() as captured:
            screen.print("planned: 47,998 updates, 2.00 epochs, to end in time")
        lines = captured.get().splitlines()
        assert len(lines) == num_lines
        assert all(not line.endswith(("updat", "epoc")) for line in lines)


@pytest.mark.parametrize("columns", [80, 60, 40])
@pytest.mark.parametrize("num_epochs", [3, 100, None])
def test_the_bar_fits(columns, num_epochs):
    def show(screen):
        with report.progress_bar(screen, 1_000, num_epochs) as show:
            show(1, 500, 2.0, 1_123_456.0)

    lines = [line.rpartition("K")[2] for line in shown(show, columns)]
    (bar,) = [line for line in lines if "2.000 nats" in line][:1]
    assert bar.startswith("epoch 2")
    assert cell_len(bar.rstrip()) <= columns
    assert ("char/s" in bar) == (columns >= 60)
