"""Headers of weight files, held against the model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from padnet_hf import PADBertForSequenceClassification, PADBertForTokenClassification, PADBertModel
from padnet_hf.errors import PADCheckpointError
from padnet_hf.hub.headers import check_headers, check_inside, read_headers
from tests.hub.cases import make_model

Tensors = dict[str, torch.Tensor]
EXPERT = "encoder.layer.1.intermediate.dense.experts.down_proj"
MASK, DYNAMIC, POOLER = f"{EXPERT}.mask_bits", f"{EXPERT}.dynamic", "pooler.dense.weight"


@pytest.fixture(scope="module")
def model() -> PADBertForSequenceClassification:
    made = make_model("bert-element")
    made.config.architectures = [type(made).__name__]  # as in a checkpoint of the same class
    return made


def check(model: PADBertForSequenceClassification, tensors: Tensors, folder: Path, **options: bool) -> None:
    save_file(tensors, folder / "model.safetensors")
    with torch.device("meta"):
        empty = type(model)(model.config)
    check_headers(empty, read_headers([folder / "model.safetensors"]), "org/name", **options)


def edited(model: PADBertForSequenceClassification, edit: Callable[[Tensors], object]) -> Tensors:
    tensors = dict(model.state_dict())
    edit(tensors)
    return tensors


def test_a_model_fits_its_own_headers(model: PADBertForSequenceClassification, tmp_path: Path) -> None:
    check(model, dict(model.state_dict()), tmp_path)


def test_any_floating_point_type_will_do(model: PADBertForSequenceClassification, tmp_path: Path) -> None:
    for dtype in (torch.bfloat16, torch.float64):
        check(model, {n: t.to(dtype) if t.is_floating_point() else t for n, t in model.state_dict().items()}, tmp_path)


@pytest.mark.parametrize("name", [MASK, DYNAMIC, POOLER])
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda tensors, name: tensors.pop(name), "1 tensors in 'org/name' are missing: {}"),
        (
            lambda tensors, name: tensors.update({f"{name}2": torch.ones(1)}),
            "1 tensors in 'org/name' belong to no part of the model: {}2",
        ),
        (lambda tensors, name: tensors.update({name: tensors[name].int()}), r"are of the wrong type: {} \(I32, not "),
        (
            lambda tensors, name: tensors.update({name: tensors[name][:-1].contiguous()}),
            r"have other sizes than its configuration asks for.*: {} \(\(\d+,",
        ),
    ],
    ids=["missing", "extra", "type", "size"],
)
def test_a_tensor_that_does_not_fit_is_named(
    model: PADBertForSequenceClassification, name: str, edit: Callable, message: str, tmp_path: Path
) -> None:
    tensors = edited(model, lambda tensors: edit(tensors, f"bert.{name}"))
    with pytest.raises(PADCheckpointError, match=message.format(name)):
        check(model, tensors, tmp_path)


def test_a_mask_of_floats_is_refused(model: PADBertForSequenceClassification, tmp_path: Path) -> None:
    tensors = edited(model, lambda tensors: tensors.update({f"bert.{MASK}": tensors[f"bert.{MASK}"].float()}))
    with pytest.raises(PADCheckpointError, match=r"mask_bits \(F32, not uint8\)"):
        check(model, tensors, tmp_path)


def test_sizes_may_differ_on_request_but_not_in_pad_layers(
    model: PADBertForSequenceClassification, tmp_path: Path
) -> None:
    head = edited(model, lambda tensors: tensors.update({"classifier.bias": torch.ones(9)}))
    with pytest.raises(PADCheckpointError, match=r"classifier.bias.*num_labels.*ignore_mismatched_sizes=True"):
        check(model, head, tmp_path)
    check(model, head, tmp_path, sizes_may_differ=True)
    expert = edited(model, lambda tensors: tensors.update({f"bert.{DYNAMIC}": torch.ones(4, 9)}))
    with pytest.raises(PADCheckpointError, match=r"other sizes .*dynamic_counts"):
        check(model, expert, tmp_path, sizes_may_differ=True)


@pytest.mark.parametrize("other", [PADBertModel, PADBertForTokenClassification])
def test_a_checkpoint_of_another_class_of_the_family_may_lack_a_head_but_no_expert(
    model: PADBertForSequenceClassification, other: type, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    with torch.device("meta"):
        empty = other(model.config)
    found = read_headers([tmp_path / "model.safetensors"])
    check_headers(empty, found, "org/name")
    del found[f"bert.{MASK}"]
    with pytest.raises(PADCheckpointError, match=f"missing: {MASK}"):
        check_headers(empty, found, "org/name")


def test_many_wrong_tensors_are_counted_and_three_named(
    model: PADBertForSequenceClassification, tmp_path: Path
) -> None:
    with pytest.raises(PADCheckpointError, match=r"^54 tensors .* are missing: (\S+, ){2}\S+ and 51 more\."):
        check(model, dict(list(model.state_dict().items())[:3]), tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0" * 4, b"\xff" * 100, (8).to_bytes(8, "little") + b"not json"])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(PADCheckpointError, match=r"model.safetensors' is damaged, .*force_download=True"):
        read_headers([file])


def test_a_header_of_another_form_is_damage(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    for header in ([], {"a": 1}, {"a": {}}):
        text = json.dumps(header).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text)
        with pytest.raises(PADCheckpointError, match="damaged"):
            read_headers([file])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PADCheckpointError, match=r"model-00002-of-00002\.safetensors' is missing"):
        read_headers([tmp_path / "model-00002-of-00002.safetensors"])


def test_only_files_in_the_folder_are_inside() -> None:
    check_inside("org/name", ["org/name/a", "org/name/b/../c"])
    for outside in ("org/name/../a", "org/other/a", "org/name-2/a", "/etc/passwd"):
        with pytest.raises(PADCheckpointError, match=f"'org/name' names '{outside}', which lies outside of it"):
            check_inside("org/name", ["org/name/a", outside])
