"""SIGMA-GEN: several given subjects into one image in a single diffusion pass."""
