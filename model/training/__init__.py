"""The training step, its optimizers and checkpoints."""
