"""The course: its notebooks are its pages, its French code is its English code, and its numbers are the README's."""

import ast
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ("course", "cours")
FENCED = re.compile(r"^```\{code-cell\} ipython3\n(?::tags: \[(.*?)\]\n\n)?(.*?)^```$", re.MULTILINE | re.DOTALL)
ANSWER = re.compile(r"<details>.*?\n\n```python\n(.*?)```\n\n(.*?)</details>", re.DOTALL)
CONVERT = "jupytext --update --to ipynb docs/course.md docs/cours.md makes the notebooks anew"


def page(name):
    """The text of a page, without its header."""
    return (ROOT / "docs" / f"{name}.md").read_text("utf-8").split("\n---\n", 1)[1]


def cells_of_page(name):
    """Kind, source and tags of each cell."""
    cells, end = [], 0
    for match in FENCED.finditer(page(name)):
        cells.append(("markdown", page(name)[end : match.start()].strip(), []))
        cells.append(("code", match[2].strip(), match[1].split(", ") if match[1] else []))
        end = match.end()
    return [cell for cell in [*cells, ("markdown", page(name)[end:].strip(), [])] if cell[1]]


def cells_of_notebook(name):
    return json.loads((ROOT / "docs" / f"{name}.ipynb").read_text("utf-8"))["cells"]


@pytest.mark.parametrize("name", PAGES)
def test_the_notebook_is_the_page(name):
    cells = [
        (cell["cell_type"], "".join(cell["source"]).strip(), cell["metadata"].get("tags", []))
        for cell in cells_of_notebook(name)
    ]
    assert cells == cells_of_page(name), CONVERT


def shape(source):
    """What code does, whatever language its words, comments and formats of numbers are in."""
    tree = ast.parse(re.sub(r"^( *)%pip.*", r"\1pass", source, flags=re.MULTILINE))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
        if isinstance(node, ast.JoinedStr):
            node.values = [value for value in node.values if not isinstance(value, ast.Constant)]
    return ast.dump(tree)


def test_the_french_code_does_what_the_english_code_does():
    english, french = (
        [source for kind, source, _ in cells_of_page(name) if kind == "code"] + [code for code, _ in ANSWER.findall(page(name))]
        for name in PAGES
    )
    assert len(english) == len(french)
    for one, other in zip(english, french, strict=True):
        assert shape(one) == shape(other), other


def test_both_languages_have_the_same_sections_and_exercises():
    english, french = (page(name) for name in PAGES)
    for pattern in (r"^#+ (?:\d+\.)?", r"^> \*\*Exerci[sc]e \d", r"<details>", r"\$\$"):
        count_english, count_french = (len(re.findall(pattern, text, re.MULTILINE)) for text in (english, french))
        assert count_english == count_french > 0, pattern


@pytest.mark.parametrize("name", PAGES)
def test_the_table_of_the_original_course_is_that_of_its_experiment(name):
    table = (ROOT / "experiments" / "results" / "course.md").read_text("utf-8")
    rows = re.findall(r"^\| online, epoch \d+ \| ([\d.]+) \| ([\d.]+) ", table, re.MULTILINE)
    original, ours = ([float(row[column]) for row in rows] for column in (0, 1))
    for variable, expected in {"original": original, "jaxrnn_on_moliere": ours}.items():
        (listed,) = re.findall(rf"^{variable} = (.*)$", page(name), re.MULTILINE)
        assert ast.literal_eval(listed) == expected


def numbers(text):
    """The numbers of a text, whichever decimal mark it uses."""
    return set(re.findall(r"\d+\.\d+", re.sub(r"(?<=\d),(?=\d)", ".", text)))


def execute(name, folder):
    """Run the notebook in a kernel, with the code of each answer as a cell after it.

    Returns:
      What was printed by the page's cells, and by each answer.
    """
    cells = cells_of_notebook(name)
    answers = [code for code, _ in ANSWER.findall(page(name))]
    extended = []
    for cell in cells:
        extended.append(cell)
        for match in ANSWER.finditer("".join(cell["source"]) if cell["cell_type"] == "markdown" else ""):
            of_answer = {"cell_type": "code", "id": f"a{len(extended)}", "source": match[1], "metadata": {"answer": True}}
            extended.append(of_answer | {"outputs": [], "execution_count": None})
    assert sum("answer" in cell["metadata"] for cell in extended) == len(answers) > 0
    notebook = json.loads((ROOT / "docs" / f"{name}.ipynb").read_text("utf-8")) | {"cells": extended}
    (folder / "a.ipynb").write_text(json.dumps(notebook))
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "a.ipynb", "--output", "b.ipynb"]
    kept = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS" and not key.startswith("JAX_")}
    environment = {**kept, "PYTHONPATH": os.pathsep.join(sys.path)}  # compiled as a reader's, not as the tests'
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ran = [cell for cell in json.loads((folder / "b.ipynb").read_text())["cells"] if cell["cell_type"] == "code"]
    printed = [
        (cell, "".join("".join(output.get("text", "")) for output in cell["outputs"] if output["output_type"] == "stream"))
        for cell in ran
    ]
    of_page = "".join(text for cell, text in printed if "answer" not in cell["metadata"])
    return of_page, [text for cell, text in printed if "answer" in cell["metadata"]]


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("nbconvert"), reason="pip install 'jaxrnn[notebook]'")
@pytest.mark.parametrize("name", PAGES)
def test_the_course_prints_the_numbers_of_the_readme_and_of_its_answers(name, tmp_path):
    printed, of_answers = execute(name, tmp_path)
    readme = (ROOT / "README.md").read_text("utf-8")
    table = re.findall(r"^(\d\.\d{4})  \d\.\d{4} +\d\.\d{3}  ", readme, re.MULTILINE)
    assert len(table) == 6
    for number in ("2.7040", *table):  # to the digit on the machine that the README is from; another rounds differently
        assert any(math.isclose(float(number), float(said), abs_tol=0.003) for said in numbers(printed)), number
    for said, (_, prose) in zip(of_answers, ANSWER.findall(page(name)), strict=True):
        for number in map(float, numbers(said)):  # other versions of JAX round differently, which ten epochs of Adam amplify
            assert any(math.isclose(number, float(told), rel_tol=0.02) for told in numbers(prose)), (number, prose)
