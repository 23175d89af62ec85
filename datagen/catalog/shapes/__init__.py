"""Procedural shapes: outlines, solids, the meshes of parts, and the families made of them."""
