"""Annotation of a rendered scene: from pixels and geometry to a record, and the quality gate."""
