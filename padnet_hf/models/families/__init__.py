"""One small file for each family of models: its configuration, its seam, its classes."""
