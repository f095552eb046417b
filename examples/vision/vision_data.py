"""Which images: a data set of the Hub, local parquet, image folders, or the embedded digits."""

import logging
from collections.abc import Iterable
from dataclasses import replace

from digits import DATA_NAME, embedded_digits
from image_folders import read_folder
from image_split import ImageData, ImageSplit
from image_tables import from_hub, from_parquet, read_table
from padnet_hf import PADNetError
from vision_arguments import DataArguments

logger = logging.getLogger("run_image_classification")

SPLIT_OF_ROLE = {"train": "train", "eval": "validation", "predict": "test"}
_FOLDERS = {"train": "train_dir", "validation": "validation_dir", "test": "test_dir"}
_LIMITS = {"train": "max_train_samples", "validation": "max_eval_samples", "test": "max_predict_samples"}


def load_image_data(data: DataArguments, roles: Iterable[str], cache_dir: str | None = None) -> ImageData:
    """The data asked for, with the splits that `roles` (of train, eval, predict) need; no image is opened yet.

    Raises PADNetError for anything missing: data set, folder, column, split, label.
    """
    _check_choice(data)
    wanted = [SPLIT_OF_ROLE[role] for role in roles]
    if data.dataset_name or data.data_dir:
        found = _tables(data, wanted, cache_dir)
    elif any(getattr(data, option) for option in _FOLDERS.values()):
        found = _folders(data, wanted)
    else:
        found = embedded_digits()
    splits = _with_validation(found, data, wanted)
    for name in wanted:
        if name not in splits:
            raise PADNetError(f"{found.name} has no {name} split, only {', '.join(splits)}: {_remedy(found, name)}")
        if not len(splits[name]):
            raise PADNetError(f"{splits[name].source} is empty: the {name} split needs at least 1 image")
    chosen = {name: splits[name].sample(getattr(data, _LIMITS[name])) for name in wanted}
    loaded = replace(found, splits=chosen)
    return loaded if found.label_names is None else loaded.with_known_labels(found.label_names)


def _check_choice(data: DataArguments) -> None:
    groups = [
        [option for option in ("dataset_name",) if getattr(data, option)],
        [option for option in ("data_dir",) if getattr(data, option)],
        [option for option in _FOLDERS.values() if getattr(data, option)],
    ]
    given = [group[0] for group in groups if group]
    if len(given) > 1:
        raise PADNetError(f"--{given[0]} and --{given[1]} exclude each other: leave one of them out")
    if data.dataset_config_name and not data.dataset_name:
        raise PADNetError(f"--dataset_config_name {data.dataset_config_name} needs --dataset_name")
    for option in ("image_column_name", "label_column_name"):
        if getattr(data, option) and not (data.dataset_name or data.data_dir):
            raise PADNetError(
                f"--{option} {getattr(data, option)} is for data with columns: add --dataset_name or --data_dir"
            )


def _remedy(data: ImageData, split: str) -> str:
    if data.name == DATA_NAME:
        return "the embedded digits have no more; give your own with --test_dir"
    if split == "validation":
        return "add --train_val_split 0.1 to hold out a tenth of the training images, or --validation_dir"
    return f"add --{_FOLDERS[split]}" if data.name == "folders" else "leave out --do_predict, or give it such a split"


def _with_validation(found: ImageData, data: DataArguments, wanted: list[str]) -> dict[str, ImageSplit]:
    """The splits, with one to validate on: held out from training if asked for, else the test split in its place."""
    splits = dict(found.splits)
    if data.train_val_split is not None:
        if "validation" in splits:
            raise PADNetError(
                f"--train_val_split {data.train_val_split} would hold out training images, but {found.name} has a "
                "validation split: leave the option out"
            )
        if "train" in splits:
            splits["validation"], splits["train"] = splits["train"].divide(data.train_val_split)
    elif "validation" in wanted and "validation" not in splits and "test" in splits and splits["test"].labels:
        logger.info("%s has no validation split: its test split serves as one", found.name)
        splits["validation"] = splits["test"]
    return splits


def _needed(available: Iterable[str], wanted: list[str], data: DataArguments) -> list[str]:
    """Splits to read: those wanted, and those they can be made of."""
    needed = set(wanted)
    if "validation" in wanted and "validation" not in available:
        needed.add("test" if data.train_val_split is None else "train")
    return [name for name in available if name in needed or (name == "validation" and data.train_val_split is not None)]


def _tables(data: DataArguments, wanted: list[str], cache_dir: str | None) -> ImageData:
    if data.dataset_name:
        name, tables = data.dataset_name, from_hub(data.dataset_name, data.dataset_config_name, cache_dir)
    else:
        name, tables = data.data_dir, from_parquet(data.data_dir, cache_dir)
    splits, label_names = {}, None
    for split in _needed(tables, wanted, data):
        splits[split], names = read_table(
            tables[split],
            f"the {split} split of {name}",
            data.image_column_name,
            data.label_column_name,
            labelled=split == "train" or split == "validation",
        )
        label_names = names if split == "train" else label_names
    return ImageData(_short(name), splits, label_names)


def _short(name: str) -> str:
    """For file names: the last part of a path or of a name on the Hub."""
    return name.rstrip("/").rsplit("/", 1)[-1] or "images"


def _folders(data: DataArguments, wanted: list[str]) -> ImageData:
    given = {split: getattr(data, option) for split, option in _FOLDERS.items() if getattr(data, option)}
    splits = {
        split: read_folder(given[split], _FOLDERS[split], labelled=split != "test")
        for split in _needed(given, wanted, data)
    }
    names = tuple(sorted(set(splits["train"].labels))) if "train" in splits else None
    return ImageData("folders", splits, names)
