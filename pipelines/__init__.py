"""Whole jobs, wired on Ray, and the command line."""
