"""Appearances: colours, patterns and finishes, and how they are applied to a mesh."""
