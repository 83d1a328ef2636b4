"""All pictures of the experiments, drawn again from the results that are kept as JSON; nothing is measured.

    python -m experiments.draw

Takes ten seconds. Writes results/NAME.png for each results/NAME.json that has a picture.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where `python experiments/NAME.py` finds the modules

import anomalies
import beyond_text
import cost
import cost_of_rules
import dynamic_rates
import influence_balancing
import online_rules
import paper
import reading_tables
import rules_on_text
import sweep
import tyro
import vanishing_gradient
from matplotlib.figure import Figure
from pictures import RESULTS, Picture, draw_picture

PICTURES: dict[str, Picture] = {
    "anomalies": anomalies.picture,
    "beyond_text": beyond_text.picture,
    "cost": cost.picture,
    "cost_of_rules": cost_of_rules.picture,
    "dynamic_rates": dynamic_rates.picture,
    "influence_balancing": influence_balancing.picture,
    "online_rules": online_rules.picture,
    "paper": paper.picture,
    "reading": reading_tables.picture,
    "rules_on_text": rules_on_text.picture,
    "sweep": sweep.picture,
    "vanishing_gradient": vanishing_gradient.picture,
}


def main(folder: Path = RESULTS) -> None:
    """Draw them all.

    Args:
      folder: where the pictures are written.
    """
    for name in draw_all(folder):
        print(folder / f"{name}.png")


def draw_all(folder: Path) -> dict[str, Figure]:
    """Draw every picture into a folder. Returns the figures."""
    return {name: draw_picture(name, picture, folder=folder) for name, picture in PICTURES.items()}


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
