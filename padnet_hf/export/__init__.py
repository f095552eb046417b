"""Models as graphs that run without this package: torch.export, ONNX, int8. Optional: needs the extra `export`."""
