"""The paper's recipe on the course's text: its initial values, no biases, the rate halved when validation no longer gains.

    python experiments/mikolov2010.py

Takes ten seconds; downloads 1.7 MB once. Expected: training stops by itself; the last 5 % of the text cost at most 1.90 nats
per character with frozen weights, and less when the network goes on learning at rate 0.1.

Writes results/mikolov2010.md.
"""

from claims import expect, four_numbers, run, write_table


def main() -> None:
    *epochs, final = run("mikolov2010", "--text", "moliere", "--max-characters", "50000")
    print(f"{len(epochs)} epochs; rates {', '.join(str(epoch['learning_rate']) for epoch in epochs)}")
    write_table("mikolov2010", four_numbers(final))
    expect("number of epochs", len(epochs), 2, 99)
    expect("held-out, frozen", final["heldout_nats"], 1.0, 1.90)
    expect("held-out, dynamic", final["heldout_dynamic_nats"], 1.0, final["heldout_nats"])


if __name__ == "__main__":
    main()
