"""The dataset job."""
