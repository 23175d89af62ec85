"""Evaluation of a model: held-out scenes, metrics of generated pictures, scores and tables."""
