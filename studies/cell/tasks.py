"""The tasks: which example's script runs them, on which data, and what counts."""

from dataclasses import dataclass
from typing import Literal

Script = Literal["run_glue", "run_image_classification"]


@dataclass(frozen=True)
class Task:
    """One task.

    script: module of the example. folder: of its data, inside the one that holds all. metric: the one that counts, as
    the script names it. copies: option of the number of copies E, and E. options: for all methods.
    """

    script: Script
    folder: str
    metric: str
    copies: tuple[str, int]
    options: tuple[str, ...]


def _text(name: str, metric: str) -> Task:
    """A GLUE task on the embedded all-MiniLM-L6-v2, 8 experts, 2 of them per token (the paper's numbers)."""
    options = ("--task_name", name, "--train_sampling_strategy", "group_by_length", "--lr_scheduler_type", "linear")
    return Task("run_glue", name, metric, ("num_experts", 8), options)


def _images(name: str, *options: str) -> Task:
    """A data set on a new ResNet of three basic blocks, 4 kernels (the paper's number)."""
    shape = ("--hidden_sizes", "16", "32", "64", "--depths", "1", "1", "1", "--layer_type", "basic")
    stem = ("--stem_kernel_size", "3", "--stem_stride", "2", "--stem_pool", "False")
    training = ("--lr_scheduler_type", "cosine", "--weight_decay", "0.01")
    copies = ("num_kernels", 4)
    return Task("run_image_classification", name, "accuracy", copies, (*shape, *stem, *training, *options))


TASKS = {
    "mrpc": _text("mrpc", "combined_score"),
    "cola": _text("cola", "matthews_correlation"),
    "stsb": _text("stsb", "combined_score"),
    "sst2": _text("sst2", "accuracy"),
    "cifar10": _images("cifar10"),
    "fashion_mnist": _images("fashion_mnist", "--convert_channels", "--crop_padding", "2"),
}
"""MRPC counts the mean of accuracy and F1, STS-B that of Pearson's and Spearman's correlation, as GLUE's average does.
Fashion-MNIST's images are grey, and of 28 x 28."""

KERNEL_REDUCTION = 4
"""Of the attention over kernels; the usual 16 would leave 16 channels one hidden channel."""
