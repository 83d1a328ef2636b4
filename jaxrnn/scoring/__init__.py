"""Evaluation: how well a model predicts a text. Sampling: drawing text from a model."""
