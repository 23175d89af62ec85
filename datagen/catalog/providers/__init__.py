"""Providers of assets: one module each, and the modules that only they use."""
