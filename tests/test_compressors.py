"""Losses beside those of compressors: what `experiments/reading.py` computes, keeps and draws."""

import dataclasses
import importlib
import itertools
import math
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.config import auto, build
from jaxrnn.config.settings import PRESETS
from jaxrnn.data import text, vocabulary
from jaxrnn.models.counts import count_model

sys.path.insert(0, str(Path(__file__).parent.parent / "experiments"))
compressors, reading, reading_tables, reading_picture = (
    importlib.import_module(name) for name in ("compressors", "reading", "reading_tables", "reading_picture")
)
PEER = reading.Row("peer", {"heldout": 1.0, "first": 1.4, "whole": 1.2}, {"heldout": 0.02, "first": 0.01, "whole": 0.02})
OURS = reading.Row("ours", {"heldout": 0.9}, {"heldout": 90.0})


def test_eight_characters_a_byte_are_one_bit():
    assert reading.nats_per_character(125, 1_000) == pytest.approx(math.log(2))


def test_the_loss_of_the_held_out_part_is_what_it_adds():
    of = reading.Texts("x" * 1_001, "x" * 901)
    nats = reading.losses_of_sizes({"before": 400, "whole": 450, "first": 450, "one": 50}, of)
    assert nats == pytest.approx({"heldout": 4 * math.log(2), "first": 3.2 * math.log(2), "whole": 3.2 * math.log(2)})


def test_the_text_is_split_as_by_train():
    gru, characters = PRESETS["gru"], text.read("comedie")
    settings = dataclasses.replace(gru, text=dataclasses.replace(gru.text, text="comedie", max_characters=0))
    data = build.load_data(auto.resolve_auto(settings, len(characters)))
    before = reading.split(characters).before
    assert characters[: len(before)] == before
    assert vocabulary.decode(data.vocabulary, data.heldout) == characters[len(before) :]


def test_what_is_not_installed_is_left_out_with_a_line(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    monkeypatch.setitem(sys.modules, "pyppmd", None)
    found, missing = compressors.find_compressors()
    assert [compressor.name for compressor in found] == ["xz -9e", "bz2 -9"]
    assert missing == [
        "left out: pyppmd is not installed: pip install -e '.[bench]'",
        *(f"left out: no program {name} is installed" for name in ("zpaq", "paq8px", "lstm-compress")),
    ]


def test_a_program_says_how_much_is_left_by_the_size_of_its_file():
    copy = (sys.executable, "-c", "import shutil, sys; shutil.copy(*sys.argv[1:])", compressors.FILE, compressors.ARCHIVE)
    assert compressors.program_size(copy)(b"abc" * 100) == 300


@pytest.mark.parametrize("size", [compressors.bz2_size, compressors.xz_size])
def test_a_compressor_of_the_standard_library_compresses(size):
    assert 15_000 < size(text.read("comedie")[:50_000].encode()) < 25_000


def test_counts_are_scored_before_they_learn_and_but_for_the_first_character():
    characters = text.read("comedie")[:300]
    known = vocabulary.of_text(characters)
    ids = vocabulary.encode(known, characters)
    model = count_model(len(known.characters), capacity=4_000)
    learn, counts, nats = jax.jit(model.learn), model.init(), []
    for y in ids:
        counts, probability = learn(counts, jnp.int32(y))
        nats.append(-np.log(probability))
    for start in (0, 270):
        np.testing.assert_allclose(reading.count_characters(model, ids, start), np.mean(nats[start + 1 :]), rtol=1e-5)


def test_rows_are_kept_and_cited_ones_give_way_to_measured_ones(tmp_path):
    path = tmp_path / "reading.json"
    assert reading_tables.kept_rows(path) == reading_tables.CITED_ROWS
    rows = {**reading_tables.CITED_ROWS, "paq8px -8": PEER, "ours": OURS}
    reading_tables.keep_rows(rows, path)
    assert reading_tables.kept_rows(path) == rows


def test_the_best_row_of_a_table_is_the_last_and_a_cited_one_says_so():
    lines = reading_tables.tables({"ours": OURS, "peer": PEER, **reading_tables.CITED_ROWS})
    assert lines[2:5] == [
        "| peer | 1.000 | 1.443 | 0.02 |",
        "| paq8px -8 (cited, not measured here) | 0.960 | 1.385 | about 300 |",
        "| **ours** | 0.900 | 1.298 | 90 |",
    ]
    assert len({line.count("|") for line in lines[6:]}) == 1
    assert "ours" not in "".join(lines[6:])


def test_no_name_in_the_picture_stands_on_another():
    seconds = dict(zip(reading.EXPECTED, (2, 0.2, 0.7, 4, 5, 20), strict=True))
    rows = dict(reading_tables.CITED_ROWS)
    for name, (heldout, _, whole) in reading.EXPECTED.items():
        rows[name] = PEER._replace(
            nats={"heldout": heldout, "whole": whole}, seconds=dict.fromkeys(("heldout", "whole"), seconds[name])
        )
    for minutes, nats in ((1.5, (1.38, 1.13, 1.13, 1.04)), (10, (1.34, 1.10, 1.13, 0.99))):
        for what, heldout in zip(reading.TESTED, nats, strict=True):
            rows[f"GRU {minutes:g} min, {what}"] = reading.Row("ours", {"heldout": heldout}, {"heldout": 70 * minutes})
    panels = reading_tables.panels(rows)
    assert [len(panel.points) for panel in panels] == [11, 7]  # neither what runs say of counts nor of frozen weights
    for axes, panel in zip(reading_picture.make_figure(panels).axes, panels, strict=True):
        boxes = [name.get_window_extent() for name in axes.texts]
        assert len(boxes) == len(panel.points)
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
