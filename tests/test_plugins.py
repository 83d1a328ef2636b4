"""Import strings: which strings are ones, what they import, and the one-line errors."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_cli_errors import error_of

from jaxrnn import train
from jaxrnn.config import parts, plugins
from jaxrnn.config.plugins import is_import_string
from jaxrnn.errors import InputError
from jaxrnn.models.cells import CELLS
from jaxrnn.rules import RULES
from jaxrnn.training.optimizers import (
    OPTIMIZERS,
    learning_rate,
    make_optimizer,
    optimizer_kind,
    schedule_length,
    with_learning_rate,
)


@pytest.fixture
def module(folder):
    """Write a module into the current folder, where nothing else would find it."""
    before = set(sys.modules)
    here = sys.path[:]
    sys.path[:] = [path for path in sys.path if path]

    def write(name, source):
        (folder / f"{name}.py").write_text(source, "utf-8")

    yield write
    sys.path[:] = here
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("value", ["own:Cell", "own.cells:Cell", "optax:lion", "_a._b:_c"])
def test_a_module_and_a_name_is_an_import_string(value):
    assert is_import_string(value)


@pytest.mark.parametrize(
    "value",
    ["gru", "", ":", "own:", ":Cell", "own.py:Cell.x", "own-cells:Cell", "own..cells:Cell", "a:b:c", "C:text", "C:\\text",
     "synthetic:reber", "own: Cell", "./own:Cell", "2own:Cell"],
)  # fmt: skip
def test_a_path_a_drive_and_a_synthetic_source_are_none(value):
    assert not is_import_string(value)


def test_a_file_of_that_name_is_a_file(folder):
    (folder / "notes:today").write_text("Bonjour.")
    assert not is_import_string("notes:today")
    assert parts.find_text("notes:today").characters == "Bonjour."


def test_a_part_is_found_in_the_current_folder_and_the_path_is_as_it_was(module):
    module("own_rule", "from jaxrnn import one_step\ndef mine(model):\n    return one_step(model)\n")
    before = sys.path[:]
    assert parts.find_rule("own_rule:mine").make.__name__ == "mine"
    assert sys.path == before


def test_known_names_are_the_known_entries():
    assert parts.find_cell("gru") is CELLS["gru"]
    assert parts.find_rule("bptt") is RULES["bptt"]
    assert parts.find_optimizer("adam") is OPTIMIZERS["adam"]


WRONG = [
    (
        "cell",
        "gruu",
        r"--cell 'gruu' is unknown; known are elman, .*, lru, or package.module:name for your own; did you mean gru\?",
    ),
    ("optimizer", "lion", "--optimizer 'lion' is unknown; known are sgd, .*, rmsprop, or package.module:name"),
    ("cell", "nowhere_at_all:Cell", "--cell nowhere_at_all:Cell: there is no module nowhere_at_all"),
    ("cell", "own_part:Cell", r"there is no module own_part; did you mean own_parts\?"),
    ("cell", "jaxrnn.model:Cell", r"there is no module jaxrnn.model; did you mean jaxrnn.models\?"),
    ("optimizer", "optax:lionn", r"--optimizer optax:lionn: the module optax has no 'lionn'; did you mean lion\?"),
    ("rule", "own_raises:rule", "--rule own_raises:rule: importing own_raises failed with ValueError: not today"),
    ("rule", "own_exits:rule", "importing own_exits failed with SystemExit: 3"),
    ("rule", "own_syntax:rule", "importing own_syntax failed with SyntaxError"),
    ("rule", "own_needs:rule", "importing own_needs failed with ModuleNotFoundError: No module named 'not_there_either'"),
    ("cell", "own_parts:number", "--cell own_parts:number is an int; it must be a cell class of flax.linen"),
    ("cell", "own_parts:Plain", "--cell own_parts:Plain is the class Plain; it must be a cell class"),
    ("rule", "own_parts:number", r"--rule own_parts:number is an int; it must be a function \(model\) -> Rule"),
    ("rule", "own_parts:nothing", r"--rule own_parts:nothing is the function nothing; it must be a function \(model\) -> Rule"),
    ("optimizer", "own_parts:nothing", r"is the function nothing; it must be a function \(learning_rate\) -> optax"),
    (
        "optimizer",
        "optax.contrib:reduce_on_plateau",
        r"it must be a function \(learning_rate\) -> optax.GradientTransformation",
    ),
    ("text", "own_parts:number", "--text own_parts:number is an int; it must be a string, a function without arguments"),
    ("text", "own_parts:empty", "text 'own_parts:empty' is empty"),
]


@pytest.mark.parametrize(("kind", "value", "said"), WRONG, ids=[value for _, value, _ in WRONG])
def test_what_cannot_be_used_is_a_one_line_error(module, kind, value, said):
    module("own_parts", "number = 3\nempty = ''\nclass Plain: pass\ndef nothing(): return None\n")
    module("own_raises", "raise ValueError('not today\\nnor tomorrow')")
    module("own_exits", "raise SystemExit(3)")
    module("own_syntax", "def rule(:")
    module("own_needs", "import not_there_either")
    with pytest.raises(InputError, match=said) as error:
        getattr(parts, f"find_{kind}")(value)
    assert "\n" not in str(error.value)


def test_a_text_may_be_a_string_or_made_and_its_source_known(module):
    source = "plain = 'a\\r\\nb'\ndef made(): return 'abc' * 3\ndef source(): return reber()\n"
    module("own_texts", f"from jaxrnn.data.synthetic import reber\n{source}")
    assert parts.find_text("own_texts:plain") == parts.Text("a\nb")
    assert parts.find_text("own_texts:made") == parts.Text("abcabcabc")
    made = parts.find_text("own_texts:source")
    assert made == parts.find_text("synthetic:reber")
    assert made.source is not None


def test_things_are_named_as_what_they_are():
    assert plugins.describe_object(types) == "the module types"
    assert plugins.describe_object([]) == "a list"


RAISES = """
def cell(vocab_size, hidden_size):
    raise KeyError("no such cell")


