import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification, AutoTokenizer, BertModel

from padnet_hf import PADBertForSequenceClassification, PADBertModel, PADNetError, PartitionConfig, partition
from padnet_hf.method.layer import pad_weights
from padnet_hf.training.calibration import CalibrationBatches
from tests.cli.samples import LABELS, PAD_CLASSES, REVIEWS, Padnet, files_of, save_processing
from tests.hub.cases import logits_of, make_batch, make_dense

AUTO_CLASSES = {"bert": AutoModelForSequenceClassification, "resnet": AutoModelForImageClassification}
OPTIONS = {"bert": ("--num-experts", 4, "--num-experts-per-tok", 1), "resnet": ("--num-kernels", 3)}
DENSE_FILES = {
    "bert": {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"},
    "resnet": {"config.json", "model.safetensors", "preprocessor_config.json"},
}


def logits(folder: Path, family: str) -> Tensor:
    return logits_of(AUTO_CLASSES[family].from_pretrained(folder), make_batch(family))


def test_upcycled_gives_the_dense_logits(padnet: Padnet, dense_folders: dict, family: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "dynamic"
    told = padnet("upcycle", dense_folders[family], target, *OPTIONS[family])
    model = AUTO_CLASSES[family].from_pretrained(target)
    assert told == f"{target}: {type(model).__name__}, {model.num_parameters():,} parameters\n"
    assert type(model) is PAD_CLASSES[family]
    assert {weight.num_copies for weight in pad_weights(model).values()} == {OPTIONS[family][1]}
    assert files_of(target).keys() == DENSE_FILES[family] | {"modeling_padnet.py"}
    assert tuple(model.config.id2label.values()) == LABELS[family]
    expected = logits(dense_folders[family], family)
    assert expected.std() > 0.01
    torch.testing.assert_close(logits(target, family), expected, rtol=0, atol=1e-5)


def test_as_many_labels_keep_head_and_names(padnet: Padnet, dense_folders: dict, family: str, tmp_path: Path) -> None:
    padnet("upcycle", dense_folders[family], tmp_path, "--num-labels", 3)
    assert tuple(AUTO_CLASSES[family].from_pretrained(tmp_path).config.id2label.values()) == LABELS[family]
    torch.testing.assert_close(logits(tmp_path, family), logits(dense_folders[family], family), rtol=0, atol=1e-5)


def test_other_labels_get_a_new_head_and_keep_the_rest(padnet: Padnet, dense_folders: dict, tmp_path: Path) -> None:
    padnet("upcycle", dense_folders["bert"], tmp_path, "--num-labels", 5)
    model = AUTO_CLASSES["bert"].from_pretrained(tmp_path)
    assert logits_of(model, {"input_ids": torch.tensor([[2, 5, 3]])}).shape == (1, 5)
    pooler = AUTO_CLASSES["bert"].from_pretrained(dense_folders["bert"]).bert.pooler.dense.weight
    assert torch.equal(model.bert.pooler.dense.weight, pooler)


def test_a_bare_model_stays_one_unless_labels_are_asked_for(padnet: Padnet, tmp_path: Path) -> None:
    bare = save_processing("bert", tmp_path / "bare")
    BertModel(make_dense("bert").config).save_pretrained(bare)
    assert ": PADBertModel, " in padnet("upcycle", bare, tmp_path / "dynamic")
    assert PADBertModel.from_pretrained(tmp_path / "dynamic").config.num_experts == 8
    padnet("upcycle", bare, tmp_path / "classifier", "--num-labels", 2)
    assert PADBertForSequenceClassification.from_pretrained(tmp_path / "classifier").config.num_labels == 2


def test_without_a_tokenizer_none_is_made_up(padnet: Padnet, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_dense("bert").save_pretrained(tmp_path / "dense")
    padnet("upcycle", tmp_path / "dense", tmp_path / "dynamic")
    assert files_of(tmp_path / "dynamic").keys() == {"config.json", "model.safetensors", "modeling_padnet.py"}
    assert "dense has nothing for AutoTokenizer: the result has neither" in caplog.text


@pytest.mark.parametrize("granularity", ["element", "unit"])
def test_partition_chooses_as_python_does(
    padnet: Padnet, dynamic_folders: dict, data: dict, granularity: str, tmp_path: Path
) -> None:
    options = ("--batches", 2, "--batch-size", 3, "--rounds", 2, "--dynamic-ratio", 0.25, "--seed", 7)
    command = ("partition", dynamic_folders["bert"], tmp_path, "--data", data["bert"], "--scope", "layer")
    told = json.loads(padnet(*command, *options, "--granularity", granularity, "--json"))

    model = PADBertForSequenceClassification.from_pretrained(dynamic_folders["bert"])
    tokenizer = AutoTokenizer.from_pretrained(dynamic_folders["bert"])

    def collate(rows: list[tuple[str, int]]) -> dict[str, Tensor]:
        texts, labels = zip(*rows, strict=True)
        return {**tokenizer(list(texts), padding=True, return_tensors="pt"), "labels": torch.tensor(labels)}

    config = PartitionConfig(0.25, granularity, num_rounds=2, scope="layer", num_batches=2, seed=7)
    batches = CalibrationBatches(REVIEWS, collate, batch_size=3, num_batches=2, seed=7)
    report = partition(model, batches, config, progress=False)
    assert told["record"]["mask_hash"] == report.record["mask_hash"]
    assert told == json.loads(json.dumps(report.to_dict()))
    assert torch.equal(logits(tmp_path, "bert"), logits_of(model, make_batch("bert")))


def test_partition_writes_all_of_a_checkpoint(padnet: Padnet, partitioned_folders: dict, family: str) -> None:
    beside = {"modeling_padnet.py", "partition_report.json", "partition.png"}
    assert files_of(partitioned_folders[family]).keys() == DENSE_FILES[family] | beside
    model = AUTO_CLASSES[family].from_pretrained(partitioned_folders[family])
    assert model.is_partitioned
    written = json.loads((partitioned_folders[family] / "partition_report.json").read_text())
    assert written.pop("record").items() <= model.config.partition.items()
    expected = json.loads(json.dumps(model.partition_report().to_dict()))
    assert written.items() <= expected.items()
    assert expected.keys() == {*written, "record"}


def test_the_same_command_chooses_the_same(
    padnet: Padnet, dynamic_folders: dict, data: dict, family: str, tmp_path: Path
) -> None:
    def mask_hash(name: str, *options: object) -> str:
        command = ("partition", dynamic_folders[family], tmp_path / name, "--data", data[family], "--json")
        return json.loads(padnet(*command, "--batch-size", 2, "--batches", 2, "--rounds", 1, *options))["record"][
            "mask_hash"
        ]

    assert mask_hash("first") == mask_hash("second") != mask_hash("third", "--seed", 1)
    first, second = files_of(tmp_path / "first"), files_of(tmp_path / "second")
    assert first["model.safetensors"] == second["model.safetensors"]


@pytest.mark.parametrize(
    ("options", "ratio"),
    [
        (("--criterion", "magnitude"), 0.5),
        (("--criterion", "random", "--dynamic-ratio", 0.25), 0.25),
        (("--dynamic-ratio", 0), 0),
        (("--dynamic-ratio", 1), 1),
    ],
)
def test_no_data_is_needed_where_no_gradients_are(
    padnet: Padnet, dynamic_folders: dict, tmp_path: Path, options: tuple, ratio: float
) -> None:
    told = json.loads(padnet("partition", dynamic_folders["bert"], tmp_path, *options, "--json"))
    assert told["dynamic_ratio"] == pytest.approx(ratio, abs=1e-3)
    assert told["record"]["num_samples"] == 0


def test_a_size_decides_the_ratio(padnet: Padnet, dynamic_folders: dict, family: str, tmp_path: Path) -> None:
    size = round((dynamic_folders[family] / "model.safetensors").stat().st_size * 0.8)
    padnet("partition", dynamic_folders[family], tmp_path, "--criterion", "random", "--target-size", size)
    assert 0.9 * size < (tmp_path / "model.safetensors").stat().st_size <= size


@pytest.mark.parametrize("options", [(), ("--granularity", "unit", "--static-values", "none")])
def test_every_copy_may_keep_elements_or_neurons_of_its_own(
    padnet: Padnet, dynamic_folders: dict, tmp_path: Path, options: tuple[str, ...]
) -> None:
    target = tmp_path / "own"
    padnet("partition", dynamic_folders["bert"], target, "--criterion", "magnitude", "--masks", "per_copy", *options)
    model = PADBertForSequenceClassification.from_pretrained(target)
    weights = [weight for weight in pad_weights(model).values() if not weight.is_fully_dynamic]
    assert weights
    assert all(weight.leaves_out if options else weight.has_own_masks for weight in weights)
    words = ", other ones in every copy" + (", the rest left out" if options else "")
    assert f"by {'unit' if options else 'element'}{words} (criterion magnitude" in padnet("inspect", target)
    with pytest.raises(PADNetError, match="how far apart copies are cannot be said"):
        padnet("inspect", target, "--relatedness")


def test_what_is_all_static_becomes_a_stock_model(
    padnet: Padnet, dynamic_folders: dict, family: str, tmp_path: Path
) -> None:
    padnet("partition", dynamic_folders[family], tmp_path / "static", "--dynamic-ratio", 0)
    told = padnet("to-dense", tmp_path / "static", tmp_path / "dense")
    model = AUTO_CLASSES[family].from_pretrained(tmp_path / "dense")
    assert type(model) is type(make_dense(family))
    assert told == f"{tmp_path / 'dense'}: {type(model).__name__}, {model.num_parameters():,} parameters\n"
    assert files_of(tmp_path / "dense").keys() == DENSE_FILES[family]
    assert not {"dynamic_counts", "partition", "auto_map"} & model.config.to_dict().keys()
    expected = logits(tmp_path / "static", family)
    torch.testing.assert_close(logits(tmp_path / "dense", family), expected, rtol=0, atol=1e-5)


def test_upcycled_and_back_is_the_same_model(padnet: Padnet, dense_folders: dict, family: str, tmp_path: Path) -> None:
    padnet("upcycle", dense_folders[family], tmp_path / "dynamic")
    padnet("to-dense", tmp_path / "dynamic", tmp_path / "dense")
    assert torch.equal(logits(tmp_path / "dense", family), logits(dense_folders[family], family))
    assert files_of(tmp_path / "dense")["model.safetensors"] == files_of(dense_folders[family])["model.safetensors"]
