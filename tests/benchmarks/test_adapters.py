from benchmarks.adapters import AGAIN, CELLS, METHODS, NETWORKS, cells, table
from glue_arguments import parse
from padnet_hf.jobs.lora_options import adapter_options
from padnet_hf.jobs.partition_options import partition_config


def test_every_cell_is_a_command_that_run_glue_takes() -> None:
    found = list(cells("data", ["--max_train_samples", "32"]))
    assert len(set(CELLS)) == len(CELLS)
    assert len({tuple(cell.names.values()) for cell in found}) == len(found) == len(CELLS) + AGAIN
    for cell in found:
        _, data, lora, pad, training = parse([*cell.arguments, "--output_dir", "out"])
        adapter_options(lora, partition_config(pad, training.seed), training)
        assert lora.lora == (cell.names["method"] != "full tuning")
        assert pad.use_pad == ("0.5" in cell.names["network"])
        assert (str(training.seed), data.max_train_samples) == (cell.names["seed"], 32)
    assert {network for network, _ in CELLS} == set(NETWORKS)


def test_methods_to_compare_train_as_many_entries() -> None:
    kept = {}
    for name, options in METHODS.items():
        if "--lora" in options:
            rank = int(options[options.index("--lora_rank") + 1])
            kept[name] = rank * (0.2 if "--adapter_sparsity" in options else 1)
    assert {kept[name] for name in kept if "rank 40" in name} == {kept["LoRA, rank 8"]}
    assert kept["rank 10, 80 % pruned, snip"] == kept["LoRA, rank 2"]


def test_the_table_has_a_row_per_method_with_every_seed() -> None:
    row = {"network": "dense", "method": "LoRA, rank 8", "trained": 1234, "bytes": 5e6, "processor_seconds": 9.6}
    found = table([{**row, "seed": "42", "value": 0.5}, {**row, "seed": "43", "value": 0.6}])
    assert "| dense   | LoRA, rank 8 | 50.0, 60.0 | 1,234" in found
    assert len(found.splitlines()) == 3
