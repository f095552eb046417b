"""Partition inside a training run."""
