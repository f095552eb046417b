"""The `padnet` command: what the package does with checkpoints, without writing Python."""
