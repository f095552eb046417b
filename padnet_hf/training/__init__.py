"""Partition inside a training run, and a Trainer that minds it."""
