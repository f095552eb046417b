import io
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from datasets import Image as ImageFeature
from PIL import Image

from image_tables import from_hub, from_parquet, read_table
from padnet_hf import PADNetError


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), level).save(file, "PNG")
    return file.getvalue()


def table(labels: list, label: object, **more: list) -> Dataset:
    images = [{"bytes": png(10 * number), "path": None} for number in range(len(labels))]
    features = {"picture": ImageFeature(), "kind": label} | {name: Value("int64") for name in more}
    return Dataset.from_dict({"picture": images, "kind": labels, **more}, features=Features(features))


def test_columns_are_found_by_their_type_and_named_classes_keep_their_order() -> None:
    split, names = read_table(table([1, 0], ClassLabel(names=["z", "a"])), "t", None, None, labelled=True)
    assert (split.labels, names) == (("a", "z"), ("z", "a"))
    assert split.open(1).getpixel((0, 0)) == 10
    assert split.describe(1) == "row 2 of t"


def test_columns_can_be_named_and_whole_numbers_or_strings_are_classes() -> None:
    split, names = read_table(table([7, 3], Value("int64"), other=[1, 2]), "t", "picture", "kind", labelled=True)
    assert (split.labels, names) == (("7", "3"), ("3", "7"))
    split, names = read_table(table(["b", "a"], Value("string")), "t", None, "kind", labelled=True)
    assert names == ("a", "b")


def test_bytes_and_paths_are_images_too(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(30))
    plain = Dataset.from_dict({"img": [{"bytes": png(20), "path": None}], "label": ["x"]})
    assert read_table(plain, "t", None, None, labelled=True)[0].open(0).getpixel((0, 0)) == 20
    path = Dataset.from_dict({"image": [str(tmp_path / "a.png")], "label": ["x"]})
    assert read_table(path, "t", None, None, labelled=True)[0].open(0).getpixel((0, 0)) == 30


def test_missing_labels_are_an_error_where_they_are_needed_and_left_out_where_not() -> None:
    unknown = table([0, -1], ClassLabel(names=["a", "b"]))
    assert read_table(unknown, "t", None, None, labelled=False)[0].labels is None
    with pytest.raises(PADNetError, match="t, row 2: the label in column 'kind' is missing"):
        read_table(unknown, "t", None, None, labelled=True)
    with pytest.raises(PADNetError, match="row 1: the label in column 'kind' is missing"):
        read_table(table([None, "b"], Value("string")), "t", None, "kind", labelled=True)
    with pytest.raises(PADNetError, match="row 2: the label in column 'kind' is missing"):
        read_table(table(["b", ""], Value("string")), "t", None, "kind", labelled=True)


def test_several_labels_for_a_test_image_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    several = table([["a"], ["b", "c"]], List(Value("string")))
    with pytest.raises(PADNetError, match=r"column 'kind' holds \['a'\], where a class is needed"):
        read_table(several, "t", None, "kind", labelled=True)
    assert read_table(several, "t", None, "kind", labelled=False)[0].labels is None
    assert "Predictions are written, but nothing is measured" in caplog.text


def test_the_columns_that_were_read_are_kept() -> None:
    split, _ = read_table(table(["b", "a"], Value("string"), more=[1, 2]), "t", None, "kind", labelled=True)
    assert split.take([1]).columns.to_dict() == {"inputs": ["picture"], "label": "kind", "left_out": ["more"]}


@pytest.mark.parametrize(
    ("image", "label", "message"),
    [
        (None, None, "no clear label column: it has 'picture', 'kind'; name it with --label_column_name"),
        ("img", None, "no column 'img': it has 'picture', 'kind'; name another with --image_column_name"),
        (None, "label", "no column 'label'.*--label_column_name"),
        (None, "kind", r"column 'kind' holds 0\.5, where a class is needed"),
    ],
)
def test_columns_that_are_missing_or_unclear(image: str | None, label: str | None, message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        read_table(table([0.5], Value("float32")), "t", image, label, labelled=True)


def test_parquet_files_are_found_by_split(parquet: Callable[..., str], tmp_path: Path) -> None:
    tables = from_parquet(parquet(), str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in tables.items()} == {"train": 6, "test": 6}


def test_folders_without_parquet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PADNetError, match="--data_dir nowhere is not a folder"):
        from_parquet("nowhere", None)
    (tmp_path / "readme.md").touch()
    with pytest.raises(PADNetError, match=r"has no split: expected train\.parquet.*found readme\.md"):
        from_parquet(str(tmp_path), None)
    (tmp_path / "train.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(PADNetError, match=r"cannot be read as parquet: .*; save the files again"):
        from_parquet(str(tmp_path), str(tmp_path / "cache"))


def test_an_unreachable_or_unknown_data_set_names_the_options_for_local_files() -> None:
    with pytest.raises(PADNetError, match=r"cannot load 'no/such-data'.*--data_dir FOLDER.*--train_dir FOLDER"):
        from_hub("no/such-data", None, None)
