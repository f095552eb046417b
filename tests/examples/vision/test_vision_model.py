from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    MobileNetV2Config,
    MobileNetV2ImageProcessorPil,
    ResNetConfig,
    ViTConfig,
    ViTImageProcessorPil,
)

from image_split import ImageData
from padnet_hf import PADNetError, PADResNetConfig
from padnet_hf.jobs.labels import class_fields
from pixels import resize_to, side_of
from vision_arguments import ModelArguments, PADArguments
from vision_model import (
    build_model,
    check_model,
    label_fields,
    load_config,
    load_processor,
    new_config,
    size_report,
    variant_of,
)

MODEL = ModelArguments()
FIELDS = class_fields(("a", "b", "c"))
NARROW = ModelArguments(hidden_sizes=[8, 16], depths=[1, 1])
VARIANTS = {
    "static": PADArguments(),
    "fully dynamic": PADArguments(use_dynamic=True),
    "partitioned": PADArguments(use_pad=True),
}


def data(*names: str) -> ImageData:
    return ImageData("pictures", {}, names or None)


@pytest.mark.parametrize("load", [load_config, partial(load_processor, config=ResNetConfig())])
def test_a_model_that_is_not_there_names_the_option_for_local_folders(load) -> None:
    with pytest.raises(PADNetError, match=r"cannot load 'no/such-model'.*--model_name_or_path FOLDER"):
        load("no/such-model", MODEL)


def test_the_processor_keeps_its_size_unless_another_is_asked_for(tiny_resnet: str) -> None:
    assert side_of(load_processor(tiny_resnet, MODEL, ResNetConfig())) == 32
    assert side_of(load_processor(tiny_resnet, ModelArguments(image_size=24), ResNetConfig())) == 24


@pytest.mark.parametrize(
    ("processor", "config"),
    [
        (ViTImageProcessorPil(size={"height": 48, "width": 48}), ViTConfig(image_size=48)),
        (MobileNetV2ImageProcessorPil(size={"shortest_edge": 64}), MobileNetV2Config()),
    ],
    ids=["vit", "mobilenet_v2"],
)
def test_processors_of_every_family_make_squares(processor, config, tmp_path: Path) -> None:
    if not isinstance(config, ViTConfig):
        processor.crop_size = {"height": 48, "width": 48}
    processor.save_pretrained(tmp_path)
    loaded = load_processor(str(tmp_path), MODEL, config)
    assert type(loaded) is type(processor)
    image = np.zeros((70, 90, 3), dtype=np.uint8)
    assert loaded(image, return_tensors="np")["pixel_values"].shape == (1, 3, side_of(loaded), side_of(loaded))
    resize_to(loaded, 32)
    assert loaded(image, return_tensors="np")["pixel_values"].shape == (1, 3, 32, 32)


def test_a_transformer_takes_images_of_its_own_size_alone(tmp_path: Path) -> None:
    ViTImageProcessorPil().save_pretrained(tmp_path)
    with pytest.raises(PADNetError, match=r"resized to 32, but .* takes 224 alone: leave --image_size out"):
        load_processor(str(tmp_path), ModelArguments(image_size=32), ViTConfig())


PARTITIONED = PADResNetConfig(partition={"dynamic_ratio": 0.3})


