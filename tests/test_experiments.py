"""All scripts name what there is; those whose numbers stand in the tutorial give them (in half a minute, with Molière).

The others take minutes to hours each, so that no test runs them as they are.
"""

import ast
import importlib
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from jaxrnn.data.published import DATA_DIR_VARIABLE

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


@pytest.mark.parametrize("script", sorted(path.name for path in EXPERIMENTS.glob("*.py")))
def test_a_script_names_what_there_is_in_the_package(script):
    """All that it imports, and all that it takes from modules that it has imported."""
    tree, modules = ast.parse((EXPERIMENTS / script).read_text("utf-8")), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "jaxrnn":
            for alias in node.names:
                found = getattr(importlib.import_module(node.module or ""), alias.name, None)
                found = found or importlib.import_module(f"{node.module}.{alias.name}")
                if isinstance(found, types.ModuleType):
                    modules[alias.asname or alias.name] = found
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert hasattr(modules[node.value.id], node.attr), f"{script}:{node.lineno}"


@pytest.mark.slow
@pytest.mark.skipif(DATA_DIR_VARIABLE not in os.environ, reason=f"{DATA_DIR_VARIABLE} does not name a folder with moliere.txt")
@pytest.mark.parametrize("script", ["course.py", "mikolov2010.py", "whole_moliere.py"])
def test_a_claim_of_the_tutorial_holds(script, tmp_path):
    shutil.copytree(EXPERIMENTS, tmp_path / "experiments")  # they write their tables beside them
    command = [sys.executable, tmp_path / "experiments" / script]
    result = subprocess.run(command, env={**os.environ, "XLA_FLAGS": ""}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
