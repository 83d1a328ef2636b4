"""Pictures of the experiments: drawn from the kept results by one command, one colour for each thing, nothing hidden or cut."""

import importlib
import itertools
import re
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text
from PIL import Image

from jaxrnn.models.cells import CELLS
from jaxrnn.rules import RULES

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
sys.path.insert(0, str(EXPERIMENTS))
draw, pictures = (importlib.import_module(name) for name in ("draw", "pictures"))

PAGE, SMALLEST = 750, 9  # pixels: the width of a page, and of its smallest letters
PAPERS_NAMES = {"TBPTT": "tbptt_sliding", "RTRL": "rtrl", "UORO": "uoro"}
# How linear RGB looks without the cones for red, for green and for blue: Machado, Oliveira & Fernandes (2009), severity 1.
SIGHTS = {
    "all cones": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def figures(folder):
    return draw.draw_all(folder)


@pytest.fixture(params=draw.PICTURES)
def figure(request, figures):
    return figures[request.param]


def test_one_command_draws_every_picture_from_the_kept_results(figures, folder):
    named = {
        name for path in EXPERIMENTS.glob("*.py") for name in re.findall(r"results/([a-z_0-9]+)\.png", path.read_text("utf-8"))
    }
    kept = {path.stem for path in (EXPERIMENTS / "results").glob("*.png")}
    assert set(figures) == {path.stem for path in folder.glob("*.png")} == kept == named


def test_a_picture_is_small_and_as_wide_as_all_others(figure, folder, request):
    path = folder / f"{request.node.callspec.params['figure']}.png"
    assert path.stat().st_size < 150_000
    with Image.open(path) as image:
        assert image.width == pictures.WIDTH * pictures.DPI


def test_the_kept_picture_is_the_drawn_one(figure, folder, request):
    name = f"{request.node.callspec.params['figure']}.png"
    kept, drawn = (Image.open(path / name).convert("L") for path in (EXPERIMENTS / "results", folder))
    assert kept.size == drawn.size
    coarse = [np.asarray(image.resize((image.width // 8, image.height // 8)), float) for image in (kept, drawn)]
    assert np.abs(coarse[0] - coarse[1]).mean() < 2  # of 255: other versions of a font differ a little


@pytest.mark.parametrize("page", ["course.md", "cours.md"])
def test_the_course_uses_colours_of_rules_and_cells_for_nothing_else(page):
    text = (EXPERIMENTS.parent / "docs" / page).read_text("utf-8")
    drawn = {colour.lower() for colour in re.findall(r"#[0-9A-F]{6}", text)}
    cells = {pictures.CELL_COLOURS[cell] for cell in ("elman", "lstm", "gru")}
    assert cells <= drawn  # where improvements are tried
    assert not (drawn - cells) & {*pictures.RULE_COLOURS.values(), *pictures.CELL_COLOURS.values()}


def test_every_rule_and_every_cell_has_a_colour_of_its_own():
    assert (set(pictures.RULE_COLOURS), set(pictures.CELL_COLOURS)) == (set(RULES), set(CELLS))
    colours = [*pictures.RULE_COLOURS.values(), *pictures.CELL_COLOURS.values()]
    assert min(difference(*pair, "all cones") for pair in itertools.combinations(colours, 2)) > 18


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("colours", [pictures.RULE_COLOURS, pictures.CELL_COLOURS], ids=["rules", "cells"])
def test_colour_blind_readers_tell_the_colours_apart(colours, sight):
    assert min(difference(*pair, sight) for pair in itertools.combinations(colours.values(), 2)) > 15


def difference(one, other, sight):
    """The distance in CIELAB; 2 is just seen."""
    lab_one, lab_other = (lab(np.array(SIGHTS[sight]) @ linear(np.array(to_rgb(colour)))) for colour in (one, other))
    return np.linalg.norm(lab_one - lab_other)


def linear(rgb):
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    xyz = TO_XYZ @ rgb.clip(0, 1) / TO_XYZ.sum(axis=1)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_what_a_label_names_has_its_colour(figure):
    for line in [line for axes in figure.axes for line in axes.lines]:
        colour = colour_of(str(line.get_label()))
        assert colour in (None, to_hex(line.get_color())), line.get_label()


def colour_of(label):
    """The colour of the rule or else of the cell in a label; None if it names neither."""
    rule = re.split(r"[ (]", label)[0]
    rule = PAPERS_NAMES.get(rule, rule)
    cells = {colour for cell, colour in pictures.CELL_COLOURS.items() if CELLS[cell].title in label}
    return pictures.RULE_COLOURS.get(rule) or (cells.pop() if cells else None)


def test_a_legend_covers_neither_data_nor_words(figure):
    panels = [axes for axes in figure.axes if axes.axison]
    legends = [*figure.legends, *(legend for axes in figure.axes if (legend := axes.get_legend()))]
    words = [figure._suptitle.get_window_extent(), *(axes.get_tightbbox() for axes in panels)]
    assert not any(legend.get_window_extent().overlaps(box) for legend in legends for box in words)


def test_no_panel_reaches_into_another(figure):
    boxes = [axes.get_tightbbox() for axes in figure.axes if axes.axison]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_nothing_is_cut_by_the_edge(figure):
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) >= 0


def test_the_smallest_letters_can_be_read_on_a_page(figure):
    points = min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text())
    assert points / 72 * PAGE / pictures.WIDTH >= SMALLEST


def test_a_title_says_what_is_seen(figure):
    assert len(figure.get_suptitle().split()) >= 8


def test_the_users_settings_change_no_picture_and_are_restored(tmp_path):
    drawn = []
    for colour in ("white", "black"):
        with mpl.rc_context({"figure.facecolor": colour}):
            pictures.draw_picture("dynamic_rates", draw.PICTURES["dynamic_rates"], folder=tmp_path)
            assert mpl.rcParams["figure.facecolor"] == colour
        drawn.append((tmp_path / "dynamic_rates.png").read_bytes())
    assert drawn[0] == drawn[1]
