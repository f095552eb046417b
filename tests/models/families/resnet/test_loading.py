"""Checkpoints in a new process, and checkpoints that do not hold together."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoBackbone,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    ConvNextImageProcessorPil,
    MobileNetV2Config,
    MobileNetV2Model,
    ResNetBackbone,
    ResNetForImageClassification,
    ResNetModel,
)

from padnet_hf import (
    PADNetError,
    PADResNetBackbone,
    PADResNetConfig,
    PADResNetForImageClassification,
    PADResNetModel,
    PartitionConfig,
    partition,
)
from padnet_hf.errors import PADCheckpointError
from padnet_hf.method.packing import unpack_mask
from tests.models.damage import edit_config, edit_tensors

Make = Callable[..., PADResNetForImageClassification]
Move = Callable[[PADResNetForImageClassification], PADResNetForImageClassification]

NEW_PROCESS = """
import copy, sys, torch, padnet_hf
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline
folder = sys.argv[1]
torch.set_num_threads(int(sys.argv[2]))
# A file's tensors lie at other addresses, and matrix kernels round by alignment: move them to fresh memory first.
model = copy.deepcopy(AutoModelForImageClassification.from_pretrained(folder))
image = Image.open(folder + "/image.png")
inputs = AutoImageProcessor.from_pretrained(folder)(image, return_tensors="pt")
with torch.no_grad():
    torch.save((inputs["pixel_values"], model(**inputs).logits), folder + "/logits.pt")
answers = pipeline("image-classification", model=folder)(folder + "/image.png")
print(type(model).__name__, answers[0]["label"], answers[0]["score"])
"""


@pytest.fixture
def kind() -> str:
    """One kind is enough where the kind makes no difference to files."""
    return "basic"


@pytest.fixture
def image() -> Image.Image:
    """A small photograph's worth of colours."""
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((80, 60))


@pytest.mark.parametrize(("kind", "granularity"), [("basic", "element"), ("bottleneck", "unit")])
def test_auto_classes_and_pipeline_load_it_in_a_new_process_without_a_warning(
    partitioned: Make, trained_apart: Move, image: Image.Image, granularity: str, tmp_path: Path
) -> None:
    model = trained_apart(partitioned(granularity=granularity, dynamic_ratio=0.3)).eval()
    processor = ConvNextImageProcessorPil(size={"shortest_edge": 64})
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    image.save(tmp_path / "image.png")
    inputs = processor(image, return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).logits
    command = [sys.executable, "-W", "error", "-c", NEW_PROCESS, str(tmp_path), str(torch.get_num_threads())]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    pixels, logits = torch.load(tmp_path / "logits.pt")
    assert torch.equal(pixels, inputs["pixel_values"])
    assert torch.equal(logits, expected)
    name, label, score = result.stdout.split()
    assert (name, label) == ("PADResNetForImageClassification", f"LABEL_{expected.argmax()}")
    assert float(score) == pytest.approx(expected.softmax(-1).max().item(), abs=1e-5)
    noise = [line for line in result.stderr.splitlines() if line.strip() and "Loading weights" not in line]
    assert noise == []


def test_the_image_processor_is_found_by_model_type_alone(partitioned: Make, tmp_path: Path) -> None:
    partitioned().save_pretrained(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps({"size": {"shortest_edge": 64}}))  # names no class
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is ConvNextImageProcessorPil


def test_the_bare_model_and_the_backbone_load_from_a_checkpoint_with_a_head(
    partitioned: Make, trained_apart: Move, batch: dict[str, Tensor], tmp_path: Path
) -> None:
    model = trained_apart(partitioned()).eval()
    model.save_pretrained(tmp_path)
    images = batch["pixel_values"]
    bare = copy.deepcopy(AutoModel.from_pretrained(tmp_path)).eval()
    backbone = copy.deepcopy(PADResNetBackbone.from_pretrained(tmp_path, out_indices=[1, 2])).eval()
    assert type(bare) is PADResNetModel
    with torch.no_grad():
        expected = model.resnet(images, output_hidden_states=True)
        assert torch.equal(bare(images).pooler_output, expected.pooler_output)
        maps = backbone(images).feature_maps
    assert len(maps) == 2
    assert all(torch.equal(one, other) for one, other in zip(maps, expected.hidden_states[1:], strict=True))
    assert backbone.channels == model.config.hidden_sizes


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_a_bare_model_and_a_backbone_save_and_load(
    dense: ResNetForImageClassification, batch: dict[str, Tensor], granularity: str, tmp_path: Path
) -> None:
    # AutoBackbone.from_pretrained takes no folder, whatever the model; AutoBackbone.from_config takes ours.
    assert type(AutoBackbone.from_config(PADResNetConfig.from_dense(dense.config))) is PADResNetBackbone
    for pad_class, load_class in ((PADResNetModel, AutoModel), (PADResNetBackbone, PADResNetBackbone)):
        model = pad_class.from_dense(dense)
        partition(model, None, PartitionConfig(criterion="magnitude", granularity=granularity), progress=False)
        model.save_pretrained(tmp_path)
        loaded, info = load_class.from_pretrained(tmp_path, output_loading_info=True)
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        with torch.no_grad():
            expected, actual = (some.eval()(batch["pixel_values"])[0] for some in (model, copy.deepcopy(loaded)))
        assert all(torch.equal(one, other) for one, other in zip(actual, expected, strict=True))