@pytest.mark.parametrize(
    ("config", "pad", "message"),
    [
        (BertConfig(), {}, "type 'bert', but this script takes models of images"),
        (PARTITIONED, {"use_pad": True}, r"already \(dynamic_ratio 0\.3\): leave out --use_pad"),
        (PADResNetConfig(), {"use_pad": True, "num_kernels": 8}, "--num_kernels is 8, but 'm' has 4: leave out"),
        (PADResNetConfig(dynamic_layers=[]), {"use_dynamic": True}, "static PAD model, which --use_dynamic cannot"),
        (ResNetConfig(), {"use_dynamic": True, "num_kernels": 0}, "num_kernels is 0"),
    ],
)
def test_models_that_cannot_become_what_is_asked_for(config, pad: dict, message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        check_model(config, "m", PADArguments(**pad), resuming=False)


@pytest.mark.parametrize(
    ("config", "pad"),
    [
        (ResNetConfig(), {}),
        (ResNetConfig(), {"use_pad": True}),
        (PADResNetConfig(), {"use_pad": True}),
        (PARTITIONED, {}),
    ],
)
def test_models_that_can(config, pad: dict) -> None:
    check_model(config, "m", PADArguments(**pad), resuming=False)


def test_a_checkpoint_of_another_kind_is_refused() -> None:
    with pytest.raises(PADNetError, match="'m' is static, but asked for is partitioned"):
        check_model(ResNetConfig(), "m", PADArguments(use_pad=True), resuming=True)


def test_labels_are_the_datas_but_a_model_trained_on_them_keeps_its_numbers() -> None:
    assert label_fields(data("x", "y"), None, training=True)["label2id"] == {"x": 0, "y": 1}
    trained = ResNetConfig(**class_fields(("y", "x")))
    assert label_fields(data("x", "y"), trained, training=True)["label2id"] == {"y": 0, "x": 1}
    assert label_fields(data(), trained, training=False)["label2id"] == {"y": 0, "x": 1}


def test_labels_must_be_known_and_more_than_one() -> None:
    with pytest.raises(PADNetError, match="the labels are not known: give training images"):
        label_fields(data(), ResNetConfig(), training=False)
    with pytest.raises(PADNetError, match="only the label 'x': a classification needs at least 2"):
        label_fields(data("x"), None, training=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_new_networks_are_small_and_know_their_image_size(variant: str) -> None:
    config = new_config(NARROW, VARIANTS[variant], 12, FIELDS)
    model = build_model(None, config, NARROW, VARIANTS[variant], FIELDS).eval()
    assert model(torch.zeros(2, 3, 12, 12)).logits.shape == (2, 3)
    assert config.image_size == 12
    assert variant_of(model.config) == ("static" if variant == "static" else "fully dynamic")


def test_the_three_forms_of_a_stock_model_start_with_the_same_logits(tiny_resnet: str) -> None:
    config, images = load_config(tiny_resnet, MODEL), torch.randn(2, 3, 32, 32)
    logits = {}
    for variant, pad in VARIANTS.items():
        torch.manual_seed(3)
        model = build_model(tiny_resnet, config, MODEL, pad, FIELDS).eval()
        logits[variant] = model(images).logits
    assert logits["static"].shape == (2, 3)
    for variant in VARIANTS:
        torch.testing.assert_close(logits[variant], logits["static"], rtol=0, atol=1e-5)


def test_a_head_for_other_labels_is_replaced_in_a_stock_model_only(tiny_resnet: str, tmp_path: Path) -> None:
    pad = VARIANTS["fully dynamic"]
    build_model(tiny_resnet, load_config(tiny_resnet, MODEL), MODEL, pad, FIELDS).save_pretrained(tmp_path)
    folder = str(tmp_path)
    with pytest.raises(PADNetError, match="head for 3 labels, but the data has 2"):
        build_model(folder, load_config(folder, MODEL), MODEL, pad, class_fields(("a", "b")))


def test_computed_sizes_are_those_of_the_real_networks(tiny_resnet: str) -> None:
    static, dynamic = VARIANTS["static"], VARIANTS["fully dynamic"]
    stock = load_config(tiny_resnet, MODEL)
    for source, configs in (
        (tiny_resnet, (stock, stock)),
        (None, [new_config(NARROW, pad, 12, FIELDS) for pad in (static, dynamic)]),
    ):
        plain, full = (
            build_model(source, config, MODEL, pad, FIELDS)
            for config, pad in zip(configs, (static, dynamic), strict=True)
        )
        report = size_report(plain, 12)
        assert report.dense.parameters == plain.num_parameters()
        assert report.fully_dynamic.parameters == full.num_parameters()
        assert size_report(full, 12).dense.parameters == plain.num_parameters()
