"""Criteria of the study's own, under names for PartitionConfig.

Axis letters: E copies.
"""

import torch
from torch import Tensor

from padnet_hf import register_criterion
from padnet_hf.method.criteria import Scored


@register_criterion("disagreement")
def disagreement(weight: Scored) -> Tensor:
    """sum_e (g_e - mean g)^2 (ours): what a step of gradient descent gains less if the copies are one.

    To first order, E copies that are free gain sum_e g_e^2 times the learning rate, copies that move together
    E (mean g)^2. Where all copies are equal, as after upcycling, snip does not see this: it is then the score of the
    weight of the dense network, whatever its copies would learn.
    """
    gradients = weight.gradients
    mean = torch.zeros(gradients.shape[1:], dtype=torch.float32, device=gradients.device)
    for gradient in gradients:
        mean.add_(gradient.float(), alpha=1 / len(gradients))
    lost = torch.zeros_like(mean)
    for gradient in gradients:
        away = gradient.float() - mean
        lost.addcmul_(away, away)
    return lost


@register_criterion("fisher_pruning")
def fisher_pruning(weight: Scored) -> Tensor:
    """sum_e g_e^2 Theta_e^2: what the loss rises by, to second order, if the element becomes 0 (Theis et al. 2018)."""
    total = torch.zeros(weight.copies.shape[1:], dtype=torch.float32, device=weight.copies.device)
    for copy, gradient in zip(weight.copies, weight.gradients, strict=True):
        product = copy.float() * gradient.float()
        total.addcmul_(product, product)
    return total