def test_a_bare_stock_model_and_a_stock_backbone_upcycle(
    dense: ResNetForImageClassification, batch: dict[str, Tensor]
) -> None:
    stock = ResNetBackbone(dense.config).eval()
    stock.load_state_dict(dense.resnet.state_dict())
    for source, pad_class in ((dense.resnet, PADResNetModel), (stock, PADResNetBackbone)):
        ours = pad_class.from_dense(source)
        with torch.no_grad():
            expected, actual = source(batch["pixel_values"])[0], ours(batch["pixel_values"])[0]
        for one, other in zip(actual, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        assert type(ours.to_dense()) in (ResNetModel, ResNetBackbone)


@pytest.fixture
def checkpoint(partitioned: Make, tmp_path: Path) -> Path:
    partitioned(granularity="element").save_pretrained(tmp_path)
    return tmp_path


def load(folder: Path) -> object:
    return AutoModelForImageClassification.from_pretrained(folder)


def test_a_new_model_of_a_partitioned_configuration_saves_and_loads(partitioned: Make, tmp_path: Path) -> None:
    """Its masks are not those that were recorded, and training it must not end in a checkpoint that nobody can load."""
    model = PADResNetForImageClassification(partitioned(criterion="random").config)
    model.save_pretrained(tmp_path)
    loaded = load(tmp_path).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in model.state_dict().items())


def test_an_untouched_checkpoint_loads(checkpoint: Path) -> None:
    assert type(load(checkpoint)) is PADResNetForImageClassification


COUNT = "encoder.stages.0.layers.0.layer.0.convolution.weight"
MASK = f"resnet.{COUNT}.mask_bits"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda counts: counts.update({COUNT: -1}), f"{COUNT}.*-1 is not possible.*0 to 1152"),
        (lambda counts: counts.update({COUNT: 10**12}), f"{COUNT}.*1000000000000 is not possible.*0 to 1152"),
        (lambda counts: counts.update({COUNT: 8.0}), f"{COUNT}.*8.0 is not possible"),
        (lambda counts: counts.pop(COUNT), f"dynamic_counts.*8 PAD weights.*{COUNT}"),
        (lambda counts: counts.update({"other": 1}), "dynamic_counts.*unknown.*other"),
    ],
    ids=["negative", "huge", "fraction", "missing", "unknown"],
)
def test_counts_that_no_model_can_have_are_refused(checkpoint: Path, edit: Callable, message: str) -> None:
    edit_config(checkpoint, lambda config: edit(config["dynamic_counts"]))
    with pytest.raises(PADNetError, match=f"(?s){message}"):
        load(checkpoint)


def test_counts_that_disagree_with_the_tensors_are_refused(checkpoint: Path) -> None:
    edit_config(checkpoint, lambda config: config["dynamic_counts"].update({COUNT: 9}))
    with pytest.raises(PADCheckpointError, match=r"(?s)other sizes than its configuration.*dynamic_counts"):
        load(checkpoint)


def test_a_mask_with_another_number_of_set_bits_is_refused(checkpoint: Path) -> None:
    edit_tensors(checkpoint, lambda tensors: tensors[MASK][0:1].bitwise_xor_(1))
    with pytest.raises(PADCheckpointError, match=r"mask of .*stages\.0.*set bits, but dynamic_counts says \d+"):
        load(checkpoint)


def test_a_mask_with_other_bits_but_the_same_number_is_refused(checkpoint: Path) -> None:
    def swap(tensors: dict[str, Tensor]) -> None:
        bits = unpack_mask(tensors[MASK], 1152)
        for position in (int(bits.nonzero()[0]), int((~bits).nonzero()[0])):
            tensors[MASK][position // 8] ^= 1 << (position % 8)

    edit_tensors(checkpoint, swap)
    with pytest.raises(PADCheckpointError, match=r"masks have the hash .* but the partition recorded"):
        load(checkpoint)


@pytest.mark.parametrize("kept", [0.5, 0.0001, 0.0])
def test_a_truncated_file_is_refused(checkpoint: Path, kept: float) -> None:
    file = checkpoint / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(PADCheckpointError, match="damaged"):
        load(checkpoint)


def test_another_number_of_labels_is_named_as_a_cause(checkpoint: Path) -> None:
    with pytest.raises(PADCheckpointError, match=r"num_labels.*ignore_mismatched_sizes=True"):
        AutoModelForImageClassification.from_pretrained(checkpoint, num_labels=3)
    model = AutoModelForImageClassification.from_pretrained(checkpoint, num_labels=3, ignore_mismatched_sizes=True)
    assert model.classifier[1].out_features == 3


def test_from_dense_refuses_another_family() -> None:
    other = MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.1, min_depth=8))
    message = "model type 'resnet', but this MobileNetV2Model is of type 'mobilenet_v2'"
    with pytest.raises(PADNetError, match=message):
        PADResNetForImageClassification.from_dense(other)


def test_to_dense_refuses_kernels_that_differ(partitioned: Make, trained_apart: Move) -> None:
    model = trained_apart(partitioned(dynamic_ratio=0.5))
    with pytest.raises(PADNetError, match=r"4 copies of .* differ .* dynamic_ratio=0"):
        model.to_dense()


def test_the_temperature_is_saved_and_loaded(partitioned: Make, batch: dict[str, Tensor], tmp_path: Path) -> None:
    model = partitioned().eval()
    model.set_temperature(7.5)
    model.save_pretrained(tmp_path)
    loaded = copy.deepcopy(AutoModelForImageClassification.from_pretrained(tmp_path))
    assert loaded.config.temperature == 7.5
    temperatures = {m.temperature for m in loaded.modules() if hasattr(m, "temperature")}
    assert temperatures == {7.5}
    with torch.no_grad():
        assert torch.equal(loaded(**batch).logits, model(**batch).logits)
