"""Colours, patterns and finishes, and how they are put on a mesh."""
