"""The last batch of an epoch, which may be too small for the batch norms of a network."""

import torch
from torch import nn
from transformers import PreTrainedModel, TrainingArguments

from padnet_hf import PADNetError


def check_last_batch(model: PreTrainedModel, training: TrainingArguments, num_images: int, side: int) -> None:
    """Raise PADNetError if training would come to a batch of one image that is one value for a channel in the end.

    A batch norm has no deviation of one value. With several processes accelerate fills up the last batch.

    Args:
        num_images: in an epoch.
        side: of an image, in pixels.
    """
    batch = training.per_device_train_batch_size
    is_cut = training.dataloader_drop_last or training.world_size > 1
    last = batch if is_cut else num_images % batch or batch
    if min(batch, last) == 1 and _fewest_values(model, side) == 1:
        raise PADNetError(
            f"{num_images:,} training images in batches of {batch} make a batch of one image, of which a batch norm "
            f"sees a single value for each channel (images are {side} x {side}): choose another "
            "--per_device_train_batch_size, --dataloader_drop_last, or larger images"
        )


def _fewest_values(model: PreTrainedModel, side: int) -> int:
    """The fewest values for a channel that a batch norm sees of one image."""
    seen: list[int] = []
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0, 0].numel())) for norm in norms]
    was_training = model.training
    try:
        with torch.no_grad():
            shape = (1, model.config.num_channels, side, side)
            model.eval()(torch.zeros(shape, dtype=model.dtype, device=model.device))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return min(seen, default=2)
