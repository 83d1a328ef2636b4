"""What a package needs around its code: a citation, forms, a page for contributors, a README for a package index."""

import importlib.util
import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import jaxrnn

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
TOOLS = [".", "pip", *re.findall(r"^[\w-]+", "\n".join(PROJECT["optional-dependencies"]["dev"]), re.MULTILINE)]


def test_the_citation_is_of_this_version():
    assert str(CITATION["version"]) == jaxrnn.__version__
    assert CITATION["license"] == PROJECT["license"]
    assert CITATION["authors"] == PROJECT["authors"]


@pytest.mark.parametrize("form", ["bug", "feature"])
def test_a_form_asks_for_what_helps(form):
    asked = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{form}.yml").read_text("utf-8"))
    assert {"name", "description", "body"} <= asked.keys()
    fields = [field for field in asked["body"] if field["type"] != "markdown"]
    names = [field["id"] for field in fields]
    assert len(names) == len(set(names))
    assert all(field["attributes"]["label"] for field in fields)


def test_the_workflow_runs_what_is_run_here_on_the_oldest_and_the_newest_python():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]
    assert {"run": ".ci/run"} in jobs["run"]["steps"]
    versions = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.fullmatch(r".* :: Python :: 3\.\d+", each)]
    tried = re.search(r"^for wanted in (.*); do$", (ROOT / ".ci/packages").read_text("utf-8"), re.MULTILINE)
    assert tried is not None
    assert jobs["run"]["strategy"]["matrix"]["python"] == [versions[0], versions[-1]] == tried[1].split()


def test_files_and_tables_that_contributing_names_are_there():
    named = re.findall(r"`((?:[\w.]+/)*[\w.]+\.(?:py|js|md)|(?:\w+/|\.ci/)+\w*)`", CONTRIBUTING)
    assert len(named) > 20
    for name in named:
        assert any((folder / name).exists() for folder in (ROOT, ROOT / "jaxrnn", ROOT / "jaxrnn/models")), name
    for table, file in re.findall(r"`([A-Z_]{4,})` (?:in|of) `([\w/]+\.py)`", CONTRIBUTING):
        assert re.search(rf"^{table}\b", (ROOT / file).read_text("utf-8"), re.MULTILINE), (table, file)


BLOCKS = re.findall(r"^```sh\n(.*?)^```$", CONTRIBUTING, re.MULTILINE | re.DOTALL)
COMMANDS = [
    [word for word in shlex.split(command) if not re.match(r"[A-Z_]+=", word)]
    for block in BLOCKS
    for line in block.splitlines()
    for command in line.partition("  #")[0].split("&&")
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_of_contributing_is_real(command):
    program, *arguments = command
    if program in ("python", "python3"):
        assert arguments[0] == "-m"
        assert importlib.util.find_spec(arguments[1])
        assert all((ROOT / each).is_file() for each in arguments[2:] if each.startswith("tests/"))
    else:
        assert program in TOOLS or (ROOT / program).is_file()


def described(monkeypatch, project):
    """The README as the build writes it into the packages."""
    stand_in = SimpleNamespace(MetadataHookInterface=object)
    monkeypatch.setitem(sys.modules, "hatchling.metadata.plugin.interface", stand_in)
    hook = runpy.run_path(str(ROOT / "hatch_build.py"))["ReadmeHook"]()
    hook.root = ROOT
    hook.update(project)
    return project["readme"]["text"]


def test_links_of_the_readme_lead_to_the_repository_once_it_has_an_address(monkeypatch):
    readme, source = (ROOT / "README.md").read_text("utf-8"), "https://example.org/jaxrnn"
    assert described(monkeypatch, {}) == readme
    text = described(monkeypatch, {"urls": {"Source": source}})
    pictures, links = (re.findall(rf"{start}\[[^]]*\]\(([^)#:]+)[^)]*\)", readme) for start in ("!", "(?<!!)"))
    assert pictures
    assert links
    for address, form in [*((each, "raw") for each in pictures), *((each, "blob") for each in links)]:
        assert (ROOT / address).is_file()
        assert f"]({source}/{form}/HEAD/{address}" in text
    assert re.sub(rf"{source}/(raw|blob)/HEAD/", "", text) == readme
