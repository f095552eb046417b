import logging
from decimal import Decimal

import pandas as pd
import pytest
from transformers import BertConfig

from padnet_hf import PADNetError
from padnet_hf.jobs.label_column import (
    LabelColumn,
    as_classes,
    as_known_classes,
    as_model_labels,
    as_scores,
    check_filled,
    class_names,
    measurable,
    read_labels,
)


def read(*values: object) -> LabelColumn:
    return read_labels(values, "label", "file")


def named(*names: str) -> BertConfig:
    return BertConfig(id2label=dict(enumerate(names)), label2id={name: number for number, name in enumerate(names)})


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["2", "10"], ("2", "10")),
        ([2, 10], ("2", "10")),
        (["02", "10", "010", "1", "01"], ("01", "1", "02", "010", "10")),
        (["1e5", "2e5"], ("1e5", "2e5")),
        (["yes", "1"], ("1", "yes")),
        ([True, False], ("False", "True")),
        (["true", "NA", "null"], ("NA", "null", "true")),
        (["-1", "1", "0"], ("-1", "0", "1")),
        (["nan", "inf"], ("inf", "nan")),
        (["1", "2", "2a", "3"], ("1", "2", "2a", "3")),
        (["1", 1, "2"], ("1", "2")),
    ],
)
def test_classes_keep_their_spelling_and_whole_numbers_their_order(values: list, names: tuple[str, ...]) -> None:
    assert class_names(read(*values)) == names


@pytest.mark.parametrize(
    ("values", "scores"),
    [
        (["0.5", "1"], [0.5, 1.0]),
        ([0.5, 1.0], [0.5, 1.0]),
        ([1, 2.0], [1.0, 2.0]),
        (["0.5", "1e-05"], [0.5, 1e-5]),
        (["-.5", "+1."], [-0.5, 1.0]),
        ([Decimal("1.50"), Decimal("2")], [1.5, 2.0]),
    ],
)
def test_numbers_with_a_decimal_point_among_them_are_scores(values: list, scores: list[float]) -> None:
    assert class_names(read(*values)) is None
    assert as_scores(read(*values)) == scores


@pytest.mark.parametrize("gap", ["N/A", "NA", "n/a", "?", "-", "none", "ten"])
def test_a_word_among_scores_is_an_error_with_its_row(gap: str) -> None:
    with pytest.raises(PADNetError, match=r"file, row 31: column 'label' holds '.*', but 30 of 31 labels are numbers"):
        class_names(read(*(f"{number}.5" for number in range(30)), gap))


def test_what_stands_for_a_missing_label_among_numbers_is_an_error() -> None:
    with pytest.raises(PADNetError, match="row 3: column 'label' holds 'N/A', but 3 of 4 labels are numbers"):
        class_names(read("1", "2", "N/A", "1"))
    with pytest.raises(PADNetError, match="row 2: column 'label' holds '-', but 1 of 3 labels are numbers"):
        class_names(read("0.5", "-", "-"))


@pytest.mark.parametrize(
    ("value", "kind"), [(["a", "b"], "list"), (["a"], "list"), ({"a": 1}, "dict"), (b"a", "bytes")]
)
def test_several_labels_for_a_row_are_not_supported(value: object, kind: str) -> None:
    with pytest.raises(
        PADNetError, match=f"file, row 2: column 'label' holds .*, a {kind}, where one label is needed.*not"
    ):
        read("a", value)


@pytest.mark.parametrize("gap", [None, "", " ", float("nan")])
def test_a_missing_label_is_named_by_row(gap: object) -> None:
    with pytest.raises(
        PADNetError, match="file, row 2: column 'label' holds None, where a label is needed; fill it in"
    ):
        check_filled(read("a", gap))


def test_one_label_alone_is_no_classification() -> None:
    with pytest.raises(PADNetError, match="file has only the label 'a': a classification needs at least 2"):
        class_names(read("a", "a"))


def test_classes_of_the_data_keep_its_order() -> None:
    labels = read_labels(pd.Series(pd.Categorical(["a", "z"], categories=["z", "m", "a"])), "label", "file")
    assert class_names(labels) == ("z", "m", "a")


