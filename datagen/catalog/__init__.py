"""Catalogue of 3D assets: providers, ingest of model files, procedural shapes, appearances."""
