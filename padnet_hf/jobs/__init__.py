"""What a training script needs around its Trainer: options, the output folder, reports and the closing table.

The top floor: scripts import from here, nothing else in the package does. It needs the extra `examples`.
"""
