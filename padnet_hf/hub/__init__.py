"""Compact checkpoints as files: what lies beside the weights, reading without loading, and the Hub. Knows no models."""
