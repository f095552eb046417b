import shlex

import pytest

from glue_arguments import PADArguments, experts_options, parse, recorded_options
from padnet_hf import PADNetError, PartitionConfig
from padnet_hf.jobs.partition_options import makes_model, partition_config, partition_options


def request(*options: str):
    return parse([*options, "--output_dir", "no/such/folder"])


def test_a_dense_model_that_is_only_evaluated_is_not_written_again() -> None:
    assert not makes_model(*request("--do_eval")[-2:])
    assert makes_model(*request("--do_train")[-2:])
    assert makes_model(*request("--do_eval", "--use_moe")[-2:])


def test_defaults_and_stated_defaults_are_recorded_alike() -> None:
    def record(*options: str) -> dict:
        arguments = request("--use_pad", *options)
        return recorded_options(arguments, partition_config(arguments[3], seed=42), {})

    assert record() == record("--dynamic_ratio", "0.5", "--num_experts", "8", "--imp_scope", "global")
    assert record() != record("--dynamic_ratio", "0.25")
    assert partition_config(PADArguments(), seed=42) is None


def test_without_options_the_network_is_dense() -> None:
    pad = PADArguments()
    assert (pad.variant, partition_config(pad, seed=1), experts_options(pad)) == ("dense", None, {})


def test_use_pad_alone_takes_every_default_and_the_seed() -> None:
    pad = PADArguments(use_pad=True)
    assert partition_config(pad, seed=7) == PartitionConfig(seed=7)
    assert experts_options(pad)["num_experts"] == 8


def test_every_partition_option_reaches_its_field() -> None:
    *_, pad, _ = parse(
        shlex.split(
            "--use_pad --dynamic_ratio 0.3 --granularity unit --imp_criterion magnitude --imp_rounds 2 --imp_batches 5 "
            "--imp_scope layer --imp_schedule linear --imp_static_branch keep "
            "--imp_static_values fresh --output_dir x"
        )
    )
    config = partition_config(pad, seed=3)
    assert config == PartitionConfig(
        dynamic_ratio=0.3,
        granularity="unit",
        criterion="magnitude",
        num_rounds=2,
        num_batches=5,
        scope="layer",
        schedule="linear",
        static_branch="keep",
        static_values="fresh",
        seed=3,
    )
    assert partition_options(config)["imp_rounds"] == 2


def test_every_expert_option_reaches_its_field() -> None:
    *_, pad, _ = parse(
        shlex.split(
            "--use_moe --num_experts 4 --num_experts_per_tok 1 --moe_layers 0 2 --router_noise False "
            "--router_init_std 0.1 --balance_loss_coef 0 --expert_dropout 0.4 --output_dir x"
        )
    )
    assert pad.variant == "fully dynamic"
    assert experts_options(pad) == {
        "num_experts": 4,
        "num_experts_per_tok": 1,
        "moe_layers": [0, 2],
        "expert_dropout": 0.4,
        "router_noise": False,
        "router_init_std": 0.1,
        "balance_loss_coef": 0.0,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_pad": True, "use_moe": True}, "--use_pad and --use_moe exclude each other"),
        ({"dynamic_ratio": 0.0}, r"--dynamic_ratio 0\.0 has no effect on a dense network: add --use_pad$"),
        (
            {"use_moe": True, "imp_rounds": 2},
            "--imp_rounds 2 .* fully dynamic .* --use_pad instead of --use_moe",
        ),
        ({"num_experts": 4}, "--num_experts 4 has no effect on a dense network: add --use_pad or --use_moe"),
        ({"router_noise": False}, "--router_noise False has no effect"),
        ({"use_pad": True, "dynamic_ratio": 1.5}, "dynamic_ratio is 1.5"),
        ({"use_pad": True, "dynamic_ratio": float("nan")}, "dynamic_ratio is nan"),
        ({"use_pad": True, "imp_criterion": "luck"}, "criterion is 'luck'.*'snip'"),
        ({"use_pad": True, "imp_rounds": 0}, "num_rounds is 0"),
    ],
)
def test_combinations_and_values_that_are_refused(options: dict, message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        partition_config(PADArguments(**options), seed=1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--use_pad --dynamic_ration 0.5", "unknown option '--dynamic_ration'"),
        ("--use_pad --granularity weight", "granularity.*'weight'.*element.*unit"),
        ("--learning_rate fast", "learning_rate.*'fast'"),
        ("--load_best_model_at_end --eval_strategy epoch --save_strategy steps", "training options: .*load_best_model"),
    ],
)
def test_the_command_line_is_refused_without_a_usage_text(line: str, message: str) -> None:
    with pytest.raises(PADNetError, match=message) as error:
        parse([*line.split(), "--output_dir", "x"])
    assert "\n" not in str(error.value)
