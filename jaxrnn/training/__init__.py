"""`State` and its update, the drivers, optimizers, and what is counted while learning."""
