"""Models that predict the next character: cells, the pure `Model`, n-grams and mixtures."""
