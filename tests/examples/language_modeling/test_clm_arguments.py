import pytest

from clm_arguments import asked_partition, held_out_percentage, parse, recorded_options
from padnet_hf import PADNetError
from padnet_hf.jobs.partition_options import partition_config

MODEL = "--model_name_or_path m --output_dir out"
TEXT = "--train_file t.txt"
NEW = "--model_type llama --output_dir out"

REFUSED = {
    "no model": (f"--output_dir out {TEXT} --do_train", "a model is one of .*, but none of them is given"),
    "two models": (f"{MODEL} --model_type llama {TEXT} --do_train", "given are --model_name_or_path and --model_type"),
    "a checkpoint of another shape": (f"{MODEL} --config_overrides a=1 {TEXT}", "--config_overrides a=1 is for a new"),
    "a new model without words": (f"{NEW} {TEXT} --do_train", "brings no tokenizer: add --tokenizer_name"),
    "a new model that learns nothing": (f"{NEW} --tokenizer_name t {TEXT} --do_eval", "add --do_train"),
    "no text": (f"{MODEL} --do_train", "there is no text: add --train_file, or --dataset_name"),
    "two texts": (f"{MODEL} {TEXT} --dataset_name d", "--dataset_name d and --train_file t.txt exclude each other"),
    "two columns": (f"{MODEL} {TEXT} --text_column a --messages_column b", "--text_column a and --messages_column b"),
    "a configuration of nothing": (f"{MODEL} {TEXT} --dataset_config_name c", "needs --dataset_name"),
    "predictions": (f"{MODEL} {TEXT} --do_predict", "--do_predict has no effect on a language model"),
    "a block of nothing to predict": (f"{MODEL} {TEXT} --block_size 1", "--block_size is 1, but must be at least 2"),
    "all held out": (f"{MODEL} {TEXT} --validation_split_percentage 100", "must be 0 to < 100"),
    "a buffer of nothing": (f"{MODEL} {TEXT} --streaming --shuffle_buffer 0", "--shuffle_buffer is 0"),
    "a buffer without a stream": (f"{MODEL} {TEXT} --shuffle_buffer 9", "--shuffle_buffer 9 has no effect: add --str"),
    "a stream without an end": (f"{MODEL} {TEXT} --streaming --do_train", "add --max_steps"),
    "a part of a stream": (f"{MODEL} {TEXT} --streaming --max_train_samples 9", "--max_train_samples 9 draws from all"),
    "a measurement without an end": (
        f"{MODEL} --dataset_name d --streaming --do_train --max_steps 1 --do_eval", "add --max_eval_samples"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_needs_no_data_to_be_refused_is_refused_with_its_remedy(case: str) -> None:
    line, message = REFUSED[case]
    with pytest.raises(PADNetError, match=message):
        parse(line.split())


def recorded(line: str) -> dict[str, object]:
    arguments = parse([*MODEL.split(), *line.split()])
    return recorded_options(arguments, partition_config(arguments[3], seed=42), {})


def test_what_decides_the_result_is_recorded_and_the_rest_is_not() -> None:
    options = recorded(f"{TEXT} --do_train --use_pad --granularity unit --block_size 64")
    assert (options["model_name_or_path"], options["block_size"], options["granularity"]) == ("m", 64, "unit")
    assert (options["dynamic_ratio"], options["num_experts"], options["lora"]) == (0.5, 8, False)
    assert not {"overwrite_output_dir", "output_dir", "cache_dir"} & set(options)


def test_every_layer_keeps_the_same_share_as_stock_architectures_need() -> None:
    assert recorded(f"{TEXT} --use_pad")["imp_scope"] == "layer"
    assert recorded(f"{TEXT} --use_pad --imp_scope global")["imp_scope"] == "global"


@pytest.mark.parametrize(
    ("line", "values"),
    [
        (MODEL, None),
        (f"{NEW} --tokenizer_name t --do_train", "fresh"),
        (f"{MODEL} --imp_static_values fresh", "fresh"),
        (f"{NEW} --tokenizer_name t --do_train --imp_static_values mean", "mean"),
    ],
)
def test_static_values_of_a_new_model_are_a_draw_unless_told_otherwise(line: str, values: str | None) -> None:
    arguments = parse([*line.split(), *TEXT.split(), "--use_pad"])
    partition = asked_partition(arguments[0], arguments[3], seed=1)
    assert partition.static_values == values
    assert recorded_options(arguments, partition, {})["imp_static_values"] == values


def test_text_that_is_trained_on_or_not_makes_another_run() -> None:
    assert recorded(TEXT)["validation_split_percentage"] == 5.0
    assert recorded(f"{TEXT} --validation_file v.txt")["validation_split_percentage"] == 0.0


def test_nothing_is_held_out_where_other_text_is_given() -> None:
    for line, share in ((TEXT, 5.0), (f"{TEXT} --validation_file v.txt", 0.0)):
        assert held_out_percentage(parse([*MODEL.split(), *line.split()])[1]) == share
