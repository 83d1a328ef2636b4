"""Every shell block of the how-to pages runs, shortened, in a folder with the files that it names."""

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import READS_COMPILED

from jaxrnn.data import text

ROOT = Path(__file__).parent.parent
PAGES = {path.stem: path.read_text("utf-8") for path in sorted(ROOT.glob("docs/how-to/*.md"))}
SHELL, PYTHON = (re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL) for language in ("sh", "python"))
BRIEF = "--max-characters 6000 --epochs 1 --sample-length 20"
SMALL = f"{BRIEF} --hidden-size 8"
GATED = f"{SMALL} --num-streams 4 --rule-length 16"
# Of a page: what is put for what, so that it takes seconds.
SHORTENED = {
    "own-text": [("--max-characters 0 --epochs 3", SMALL)],
    "many-texts": [("--minutes 10", GATED), ("--minutes 2", GATED)],
    "gated": [("--minutes 10", GATED)],
    "score-a-log": [("--minutes 1 ", f"{GATED} ")],
    "resume": [("my_novel.txt --resume auto", f"my_novel.txt {SMALL} --resume auto"), ("--minutes 5", "--minutes 0.02")],
    "page": [("jaxrnn.train &&", f"jaxrnn.train {SMALL} &&"), ("--text my_poems.txt", f"--text my_poems.txt {BRIEF}")],
    "export": [("--init-from weights.safetensors", f"--init-from weights.safetensors {BRIEF}")],
    "extend": [
        ("--text own_parts:weather\n", f"--text own_parts:weather {SMALL}\n"),
        ("--minutes 1.5", GATED),
        ("runs/theirs", "runs/notebook-own_parts_weather-0"),
    ],
}
NOT_RUN = {
    "--coordinator HOST:PORT": "needs two machines; tests/test_devices.py starts two processes",
    "pip install": ".ci/run and .ci/packages install the package",
    "python experiments/": "takes half a minute and downloads a text; tests/test_experiments.py runs it if the text is there",
}


def commands_of(page):
    """The commands of a page's shell blocks, shortened."""
    code = "".join(SHELL.findall(PAGES[page]))
    for long, short in SHORTENED.get(page, ()):
        assert long in code, f"{page} no longer holds {long}"
        code = code.replace(long, short)
    return [line for line in code.splitlines() if line and not any(part in line for part in NOT_RUN)]


@pytest.fixture
def folder(trained, tmp_path):
    """A folder with the texts, runs and files that the pages name."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    (tmp_path / "runs" / "mikolov2010-comedie-0").rename(tmp_path / "runs" / "gru-my_novel-0")
    (tmp_path / "letters").mkdir()
    for name in ("my_novel.txt", "my_poems.txt", "service.log", "today.log", "novels.txt"):
        (tmp_path / name).write_text(text.read("comedie")[:6_000], "utf-8")
    letters = [text.read("comedie")[start : start + 1_500] for start in range(0, 6_000, 1_500)]
    for name, letter in zip("abc", letters, strict=False):
        (tmp_path / "letters" / f"{name}.txt").write_text(letter, "utf-8")
    (tmp_path / "letters" / "d.txt.gz").write_bytes(gzip.compress(letters[3].encode()))
    (tmp_path / "letters.txt").write_text("\n=====\n".join(letters), "utf-8")
    (tmp_path / "my_texts.py").write_text(PYTHON.findall(PAGES["many-texts"])[1], "utf-8")
    (tmp_path / "tests").mkdir()
    shutil.copytree(ROOT / "tests" / "own_parts", tmp_path / "tests" / "own_parts")
    export = ["-m", "jaxrnn.export", "runs/notebook-comedie-0", "my-run.safetensors"]
    subprocess.run([sys.executable, *export], cwd=tmp_path, env=environment(), check=True, capture_output=True)
    return tmp_path


def environment():
    """The variables of a process in which `python` is the one that runs the tests."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, **READS_COMPILED, "PATH": path, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)])
def test_the_commands_of_a_page_run(page, folder):
    for command in commands_of(page):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_what_does_not_run_is_there():
    shown = "".join(code for page in PAGES.values() for code in SHELL.findall(page))
    assert all(part in shown for part in NOT_RUN)
