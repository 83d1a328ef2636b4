"""A notebook in a real kernel: one output that is updated, a figure, errors in one line, an interrupt."""

import importlib.util
import json
import os
import subprocess
import sys
import types

import pytest
from conftest import READS_COMPILED

from jaxrnn.console import notebook, report


class Handle:
    """Where a cell's output is shown, without a notebook."""

    def __init__(self):
        self.texts = []

    def update(self, data, raw):
        self.texts.append(data["text/plain"])


def test_one_line_below_the_output_is_updated(monkeypatch):
    handle = Handle()
    display = types.SimpleNamespace(display=lambda *_, **__: handle)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(display=display))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    screen = notebook.make_notebook_screen()
    screen.print("head")
    with report.progress_bar(screen, 1_000, 4) as show:
        show(0, 500, 2.5, 1_000.0, 0.125, 61.0)
        show(1, 250, 2.25, 1_000.0)
        screen.print("row")
    first = "head\nepoch 1 of 4, 12 %  2.500 nats  1,000 characters/s  1:01 left"
    second = "epoch 2 of 4, 250 characters  2.250 nats  1,000 characters/s"
    shown = [text for text in handle.texts if text]
    assert first in shown
    assert f"head\n{second}" in shown
    assert f"head\nrow\n{second}" in shown
    assert shown[-1] == "head\nrow\n"


QUICK = "max_characters=3_000, hidden_size=8, sample_length=20"
CELLS = [
    "import jaxrnn",
    f"run = jaxrnn.fit('comedie', epochs=3, {QUICK})",
    "run",
    "run.figure",
    "print(jaxrnn.generate(run, 'COLAS', 40))",
    "print(jaxrnn.surprisal(run, 'Bonjour.').shape)",
    "try:\n    jaxrnn.fit(hiden_size=3)\nexcept jaxrnn.errors.InputError as error:\n    print(error)",
    "import os, signal, threading\n"
    "threading.Timer(8, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
    f"try:\n    jaxrnn.fit('comedie', epochs=10**5, run_dir='long', {QUICK})\n"
    "except jaxrnn.errors.Stopped as stopped:\n    print(stopped)",
]


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("nbconvert"), reason="pip install 'jaxrnn[notebook]'")
def test_a_notebook_runs_in_a_kernel(tmp_path):
    cells = [
        {"cell_type": "code", "id": f"c{number}", "source": source, "metadata": {}, "outputs": [], "execution_count": None}
        for number, source in enumerate(CELLS)
    ]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "a.ipynb").write_text(json.dumps(notebook))
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "a.ipynb", "--output", "b.ipynb"]
    environment = {**os.environ, **READS_COMPILED, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outputs = [cell["outputs"] for cell in json.loads((tmp_path / "b.ipynb").read_text())["cells"]]
    _, (trained,), (shown,), (figure,), (written,), (scored,), (refused,), (stopped_run, stopped) = outputs
    assert "held-out text, weights frozen" in "".join(trained["data"]["text/plain"])
    assert "".join(shown["data"]["text/plain"]).startswith("Run('runs/notebook-comedie-0': ")
    assert "image/png" in figure["data"]
    assert "".join(written["text"]).startswith("COLAS")
    assert scored["text"] == ["(8,)\n"]
    assert refused["text"] == ["no setting 'hiden_size'; did you mean hidden_size?\n"]
    assert stopped_run["output_type"] == "display_data"
    assert "saved. Resume with: python -m jaxrnn.train --resume long" in "".join(stopped["text"])
