"""The course's table beside ours: the first 50,000 characters of Molière's dialogues, ten epochs, three seeds.

    python experiments/course.py

Takes half a minute; downloads 1.7 MB once. Expected: every epoch's online loss within 0.03 nats of the course's; training
text with frozen weights 1.72 to 1.87, held-out text frozen 1.98 to 2.06, held-out text dynamic 1.89 to 1.95. The course
calls 1.7731 its test loss; its loop reads the training text again, with frozen weights, so it belongs beside our second number.
"""

import contextlib
import io
import json
import tempfile
from pathlib import Path

from jaxrnn import train

SEEDS = (0, 1, 2)
COURSE = (2.6395, 2.1646, 2.0085, 1.9167, 1.8444, 1.7899, 1.7492, 1.7171, 1.6879, 1.6622)
COURSE_TEST_LOSS = 1.7731
EXPECTED = {
    "train_nats": (1.72, 1.87),
    "heldout_nats": (1.98, 2.06),
    "heldout_dynamic_nats": (1.89, 1.95),
}


def metrics(seed: int) -> list[dict]:
    """What `python -m jaxrnn.train notebook --text moliere --max-characters 50000 --seed SEED` writes."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        flags = ["--text", "moliere", "--max-characters", "50000", "--seed", str(seed), "--sample-length", "0"]
        train.main(["notebook", *flags, "--run-dir", folder])
        return [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text("utf-8").splitlines()]


def main() -> None:
    runs = [metrics(seed) for seed in SEEDS]
    print("| online, epoch | course | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " |")
    print("|---|---|" + "---|" * len(SEEDS))
    for epoch, course in enumerate(COURSE):
        ours = [run[epoch]["online_nats"] for run in runs]
        print(f"| {epoch + 1} | {course:.4f} | " + " | ".join(f"{nats:.4f}" for nats in ours) + " |")
        assert all(abs(nats - course) < 0.03 for nats in ours), f"epoch {epoch + 1} is not that of the course"
    for name, (lowest, highest) in EXPECTED.items():
        ours = [run[-1][name] for run in runs]
        course = f"{COURSE_TEST_LOSS:.4f}" if name == "train_nats" else ""
        print(f"| {name} | {course} | " + " | ".join(f"{nats:.4f}" for nats in ours) + " |")
        assert all(lowest <= nats <= highest for nats in ours), f"{name} is not between {lowest} and {highest}"


if __name__ == "__main__":
    main()
