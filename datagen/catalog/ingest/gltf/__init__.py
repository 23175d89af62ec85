"""Reads glTF 2.0 files (glb, gltf)."""
