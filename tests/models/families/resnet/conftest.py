"""Small stock ResNets whose batch norms have statistics as after training, and PAD-ResNets made from them.

No pretrained ResNet is at hand without the Hub; what tells one from a new one is that its batch norms do something.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetForImageClassification, set_seed

from padnet_hf import PADResNetForImageClassification, PartitionConfig, partition
from padnet_hf.layers.kernel_attention import KernelAttention

SIZES = {
    "basic": {"layer_type": "basic", "embedding_size": 8, "hidden_sizes": [16, 24], "depths": [2, 1]},
    "bottleneck": {"layer_type": "bottleneck", "embedding_size": 16, "hidden_sizes": [32, 64], "depths": [2, 1]},
}


def make_stock(kind: str) -> ResNetForImageClassification:
    """A stock model in evaluation mode, with batch norms that scale and shift, and logits of order one."""
    set_seed(0)
    model = ResNetForImageClassification(ResNetConfig(num_labels=5, **SIZES[kind])).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.2)
    return model


@pytest.fixture(params=SIZES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def batch() -> dict[str, Tensor]:
    """Four images that differ in mean and contrast, height and width not equal, with labels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 40, 52, generator=generator)
    images = images * torch.tensor([0.5, 1, 1.5, 2]).view(4, 1, 1, 1) + torch.randn(4, 3, 1, 1, generator=generator)
    return {"pixel_values": images, "labels": torch.tensor([4, 0, 2, 1])}


@pytest.fixture
def dense(kind: str) -> ResNetForImageClassification:
    return make_stock(kind)


@pytest.fixture
def dense_logits(dense: ResNetForImageClassification, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return dense(**batch).logits


@pytest.fixture
def upcycled(dense: ResNetForImageClassification) -> PADResNetForImageClassification:
    return PADResNetForImageClassification.from_dense(dense, num_kernels=4)


@pytest.fixture
def partitioned(
    upcycled: PADResNetForImageClassification, batch: dict[str, Tensor]
) -> Callable[..., PADResNetForImageClassification]:
    """Partition the upcycled model with the given PartitionConfig fields."""

    def make(**fields: object) -> PADResNetForImageClassification:
        partition(upcycled, [batch], PartitionConfig(**fields), progress=False)
        return upcycled

    return make


@pytest.fixture
def trained_apart() -> Callable[[PADResNetForImageClassification], PADResNetForImageClassification]:
    """Stands for training: moves every parameter, so that kernels differ and scale factors are not one."""

    def move(model: PADResNetForImageClassification) -> PADResNetForImageClassification:
        generator = torch.Generator().manual_seed(1)
        routing = {p for m in model.modules() if isinstance(m, KernelAttention) for p in m.parameters()}
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                scale = 0.3 if name.endswith("phi") or parameter in routing else 0.03
                parameter += scale * torch.randn(parameter.shape, generator=generator).to(parameter)
        return model

    return move
