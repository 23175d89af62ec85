"""Training as a job: `sigma train`."""
