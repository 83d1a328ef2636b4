"""What predicts the next character: cells, and the pure `Model`."""
