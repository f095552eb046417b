import pytest

from glue_arguments import PADArguments, parse, partition_config
from padnet_hf import PADNetError
from run_request import check_numbers, check_run, makes_model, recorded_options, roles_of


def request(*options: str):
    return parse([*options, "--output_dir", "no/such/folder"])


@pytest.mark.parametrize(
    ("option", "value", "lowest"),
    [
        ("max_train_samples", 0, 1),
        ("max_eval_samples", -3, 1),
        ("per_device_train_batch_size", 0, 1),
        ("learning_rate", -0.1, 0),
        ("learning_rate", float("nan"), 0),
        ("seed", -1, 0),
    ],
)
def test_numbers_that_are_too_small(option: str, value: float, lowest: int) -> None:
    check_numbers({option: lowest})
    check_numbers({option: None})
    with pytest.raises(PADNetError, match=rf"--{option} is {value}, but must be at least {lowest}"):
        check_numbers({option: value})


def test_roles_are_those_asked_for() -> None:
    assert roles_of(request("--do_train", "--do_predict")[-1]) == ["train", "predict"]
    assert roles_of(request("--eval_strategy", "epoch")[-1]) == ["eval"]


def test_a_dense_model_that_is_only_evaluated_is_not_written_again() -> None:
    assert not makes_model(request("--do_eval"))
    assert makes_model(request("--do_train"))
    assert makes_model(request("--do_eval", "--use_moe"))


def test_a_new_folder_and_something_to_do_are_fine() -> None:
    assert check_run(request("--do_train"), {}) is None


def test_defaults_and_stated_defaults_are_recorded_alike() -> None:
    def record(*options: str) -> dict:
        arguments = request("--use_pad", *options)
        return recorded_options(arguments, partition_config(arguments[2], seed=42))

    assert record() == record("--dynamic_ratio", "0.5", "--num_experts", "8", "--imp_criterion", "snip")
    assert record() != record("--dynamic_ratio", "0.25")
    assert partition_config(PADArguments(), seed=42) is None
