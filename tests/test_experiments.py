"""The scripts whose numbers stand in the tutorial; they take half a minute and need Molière."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jaxrnn.data.text import DATA_DIR_VARIABLE

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


@pytest.mark.slow
@pytest.mark.skipif(DATA_DIR_VARIABLE not in os.environ, reason=f"{DATA_DIR_VARIABLE} does not name a folder with moliere.txt")
@pytest.mark.parametrize("script", ["course.py", "mikolov2010.py", "whole_moliere.py"])
def test_a_claim_of_the_tutorial_holds(script, tmp_path):
    shutil.copytree(EXPERIMENTS, tmp_path / "experiments")  # they write their tables beside them
    command = [sys.executable, tmp_path / "experiments" / script]
    result = subprocess.run(command, env={**os.environ, "XLA_FLAGS": ""}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
