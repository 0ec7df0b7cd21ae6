"""Evaluation: metrics, which pixels count, and the rules of each data set."""
