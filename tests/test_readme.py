"""What the README says can be typed."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def test_the_program_in_the_readme_runs(capsys):
    (program,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL)
        if "import jaxrnn" in block or "jaxrnn import" in block
    ]
    assert len([line for line in program.splitlines() if line]) <= 25
    program = program.replace("range(5)", "range(1)")
    exec(compile(program, "README.md", "exec"), {})
    first, *text = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"epoch 1: 2\.\d{4} nats per character", first)
    assert text[0].startswith("COLAS.")


def test_the_readme_has_two_commands_that_set_everything_up():
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert [command.split(" && ")[-1] for command in commands] == ["python -m jaxrnn.train", "python -m pytest"]
