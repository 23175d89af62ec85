"""What stretches a small set: the same sample mirrored, in other colours, in another company."""
