"""Each room of the package imports only from rooms above it, and the library none of the shell's packages."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "jaxrnn"
ROOMS = (  # from the ground up, those of one line on one floor
    ("errors",),
    ("data",),
    ("models",),
    ("rules",),
    ("training",),
    ("scoring",),
    ("config",),
    ("runtime",),
    ("storage",),
    ("console",),
    ("runs",),
    ("__main__",),
    ("train", "evaluate", "sample", "score", "export", "page", "inspect"),
)
LIBRARY = [name for floor in ROOMS[:6] for name in floor]
SHELL_ONLY = {"tyro", "rich", "matplotlib", "orbax", "safetensors", "tensorstore", "filelock"}
ENTRIES = 21


class Import(NamedTuple):
    """A module that a file imports, wherever in it."""

    file: Path
    line: int
    module: str


def imports_in(package: Path) -> Iterator[Import]:
    """All imports of a package's files, also those inside functions and those by name."""
    for file in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                yield from (Import(file, node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{file}:{node.lineno}: a relative import"
                yield from (Import(file, node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def room_of(package: Path, file: Path) -> str:
    return file.relative_to(package).parts[0].removesuffix(".py")


def breaches(package: Path) -> list[str]:
    """What breaks the wall, a line each."""
    floor = {name: number for number, names in enumerate(ROOMS) for name in names}
    found = []
    for file, line, module in imports_in(package):
        room, place = room_of(package, file), f"{file.relative_to(package)}:{line}"
        top, *rest = module.split(".")
        if top == "jaxrnn" and rest and rest[0] in floor and room in floor:
            other = rest[0]
            if other != room and floor[other] >= floor[room]:
                found.append(f"{place} imports {module}, from below")
        if room in LIBRARY and (top in SHELL_ONLY or (top == "pooch" and room != "data")):
            found.append(f"{place} imports {top}, which is for the shell")
    return found


def circles(package: Path) -> list[str]:
    """Files that import each other, by whatever way, when they are loaded."""
    names = {file: ".".join(file.relative_to(package.parent).with_suffix("").parts) for file in package.rglob("*.py")}
    known = {name.removesuffix(".__init__") for name in names.values()}
    to = {name.removesuffix(".__init__"): set() for name in names.values()}
    for file, _, module in imports_in(package):
        target = module if module in known else module.rpartition(".")[0]
        if target in known and file.name != "__main__.py" and target != "jaxrnn":
            to[names[file].removesuffix(".__init__")].add(target)
    done, found = set(), []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            found.append(" -> ".join((*path[path.index(name) :], name)))
        elif name not in done:
            for other in sorted(to[name] - {name}):
                visit(other, (*path, name))
            done.add(name)

    for name in sorted(to):
        visit(name, ())
    return found


def test_no_room_imports_from_below_and_the_library_imports_nothing_of_the_shell():
    assert breaches(PACKAGE) == []


def test_no_file_is_on_two_floors_of_its_own_room():
    assert circles(PACKAGE) == []


def test_every_entry_of_the_package_is_a_room():
    entries = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert entries - {"__init__", "py.typed"} == {name for floor in ROOMS for name in floor}
    assert len(entries) <= ENTRIES


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("rules/base.py", "import rich", "rules/base.py:1 imports rich, which is for the shell"),
        ("models/model.py", "def f():\n    import pooch", "models/model.py:2 imports pooch, which is for the shell"),
        ("data/text.py", "from jaxrnn.training import learner", "data/text.py:1 imports jaxrnn.training.learner, from below"),
        (
            "console/report.py",
            "from jaxrnn.runs.loop import run",
            "console/report.py:1 imports jaxrnn.runs.loop.run, from below",
        ),
        ("sample.py", "from jaxrnn import train", "sample.py:1 imports jaxrnn.train, from below"),
    ],
)
def test_a_breach_is_found(tmp_path, file, line, words):
    path = tmp_path / "jaxrnn" / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert breaches(tmp_path / "jaxrnn") == [words]


def test_a_circle_is_found(tmp_path):
    room = tmp_path / "jaxrnn" / "data"
    room.mkdir(parents=True)
    for name, other in ("ab", "bc", "ca"):
        (room / f"{name}.py").write_text(f"from jaxrnn.data.{other} import x")
    assert circles(tmp_path / "jaxrnn") == ["jaxrnn.data.a -> jaxrnn.data.b -> jaxrnn.data.c -> jaxrnn.data.a"]


def test_files_and_functions_have_one_subject():
    """Past these numbers they hold two."""
    for file in PACKAGE.rglob("*.py"):
        source = file.read_text("utf-8")
        assert len(source.splitlines()) <= 300, file
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 45, f"{file}: {node.name}"


def test_nothing_in_the_package_hides_a_module_of_python():
    """A script inside the folder of the package finds its files first; `inspect` is the name of a program."""
    hidden = {path.stem for path in PACKAGE.iterdir()} & set(sys.stdlib_module_names)
    assert hidden == {"inspect"}


def test_importing_the_package_imports_nothing_of_the_shell():
    program = "import sys, jaxrnn; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not {re.split(r"\.", name)[0] for name in loaded.split()} & {*SHELL_ONLY, "jax", "pooch", "optax", "flax"}
