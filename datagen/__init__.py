"""One scene, from a seed to an annotated record. Knows nothing of Ray."""
