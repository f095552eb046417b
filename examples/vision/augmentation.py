"""What training does to its images and labels, on the device and in step with the random state of the Trainer."""

from collections.abc import Mapping
from typing import Any

import kornia.augmentation as K
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padnet_hf import PADTrainer


class Augmentation:
    """Random crop of the padded image, mirror image, mixup, label smoothing.

    Maps `pixel_values` (B, C, N, N) and `labels` (B,) to changed pixel_values and `labels` (B, num_labels), the share
    of each class. Padding is 0 after normalisation: the mean.

    Args:
        num_labels: number of classes.
        padding: pixels on each side before the crop back to N x N; 0 for none.
        flip: whether every other image is mirrored.
        mixup_alpha: each image is mixed with another of the batch, with a share from Beta(alpha, alpha), one for the
            batch (Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization"); 0 for none.
        label_smoothing: share of each label that all classes get in equal parts.
    """

    def __init__(
        self,
        num_labels: int,
        *,
        padding: int = 0,
        flip: bool = False,
        mixup_alpha: float = 0,
        label_smoothing: float = 0,
    ) -> None:
        self.num_labels, self.padding = num_labels, padding
        self.flip = K.RandomHorizontalFlip() if flip else nn.Identity()
        self.share = torch.distributions.Beta(mixup_alpha, mixup_alpha) if mixup_alpha else None
        self.smoothing = label_smoothing
        self._crops: dict[tuple[int, ...], nn.Module] = {}

    def __call__(self, pixel_values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        pixels = self.flip(self._crop(pixel_values.shape[-2:])(pixel_values))
        shares = F.one_hot(labels, self.num_labels).to(pixels.dtype)
        if self.share is not None:
            share = self.share.sample().item()
            partner = torch.randperm(len(labels), device=labels.device)
            pixels, shares = (share * values + (1 - share) * values[partner] for values in (pixels, shares))
        return pixels, (1 - self.smoothing) * shares + self.smoothing / self.num_labels

    def _crop(self, size: tuple[int, ...]) -> nn.Module:
        if size not in self._crops:
            self._crops[size] = K.RandomCrop(tuple(size), padding=self.padding) if self.padding else nn.Identity()
        return self._crops[size]


def cross_entropy(outputs: Mapping[str, Any], labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Mean cross entropy; labels are numbers (B,), as in evaluation, or shares (B, num_labels).

    The mean is over `num_items_in_batch` where given: all images of an optimizer step, over accumulated batches.
    """
    total = F.cross_entropy(outputs["logits"].float(), labels, reduction="sum")
    return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


class AugmentingTrainer(PADTrainer):
    """The stock Trainer, whose training steps see augmented images.

    Not the collator: batches are collated ahead of the step, so a resumed run would draw other numbers. And calibration
    and evaluation share the collator, but see the images as they are.

    Args:
        augmentation: what training does to a batch.
        kwargs: Trainer's.
    """

    def __init__(self, *, augmentation: Augmentation, **kwargs: Any) -> None:
        super().__init__(compute_loss_func=cross_entropy, **kwargs)
        self.augmentation = augmentation

    def training_step(self, model: nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """A stock training step on the augmented batch."""
        inputs = self._prepare_inputs(inputs)
        pixel_values, labels = self.augmentation(inputs["pixel_values"], inputs["labels"])
        return super().training_step(model, {"pixel_values": pixel_values, "labels": labels}, *args, **kwargs)
