"""What a training script needs around its Trainer: options, the output folder, reports and the closing table.

The top floor: scripts and the command line import from here, no floor below does. Scripts need the extra `examples`.
"""
