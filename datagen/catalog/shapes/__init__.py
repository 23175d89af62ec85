"""Procedural shapes: outlines, solids, meshes, and the families built from them."""
