"""What a model's pictures are measured by."""
