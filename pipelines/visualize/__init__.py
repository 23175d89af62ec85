"""Figures and tables of scenes, for people to look at."""
