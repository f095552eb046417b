import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer

from padnet_hf import PADBertForMaskedLM, PADBertForSequenceClassification, PADNetError, PartitionConfig
from padnet_hf.cli.calibration_data import calibration_batches
from padnet_hf.cli.calibration_rows import read_rows
from tests.cli.samples import (
    COPIES,
    LABELS,
    REVIEWS,
    Padnet,
    make_images,
    save_masked,
    save_processing,
    write_rows,
)

Batches = Callable[..., list[dict[str, Tensor]]]
NAMED = [(text, LABELS["bert"][label]) for text, label in REVIEWS]
PAIRS = [("a fine film", "the plot", 1), ("no", "very good", 0)]


@pytest.fixture
def batches(dynamic_folders: dict[str, Path]) -> Batches:
    """The batches for a fully dynamic classifier, or for the model in the folder `source`."""

    def draw(path: Path, family: str = "bert", source: Path | None = None, **options: object) -> list:
        folder = str(source or dynamic_folders[family])
        config = AutoConfig.from_pretrained(folder)
        return list(calibration_batches(str(path), folder, config, PartitionConfig(num_batches=2), **options))

    return draw


def same(left: list[dict[str, Tensor]], right: list[dict[str, Tensor]]) -> bool:
    return len(left) == len(right) and all(
        one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
        for one, other in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet", ".CSV"])
def test_every_form_of_file_gives_the_same_batches(batches: Batches, data: dict, tmp_path: Path, suffix: str) -> None:
    path = write_rows(tmp_path / f"reviews{suffix}", ["text", "label"], REVIEWS)
    expected = batches(data["bert"], batch_size=3)
    assert [len(batch["labels"]) for batch in expected] == [3, 3]
    assert expected[0].keys() == {"input_ids", "token_type_ids", "attention_mask", "labels"}
    assert same(batches(path, batch_size=3), expected)


def test_a_folder_of_files_has_splits(batches: Batches, data: dict, tmp_path: Path) -> None:
    write_rows(tmp_path / "train.csv", ["text", "label"], REVIEWS)
    write_rows(tmp_path / "test.csv", ["text", "label"], REVIEWS[:2])
    assert same(batches(tmp_path), batches(data["bert"]))
    assert [len(batch["labels"]) for batch in batches(tmp_path, split="test")] == [2]
    assert [len(batch["labels"]) for batch in batches(tmp_path, split="train[:3]")] == [3]


def test_files_in_a_folder_are_read_like_files(batches: Batches, tmp_path: Path) -> None:
    rows = [("NA", "positive"), ("null", "neutral"), ("01", "negative")]
    for number in range(2):
        write_rows(tmp_path / "folder" / f"train-{number}.csv", ["text", "label"], rows)
    path = write_rows(tmp_path / "twice.csv", ["text", "label"], rows * 2)
    (batch,) = batches(path)
    assert same(batches(tmp_path / "folder"), [batch])
    assert sorted(batch["labels"].tolist()) == [0, 0, 1, 1, 2, 2]


def test_numbers_that_are_names_of_the_models_classes_are_names(dynamic_folders: dict, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(dynamic_folders["bert"])
    config.id2label = {0: "1", 1: "2", 2: "3"}
    config.label2id = {name: number for number, name in config.id2label.items()}
    for labels, numbers in (([1, 2, 3], [0, 1, 2]), ([1, 2], [0, 1])):
        path = write_rows(tmp_path / "rows.jsonl", ["text", "label"], [("a fine film", label) for label in labels])
        (batch,) = calibration_batches(str(path), str(dynamic_folders["bert"]), config, PartitionConfig())
        assert sorted(batch["labels"].tolist()) == numbers
    path = write_rows(tmp_path / "rows.jsonl", ["text", "label"], [("a fine film", 0), ("no", 1)])
    with pytest.raises(PADNetError, match="has the label '0', but the known labels are '1', '2', '3'; correct row 1"):
        calibration_batches(str(path), str(dynamic_folders["bert"]), config, PartitionConfig())


def test_the_columns_that_are_read_are_said(batches: Batches, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [("a fine film", 2, "positive"), ("dull", 0, "negative")]
    path = write_rows(tmp_path / "rows.csv", ["comment", "label", "label_text"], rows)
    with caplog.at_level(logging.INFO):
        (batch,) = batches(path)
    assert "rows.csv: input 'comment', label 'label'; not read: 'label_text'" in caplog.text
    assert batch["token_type_ids"].max() == 0


def test_a_split_is_of_a_file_too(batches: Batches, data: dict) -> None:
    assert [len(batch["labels"]) for batch in batches(data["bert"], split="train[:3]")] == [3]


def test_names_of_labels_are_the_models(batches: Batches, data: dict, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "named.csv", ["text", "label"], NAMED)
    assert same(batches(path), batches(data["bert"]))


def test_columns_can_be_named(batches: Batches, data: dict, tmp_path: Path) -> None:
    rows = [("x", text, "y", label) for text, label in REVIEWS]
    path = write_rows(tmp_path / "wide.csv", ["a", "review", "b", "rating"], rows)
    assert same(batches(path, inputs=["review"], label="rating"), batches(data["bert"]))


def test_two_columns_of_text_are_a_pair(batches: Batches, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pairs.jsonl", ["premise", "hypothesis", "label"], PAIRS)
    (batch,) = batches(path)
    ids = {tuple(row.tolist()) for row in batch["input_ids"]}
    tokenizer = AutoTokenizer.from_pretrained(save_processing("bert", tmp_path / "tokenizer"))
    first, second, _ = PAIRS[0]
    expected = tokenizer(first, second)
    assert tuple(expected["input_ids"]) in ids
    assert batch["token_type_ids"].max() == 1
    (swapped,) = batches(path, inputs=["hypothesis", "premise"])
    assert not same([swapped], [batch])


def test_texts_are_cut_to_the_models_positions(batches: Batches, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "long.csv", ["text", "label"], [("a fine film " * 400, 1)])
    assert batches(path)[0]["input_ids"].shape == (1, 128)
    assert batches(path, max_length=10)[0]["input_ids"].shape == (1, 10)
    assert batches(path, max_length=4000)[0]["input_ids"].shape == (1, 512)


def test_folders_and_files_of_images_give_the_models_labels(batches: Batches, data: dict, tmp_path: Path) -> None:
    """The folder's classes are in the order of their names, the model's are not."""
    pictures, names = zip(*make_images(), strict=True)
    features = Features({"picture": Image(), "label": ClassLabel(names=sorted(LABELS["resnet"]))})
    path = tmp_path / "images.parquet"
    Dataset.from_dict({"picture": list(pictures), "label": list(names)}, features=features).to_parquet(path)
    from_folder, from_file = batches(data["resnet"], "resnet"), batches(path, "resnet")
    assert same(from_folder, from_file)
    assert from_folder[0]["pixel_values"].shape == (6, 3, 48, 48)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(42)).tolist()
    assert from_folder[0]["labels"].tolist() == [LABELS["resnet"].index(names[index]) for index in order]


def test_a_model_without_names_takes_the_numbers_of_the_data(
    batches: Batches, dynamic_folders: dict, data: dict
) -> None:
    config = AutoConfig.from_pretrained(dynamic_folders["resnet"])
    config.id2label = {number: f"LABEL_{number}" for number in range(3)}
    config.label2id = {name: number for number, name in config.id2label.items()}
    source, partition = str(dynamic_folders["resnet"]), PartitionConfig()
    (batch,) = calibration_batches(str(data["resnet"]), source, config, partition)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(42)).tolist()
    assert batch["labels"].tolist() == [index // 2 for index in order]


def test_regression_takes_numbers(padnet: Padnet, dense_folders: dict, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "scores.csv", ["text", "label"], [(text, label / 4) for text, label in REVIEWS])
    padnet("upcycle", dense_folders["bert"], tmp_path / "dynamic", "--num-labels", 1)
    told = json.loads(padnet("partition", tmp_path / "dynamic", tmp_path / "pad", "--data", path, "--json"))
    assert told["record"]["num_samples"] == len(REVIEWS)
    config = AutoConfig.from_pretrained(tmp_path / "dynamic")
    (batch,) = calibration_batches(str(path), str(tmp_path / "dynamic"), config, PartitionConfig())
    assert batch["labels"].dtype == torch.float32
    assert sorted(batch["labels"].tolist()) == sorted(label / 4 for _, label in REVIEWS)


def test_masked_language_models_need_no_labels(padnet: Padnet, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "texts.csv", ["text"], [(text,) for text, _ in REVIEWS])
    source = save_masked(tmp_path / "dense")
    padnet("upcycle", source, tmp_path / "dynamic", "--num-experts", COPIES["bert"]["num_experts"])
    command = ("partition", tmp_path / "dynamic", "--data", path, "--rounds", 1, "--json")
    first, second = (json.loads(padnet(*command, tmp_path / name)) for name in ("first", "second"))
    assert first["record"]["mask_hash"] == second["record"]["mask_hash"]
    assert first["record"]["num_samples"] == len(REVIEWS)
    assert type(PADBertForMaskedLM.from_pretrained(tmp_path / "first")).__name__ == "PADBertForMaskedLM"


def test_plain_text_is_cut_at_ends_of_lines(batches: Batches, tmp_path: Path) -> None:
    lines = ["a fine film\n", "the plot\n", "\n", "dull and far too long\n", "no"]
    (tmp_path / "texts.txt").write_text("".join(lines * 3), encoding="utf-8")
    model = PADBertForMaskedLM.from_dense(str(save_masked(tmp_path / "dense")), **COPIES["bert"])
    model.save_pretrained(tmp_path / "dynamic")
    save_processing("bert", tmp_path / "dynamic")
    (batch,) = batches(tmp_path / "texts.txt", source=tmp_path / "dynamic", max_length=4)
    rows = read_rows(str(tmp_path / "texts.txt"), "train", "string", length=16)
    assert [row["text"] for row in rows.items][:3] == [
        "a fine film\nthe plot\n",
        "\ndull and far too long\n",
        "noa fine film\nthe plot\n",
    ]
    assert "".join(row["text"] for row in rows.items) == "".join(lines * 3)
    assert batch["input_ids"].shape == (len(rows.items), 4)
    halves = [read_rows(str(tmp_path / "texts.txt"), f"train[{part}]", "string", 16).items for part in (":50%", "50%:")]
    assert halves[0] + halves[1] == rows.items


def test_masked_tokens_are_the_labels(batches: Batches, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "texts.csv", ["text"], [("a fine film " * 9,)] * 6)
    source = save_masked(tmp_path / "dense")
    model = PADBertForMaskedLM.from_dense(str(source), **COPIES["bert"])
    model.save_pretrained(tmp_path / "dynamic")
    save_processing("bert", tmp_path / "dynamic")
    (batch,) = batches(path, source=tmp_path / "dynamic")
    hidden = batch["labels"] != -100
    assert 0 < hidden.float().mean() < 0.4
    assert (batch["input_ids"][hidden] != batch["labels"][hidden]).float().mean() > 0.5
    assert same([batch], batches(path, source=tmp_path / "dynamic"))


def test_labels_count(padnet: Padnet, dynamic_folders: dict, data: dict, tmp_path: Path) -> None:
    """The same texts with other labels are partitioned otherwise: the labels reach the loss."""
    model = PADBertForSequenceClassification.from_pretrained(dynamic_folders["bert"])
    assert model.config.num_labels == 3
    other = write_rows(tmp_path / "other.csv", ["text", "label"], [(text, 2 - label) for text, label in REVIEWS])
    hashes = set()
    for number, path in enumerate((data["bert"], other)):
        told = padnet("partition", dynamic_folders["bert"], tmp_path / str(number), "--data", path, "--json")
        hashes.add(json.loads(told)["record"]["mask_hash"])
    assert len(hashes) == 2