def test_other_labels_than_those_known_are_named_by_row() -> None:
    assert as_classes(read(1, "2"), ("1", "2")) == ["1", "2"]
    for value in ("01", 1.0, " 1"):
        with pytest.raises(
            PADNetError, match=f"file has the label '{value}', but the known labels are '1', '2'.*row 2"
        ):
            as_classes(read("1", value), ("1", "2"))


@pytest.mark.parametrize("value", ["good", "nan", "inf", "1,5", True])
def test_a_regression_takes_numbers_alone(value: object) -> None:
    with pytest.raises(
        PADNetError, match=f"file has the label '{value}', but a regression needs numbers; correct row 2"
    ):
        as_scores(read(1, value))


WORDS, NUMBERS = ("bad", "fair", "good"), ("1", "2", "3")


@pytest.mark.parametrize(
    ("values", "names", "matched"),
    [
        (["good", "bad"], WORDS, ["good", "bad"]),
        ([2, 0], WORDS, ["good", "bad"]),
        (["2", "0"], WORDS, ["good", "bad"]),
        ([1, 2], NUMBERS, ["1", "2"]),
        (["1", "3"], NUMBERS, ["1", "3"]),
    ],
)
def test_a_models_names_come_before_its_numbers(values: list, names: tuple[str, ...], matched: list[str]) -> None:
    assert as_known_classes(read(*values), names) == matched
    assert as_model_labels(read(*values), named(*names)) == matched


@pytest.mark.parametrize(
    ("values", "names", "label"),
    [
        ([0, 1], NUMBERS, "0"),
        ([0], NUMBERS, "0"),
        (["good", 1], WORDS, "1"),
        ([0, 3], WORDS, "3"),
        (["01"], WORDS, "01"),
        ([0.5], WORDS, "0.5"),
        (["Good"], WORDS, "Good"),
    ],
)
def test_a_label_that_is_neither_or_could_be_both_is_refused(values: list, names: tuple[str, ...], label: str) -> None:
    with pytest.raises(PADNetError, match=f"file has the label '{label}', but the known labels are '{names[0]}'"):
        as_model_labels(read(*values), named(*names))


def test_a_model_without_names_takes_numbers_or_the_datas_own_order() -> None:
    bare = BertConfig(num_labels=3)
    assert as_model_labels(read("2", 0, 1), bare) == ["LABEL_2", "LABEL_0", "LABEL_1"]
    assert as_model_labels(read("LABEL_1"), bare) == ["LABEL_1"]
    ordered = read_labels(pd.Series(pd.Categorical(["a", "z"], categories=["z", "m", "a"])), "label", "file")
    assert as_model_labels(ordered, bare) == ["LABEL_2", "LABEL_0"]
    with pytest.raises(PADNetError, match=r"has the label 'a'.*'bad', 'fair', 'good'"):
        as_model_labels(ordered, named(*WORDS))


def test_a_model_of_scores_takes_numbers() -> None:
    for config in (BertConfig(num_labels=1), BertConfig(num_labels=1, problem_type="regression")):
        assert as_model_labels(read("1", 2.5), config) == [1.0, 2.5]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([-1, -1], "has no labels in 'label': predictions are written, nothing is measured"),
        (["-1", ""], "has no labels"),
        ([-1.0, None], "has no labels"),
        (["good", "odd"], "has the label 'odd'.*Predictions are written, but nothing is measured"),
        (["good", None], "row 2: column 'label' holds None.*nothing is measured"),
        ([["good"]], "a list, where one label is needed.*nothing is measured"),
    ],
)
def test_labels_to_measure_with_are_left_out_where_they_are_not_all_there(
    values: list, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert measurable(values, "label", "file", WORDS, lambda labels: as_classes(labels, WORDS)) is None
    (record,) = caplog.records
    assert pd.Series([record.getMessage()]).str.contains(said, regex=True).all()


def test_minus_one_is_a_label_where_a_class_has_that_name() -> None:
    names = ("-1", "1")
    assert measurable([-1, -1], "label", "file", names, lambda labels: as_classes(labels, names)) == ["-1", "-1"]
