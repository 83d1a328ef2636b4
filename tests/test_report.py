import pytest
from rich.console import Console
from rich.progress import Progress

from jaxrnn.console import report


@pytest.mark.parametrize(("num_epochs", "said"), [(4, "epoch 2 of 4"), (None, "epoch 2 ")])
def test_a_terminal_gets_a_bar_with_the_numbers(num_epochs, said):
    screen = Console(force_terminal=True, width=80)
    with screen.capture() as captured, report.progress_bar(screen, 1_000, num_epochs) as show:
        show(1, 500, 2.0, 123_456.0)
    for words in (said, "2.000 nats", "2.885 bits", "123,456 char/s", "38 %" if num_epochs else "50 %"):
        assert words in captured.get()


def test_the_time_left_is_counted_anew_in_each_epoch(monkeypatch):
    bars = []
    monkeypatch.setattr(report, "Progress", lambda *columns, **how: bars.append(Progress(*columns, **how)) or bars[0])
    screen = Console(force_terminal=True, width=80)
    with screen.capture(), report.progress_bar(screen, 1_000, None) as show:
        for epoch in range(3):
            show(epoch, 500, 2.0, 1.0)
            assert not bars[0].tasks[0].finished
            show(epoch, 1_000, 2.0, 1.0)
            assert bars[0].tasks[0].finished


def test_what_would_steer_a_terminal_is_shown_as_a_sign():
    assert report.spell_characters("a b\n\x1b[31m\x07é") == "a␣b⏎·[31m·é"
    assert len(report.spell_characters("x" * 100)) == 52
