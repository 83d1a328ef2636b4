"""The course's table beside ours: the first 50,000 characters of Molière's dialogues, ten epochs, three seeds.

    python experiments/course.py

Takes half a minute; downloads 1.7 MB once. Expected: every epoch's online loss within 0.03 nats of the course's; training
text with frozen weights 1.72 to 1.87, held-out text frozen 1.98 to 2.06, held-out text dynamic 1.89 to 1.95. The course
calls 1.7731 its test loss; its loop reads the training text again, with frozen weights, so it belongs beside our second number.

Writes results/course.md.
"""

from claims import expect, run, write_table

from jaxrnn.console.report import MEANINGS

SEEDS = (0, 1, 2)
COURSE = (2.6395, 2.1646, 2.0085, 1.9167, 1.8444, 1.7899, 1.7492, 1.7171, 1.6879, 1.6622)
COURSE_TEST_LOSS = 1.7731
EXPECTED = {"train_nats": (1.72, 1.87), "heldout_nats": (1.98, 2.06), "heldout_dynamic_nats": (1.89, 1.95)}


def main() -> None:
    runs = [run("notebook", "--text", "moliere", "--max-characters", "50000", "--seed", str(seed)) for seed in SEEDS]
    lines = ["| | course | " + " | ".join(f"seed {seed}" for seed in SEEDS) + " |", "|---|---|" + "---|" * len(SEEDS)]
    for epoch, course in enumerate(COURSE):
        lines.append(row(f"online, epoch {epoch + 1}", f"{course:.4f}", [metrics[epoch]["online_nats"] for metrics in runs]))
    for name in EXPECTED:
        course = f"{COURSE_TEST_LOSS:.4f}" if name == "train_nats" else ""
        lines.append(row(MEANINGS[name], course, [metrics[-1][name] for metrics in runs]))
    write_table("course", lines)
    for metrics in runs:
        for epoch, course in enumerate(COURSE):
            expect(f"online, epoch {epoch + 1}", metrics[epoch]["online_nats"], course - 0.03, course + 0.03)
        for name, bounds in EXPECTED.items():
            expect(name, metrics[-1][name], *bounds)


def row(name: str, course: str, ours: list[float]) -> str:
    return f"| {name} | {course} | " + " | ".join(f"{nats:.4f}" for nats in ours) + " |"


if __name__ == "__main__":
    main()
