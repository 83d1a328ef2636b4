"""What the README says can be typed."""

import re
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


PROGRAMS = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "jaxrnn import" in block]


def run(program):
    exec(compile(program, "README.md", "exec"), {})


def test_the_program_that_trains_and_writes_runs(capsys):
    assert len([line for line in PROGRAMS[0].splitlines() if line]) <= 25
    run(PROGRAMS[0].replace("range(5)", "range(1)"))
    first, *text = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"epoch 1: 2\.\d{4} nats per character", first)
    assert text[0].startswith("COLAS.")


def test_the_program_on_rules_runs(capsys):
    run(PROGRAMS[1].replace("100_0", "3_0"))
    assert re.fullmatch(r"[01]\.\d{4} nats above the source itself, whose rate is 0\.4043\n", capsys.readouterr().out)


def test_the_readme_has_two_commands_that_set_everything_up():
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert [command.split(" && ")[-1] for command in commands] == ["python -m jaxrnn.train", "python -m pytest"]
