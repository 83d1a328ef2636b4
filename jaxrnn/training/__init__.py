"""`State` and its update, the drivers, optimizers, and counters of progress."""