def rule(model):
    raise ValueError("no such rule")


def optimizer(learning_rate):
    return 3


def text():
    raise OSError("no such text")
"""
FAILING = {
    "--cell": ("own:cell", "--cell own:cell cannot be used: KeyError: 'no such cell'"),
    "--rule": ("own:rule", "--rule own:rule cannot be used: ValueError: no such rule"),
    "--optimizer": (
        "own:optimizer",
        "--optimizer own:optimizer: the optimizer returns an int; it must return an optax.GradientTransformation",
    ),
    "--text": ("own:text", "--text own:text cannot be used: OSError: no such text"),
}


@pytest.mark.parametrize("flag", FAILING)
def test_a_part_that_fails_is_a_one_line_error_and_nothing_is_written(module, folder, capsys, flag):
    module("own", RAISES)
    value, said = FAILING[flag]
    assert error_of(capsys, train.main, [flag, value, "--max-characters", "2000", "--hidden-size", "4"]) == f"error: {said}\n"
    assert [path.name for path in folder.iterdir() if path.suffix != ".py" and path.name != "__pycache__"] == []


def test_a_function_of_another_kind_is_a_one_line_error(folder, capsys):
    message = error_of(capsys, train.main, ["--rule", "math:sqrt", "--max-characters", "2000", "--hidden-size", "4"])
    assert message.startswith("error: --rule math:sqrt ")
    assert message.count("\n") == 1
    assert list(folder.iterdir()) == []


def test_an_optimizer_may_keep_a_rate_of_its_own_inside():
    made = make_optimizer(optimizer_kind(optax.inject_hyperparams(optax.sgd)), 0.5)  # pyright: ignore[reportArgumentType]
    params = {"a": jnp.ones(2)}
    state = with_learning_rate(made.init(params), 0.25)
    assert learning_rate(state) == 0.25
    updates, state = made.update(params, state, params)
    np.testing.assert_allclose(jax.tree.leaves(updates), [-0.25 * np.ones(2)])
    assert (learning_rate(state), schedule_length(state)) == (0.25, None)
