"""Augmentation of small sets: samples mirrored, recoloured, or composed of other subjects."""
