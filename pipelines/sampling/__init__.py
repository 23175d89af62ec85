"""Sampling: a scene file and a trained model to a picture."""
