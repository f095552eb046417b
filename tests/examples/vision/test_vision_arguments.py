import shlex

import pytest

from padnet_hf import PADMobileNetV2Config, PADNetError, PADResNetConfig, PADViTConfig, PartitionConfig
from padnet_hf.jobs.layer_options import layer_fields
from padnet_hf.jobs.partition_options import makes_model, partition_config
from vision_arguments import (
    PADArguments,
    parse,
    recorded_options,
    shape_options,
    temperature_options,
)


def request(line: str = ""):
    return parse(["--do_train", *shlex.split(line), "--output_dir", "no/such/folder"])


def test_use_pad_alone_takes_every_default_and_a_ratio_of_three_tenths() -> None:
    *_, pad, training = request("--use_pad")
    assert partition_config(pad, training.seed) == PartitionConfig(dynamic_ratio=0.3)
    assert layer_fields(pad, PADResNetConfig) == {
        "num_kernels": 4,
        "reduction": 16,
        "attention": "softmax",
        "dynamic_layers": None,
    }


def test_without_options_the_network_is_static() -> None:
    pad = PADArguments()
    assert (pad.variant, partition_config(pad, 1), layer_fields(pad, PADResNetConfig)) == ("static", None, {})


def test_every_kernel_and_temperature_option_reaches_its_field() -> None:
    *_, pad, _ = request(
        "--use_dynamic --num_kernels 2 --reduction 8 --attention sigmoid --dynamic_layers 'encoder.stages.1.*' "
        "--temperature_initial 9 --temperature_final 2 --temperature_epochs 0.5"
    )
    assert pad.variant == "fully dynamic"
    assert layer_fields(pad, PADMobileNetV2Config) == {
        "num_kernels": 2, "reduction": 8, "attention": "sigmoid", "dynamic_layers": ["encoder.stages.1.*"],
    }  # fmt: skip
    assert temperature_options(pad) == {"initial": 9.0, "final": 2.0, "epochs": 0.5}


def test_options_of_experts_are_for_vision_transformers_and_those_of_kernels_are_not() -> None:
    *_, pad, _ = request("--use_dynamic --num_experts 4")
    assert layer_fields(pad, PADViTConfig)["num_experts"] == 4
    with pytest.raises(PADNetError, match=r"--num_experts 4 has no effect on .* 'resnet', .* have kernels"):
        layer_fields(pad, PADResNetConfig)
    *_, pad, _ = request("--use_dynamic --num_kernels 2")
    with pytest.raises(PADNetError, match=r"--num_kernels 2 has no effect on a model of type 'vit', .* have experts"):
        layer_fields(pad, PADViTConfig)


def test_channels_cannot_be_left_out_but_neurons_can() -> None:
    *_, pad, _ = request("--use_pad --granularity unit --masks per_copy --imp_static_values none")
    assert layer_fields(pad, PADViTConfig)["num_experts"] == 8
    with pytest.raises(
        PADNetError, match="'resnet' model are output channels, and what follows a convolution needs all"
    ):
        layer_fields(pad, PADResNetConfig)


def test_a_shape_is_for_a_new_network() -> None:
    model, *_ = request("--hidden_sizes 8 16 --depths 1 1 --stem_pool True")
    shape = shape_options(model)
    assert (shape["hidden_sizes"], shape["stem_pool"], shape["layer_type"]) == ([8, 16], True, "basic")
    assert shape_options(request("--model_name_or_path x")[0]) == {}


def test_defaults_and_stated_defaults_are_recorded_alike() -> None:
    def record(line: str = "") -> dict:
        arguments = request(f"--use_pad {line}")
        return recorded_options(arguments, partition_config(arguments[2], 42))

    assert record() == record("--dynamic_ratio 0.3 --num_kernels 4 --hidden_sizes 32 64 128")
    assert record() != record("--label_smoothing_factor 0.1")
    assert record() != record("--temperature_epochs 2")


def test_a_static_model_that_is_only_evaluated_is_not_written_again() -> None:
    line = "--do_train False --do_eval --model_name_or_path x"
    assert not makes_model(*request(line)[-2:])
    assert makes_model(*request(f"{line} --use_dynamic")[-2:])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--model_name_or_path x --depths 1 1", "--depths is for a new network, but --model_name_or_path x"),
        ("--do_train False --do_eval", "knows nothing: add --do_train"),
        ("--image_size 4", "--image_size is 4, but must be at least 8"),
        ("--num_channels 2", r"--num_channels is 2, but must be 1 \(grey\) or 3 \(RGB\)"),
        ("--mixup_alpha -1", r"--mixup_alpha is -1\.0, but must be at least 0"),
        ("--mixup_alpha nan", "--mixup_alpha is nan"),
        ("--train_val_split 1", r"--train_val_split is 1\.0, but must be between 0 and 1"),
        ("--crop_padding -2", "--crop_padding is -2"),
        ("--label_smoothing_factor 1", r"--label_smoothing_factor is 1\.0"),
        ("--layer_type plain", "layer_type.*'plain'.*basic"),
        ("--use_moe", "unknown option '--use_moe'"),
    ],
)
def test_options_that_are_refused(line: str, message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        request(line)


@pytest.mark.parametrize("option", ["num_kernels", "attention", "temperature_initial"])
def test_options_of_dynamic_layers_have_no_effect_on_a_static_network(option: str) -> None:
    value = "softmax" if option == "attention" else 3
    with pytest.raises(PADNetError, match=f"--{option} {value} has no effect on a static.*--use_pad or --use_dynamic"):
        partition_config(PADArguments(**{option: value}), 1)
