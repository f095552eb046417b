"""Networks and layers to compare: plain convolution, ways in which others mix kernels, and ours."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel

from padnet_hf import PADDynamicConv2d, PADMobileNetV2Config, PADResNetConfig, PartitionConfig, partition

RATIO = 0.3

PLAIN = "plain"
PLAIN_FUSED = "plain, fused"
UPSTREAM = "upstream's way"
CONDCONV = "CondConv's way"
OURS = "fully dynamic"
ELEMENT = f"element {RATIO}"
UNIT = f"unit {RATIO}"
UNIT_FUSED = f"unit {RATIO}, fused"
NETWORK_VARIANTS = (PLAIN, PLAIN_FUSED, UPSTREAM, OURS, ELEMENT, UNIT, UNIT_FUSED)

SMALL = PADResNetConfig(
    embedding_size=16,
    hidden_sizes=[16, 32, 64],
    depths=[1, 1, 1],
    layer_type="basic",
    stem_kernel_size=3,
    stem_stride=2,
    stem_pool=False,
    image_size=32,
    num_labels=10,
    reduction=4,
)
"""The small network that studies/ trains on images."""

RESNET_50 = PADResNetConfig(num_labels=1000)

MOBILENET = PADMobileNetV2Config(num_labels=1000)

NETWORKS: dict[str, PreTrainedConfig] = {"ResNet-50": RESNET_50, "MobileNetV2 1.0": MOBILENET, "small ResNet": SMALL}


class UpstreamConv(nn.Module):
    """The same fully dynamic convolution, computed as the authors' code does it: broadcast, multiply, sum over E
    (B x E x O x C x k x k numbers), then one grouped convolution for the batch."""

    def __init__(self, layer: PADDynamicConv2d) -> None:
        super().__init__()
        self.layer = layer
        # MobileNetV2 asks its convolutions for these
        self.kernel_size, self.stride, self.dilation = layer.kernel_size, layer.stride, layer.dilation

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs (B, C, height, width) -> (B, O, ...)."""
        kernels = self.mix(self.layer.attention(inputs), self.layer.weight.dynamic)
        batch, channels, height, width = inputs.shape
        stride, padding, dilation, groups = self.layer.geometry
        joined = inputs.reshape(1, batch * channels, height, width)
        outputs = F.conv2d(joined, kernels.flatten(0, 1), None, stride, padding, dilation, batch * groups)
        return outputs.view(batch, -1, *outputs.shape[2:])

    def mix(self, shares: Tensor, copies: Tensor) -> Tensor:
        """shares (B, E), copies (E, O, C, k, k) -> kernels (B, O, C, k, k)."""
        return (shares.view(*shares.shape, 1, 1, 1, 1) * copies).sum(dim=1)


class CondConv(UpstreamConv):
    """The same, computed as timm's CondConv2d does it: kernels are mixed by a matrix product."""

    def mix(self, shares: Tensor, copies: Tensor) -> Tensor:
        """As UpstreamConv's."""
        return (shares @ copies.flatten(1)).view(-1, *copies.shape[1:])


def build(variant: str, config: PreTrainedConfig) -> PreTrainedModel:
    """One network; all of a configuration start from the same seed."""
    torch.manual_seed(0)
    fields = config.to_dict() | ({"dynamic_layers": []} if variant in (PLAIN, PLAIN_FUSED) else {})
    model = AutoModelForImageClassification.from_config(type(config)(**fields))
    if variant in (ELEMENT, UNIT, UNIT_FUSED):
        granularity = "element" if variant == ELEMENT else "unit"
        chosen = PartitionConfig(dynamic_ratio=RATIO, granularity=granularity, criterion="random")
        partition(model, config=chosen, progress=False)
    if variant == UPSTREAM:
        replace_dynamic(model, UpstreamConv)
    return model.fuse() if variant in (PLAIN_FUSED, UNIT_FUSED) else model


def replace_dynamic(model: nn.Module, way: Callable[[PADDynamicConv2d], nn.Module]) -> None:
    """Compute every dynamic convolution in another way."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, PADDynamicConv2d):
            model.set_submodule(name, way(layer))


class LayerCase(NamedTuple):
    """A convolution as it occurs `count` times in a network: its name there, shape in words, and size of its input."""

    name: str
    shape: str
    size: int
    count: int


def layer_cases(config: PreTrainedConfig) -> Iterator[LayerCase]:
    """Every shape of dynamic convolution in the network once."""
    with torch.device("meta"):
        model = build(OURS, config).eval()
        images = torch.zeros(1, config.num_channels, config.image_size, config.image_size)
    found: dict[tuple[str, int], list[str]] = {}

    def note(name: str, layer: PADDynamicConv2d, inputs: Tensor) -> None:
        kernel, size = "x".join(map(str, layer.kernel_size)), inputs.shape[-1]
        shape = f"{layer.in_channels}->{layer.out_channels} {kernel}/{layer.geometry.stride[0]} on {size}"
        found.setdefault((shape, size), []).append(name)

    for name, layer in model.named_modules():
        if isinstance(layer, PADDynamicConv2d):
            layer.register_forward_pre_hook(lambda layer, args, name=name: note(name, layer, args[0]))
    with torch.no_grad():
        model(images)
    for (shape, size), names in found.items():
        yield LayerCase(names[0], shape, size, len(names))
