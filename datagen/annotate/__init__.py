"""Pixels and geometry to a record, and the gate that accepts or refuses it."""
