"""How much memory the partition of a large trained mixture takes: a random Mixtral of 1.07B parameters in bfloat16.

    python -m benchmarks.partition_memory --granularity unit --undo none

Printed is the peak while it is partitioned, by the model's own bytes. A batch of 256 tokens is scored in one round. On
a CPU the C library gives freed memory back, so that the peak is of what is in use.
"""

import argparse
from collections.abc import Sequence

import torch

from benchmarks.device import device, peak, reset_peak, return_freed_memory
from padnet_hf import PADMixtralConfig, PADMixtralForCausalLM, PartitionConfig, partition
from padnet_hf.models.building import without_values

SIZES = {
    "vocab_size": 8000, "hidden_size": 1024, "intermediate_size": 2560, "num_hidden_layers": 16,
    "num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings": 512,
}  # fmt: skip
"""Of 1.07B parameters with 8 experts."""


def random_mixture(sizes: dict[str, int]) -> PADMixtralForCausalLM:
    """Experts that have nothing in common, as after training from scratch."""
    with without_values(torch.bfloat16):
        model = PADMixtralForCausalLM(PADMixtralConfig(**sizes))
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.normal_(std=0.02, generator=generator)
    return model.to(device())


def measure(sizes: dict[str, int], config: PartitionConfig, undo: str) -> tuple[int, int]:
    """The model's bytes, and those that its partition takes at most, the model included."""
    model = random_mixture(sizes)
    own = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    ids = torch.randint(sizes["vocab_size"], (2, 128), generator=torch.Generator().manual_seed(0)).to(model.device)
    before = reset_peak()
    partition(model, [{"input_ids": ids, "labels": ids}], config, undo=undo)
    return own, own + peak() - before


def main(argv: Sequence[str] | None = None, sizes: dict[str, int] = SIZES) -> None:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.partition_memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--granularity", choices=("element", "unit"), default="unit")
    parser.add_argument(
        "--leave_out", action="store_true", help="neurons of each expert, instead of making them static"
    )
    parser.add_argument("--undo", choices=("memory", "file", "none"), default="none")
    options = parser.parse_args(argv)
    return_freed_memory()
    own = {"masks": "per_copy", "static_values": "none"} if options.leave_out else {}
    config = PartitionConfig(granularity=options.granularity, scope="layer", num_rounds=1, num_batches=1, **own)
    size, most = measure(sizes, config, options.undo)
    print(f"{size / 2**20:,.1f} MiB, at most {most / 2**20:,.1f} MiB while it is partitioned: {most / size:.2f} times")


if __name__ == "__main__":
    main()
