"""The page on a run's files lists every key of the metrics that runs of all kinds write."""

import re
from pathlib import Path

import pytest
from conftest import SMALL, events

from jaxrnn import score, train

PAGE = (Path(__file__).parent.parent / "docs" / "reference" / "run-folder.md").read_text("utf-8")
TABLES = re.compile(r"^`(\w+)`, .*:\n\n\| key \|.*\n\|.*\n((?:\|.*\n)+)", re.MULTILINE)
LISTED = {
    event: {key for row in rows.splitlines() for key in re.findall(r"`(\w+)`", row.split("|")[1])}
    for event, rows in TABLES.findall(PAGE)
}
RUNS = {
    "until it diverges": ["--epochs", "1", "--learning-rate", "50"],
    "on time": ["--minutes", "0.05", "--text", "synthetic:reber"],
    "too short": ["--minutes", "0.001"],
}


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    """The keys of each event in runs of all kinds."""
    folder, keys = tmp_path_factory.mktemp("kinds"), {}
    for name, flags in RUNS.items():
        train.main([*SMALL, *flags, "--run-dir", str(folder / name)])
    train.main(["--resume", str(folder / "on time"), "--epochs", "100", "--minutes", "0.01"])
    (folder / "a.txt").write_text("COLAS.\n", "utf-8")
    learning = ["--learn", "0.1", "--save", str(folder / "stream")]
    score.main([str(trained / "runs" / "notebook-comedie-0"), str(folder / "a.txt"), *learning])
    for run in [*(trained / "runs").iterdir(), *folder.glob("*/")]:
        for event in events(run):
            keys.setdefault(event["event"], set()).update(
                event.keys() - {"event"} - ({"dynamic"} if event["event"] == "stream" else set())
            )
    return keys


def test_the_page_lists_every_key_of_the_presets(trained):
    for run in (trained / "runs").iterdir():
        for event in events(run):
            assert event.keys() - {"event"} <= LISTED[event["event"]]


@pytest.mark.slow
def test_the_page_lists_every_key_and_no_other(written):
    assert written == LISTED


def test_the_keys_of_the_dynamic_settings_are_listed(trained):
    for run in (trained / "runs").iterdir():
        (row,) = re.findall(r"^\| `dynamic` \|(.*)\|$", PAGE, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", row)) == events(run)[-1]["dynamic"].keys()
