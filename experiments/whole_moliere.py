"""All of Molière, 1.69 million characters, read once: what a network gains that goes on learning.

    python experiments/whole_moliere.py

Takes half a minute; downloads 1.7 MB once. Expected: online at most 1.82 nats per character; the last tenth, which are other
plays, about 2.05 with frozen weights and at most 1.66 when the network goes on learning at rate 0.1.

Writes results/whole_moliere.md.
"""

from claims import expect, four_numbers, run, write_table


def main() -> None:
    epoch, final = run("notebook", "--text", "moliere", "--max-characters", "0", "--epochs", "1")
    write_table("whole_moliere", four_numbers(final))
    expect("online", epoch["online_nats"], 1.0, 1.82)
    expect("held-out, frozen", final["heldout_nats"], 2.0, 2.1)
    expect("held-out, dynamic", final["heldout_dynamic_nats"], 1.0, 1.66)


if __name__ == "__main__":
    main()
