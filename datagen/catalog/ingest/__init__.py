"""Reads the model files of a library in limited processes and makes canonical GLBs of them."""
