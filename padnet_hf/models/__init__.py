"""Models on PAD layers, and the way to them from dense ones."""
