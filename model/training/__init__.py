"""The training step, its optimizers and its checkpoints."""
