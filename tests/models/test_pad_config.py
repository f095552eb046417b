"""What every PAD configuration has beside the stock one of its family."""

import json
from pathlib import Path

import pytest
from transformers import AutoConfig, BertConfig, PreTrainedConfig, ResNetConfig

from padnet_hf import PADBertConfig, PADNetError, PADResNetConfig, __version__
from padnet_hf.errors import PADCheckpointError

FAMILIES = [(PADBertConfig, BertConfig(hidden_size=32)), (PADResNetConfig, ResNetConfig(embedding_size=8))]
both = pytest.mark.parametrize(("config_class", "dense"), FAMILIES, ids=["bert", "resnet"])


@both
def test_the_stock_configuration_comes_back(config_class: type, dense: PreTrainedConfig) -> None:
    config = config_class.from_dense(dense, base_model="org/name", partition={"granularity": "unit"})
    assert config.base_model == "org/name"
    assert type(config.to_dense()) is type(dense)
    assert config.to_dense().to_diff_dict() == dense.to_diff_dict()


@both
def test_an_unknown_field_is_named(config_class: type, dense: PreTrainedConfig) -> None:
    with pytest.raises(PADNetError, match=rf"{config_class.__name__} has no field 'num_xperts'.*base_model"):
        config_class.from_dense(dense, num_xperts=4)


@both
def test_labels_are_taken_over_or_replaced_together(config_class: type, dense: PreTrainedConfig) -> None:
    dense = type(dense)(id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1})
    assert config_class.from_dense(dense).label2id == {"no": 0, "yes": 1}
    assert config_class.from_dense(dense, num_labels=3).id2label == {n: f"LABEL_{n}" for n in range(3)}


@both
@pytest.mark.parametrize("later", ["9.3.1", "0.3", "0.3.0.dev1", "1.0"])
def test_a_checkpoint_of_a_newer_version_is_refused_with_both_versions(
    config_class: type, dense: PreTrainedConfig, later: str, tmp_path: Path
) -> None:
    assert __version__.startswith("0.2."), "choose later versions"
    config_class.from_dense(dense).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "padnet_hf_version": later}))
    for load in (AutoConfig.from_pretrained, config_class.from_pretrained):
        with pytest.raises(
            PADCheckpointError, match=f"by padnet_hf {later}, but installed is {__version__}.*install that version"
        ):
            load(tmp_path)


@both
@pytest.mark.parametrize("version", [None, "0.2.0", "0.2.99", "0.2.0.dev3+local"])
def test_versions_that_write_the_same_form_are_read(
    config_class: type, dense: PreTrainedConfig, version: str | None
) -> None:
    assert config_class.from_dense(dense, padnet_hf_version=version).padnet_hf_version == version


def test_older_versions_are_read_where_the_form_is_the_same_and_refused_where_it_is_not() -> None:
    assert PADResNetConfig(padnet_hf_version="0.1.0").padnet_hf_version == "0.1.0"
    message = r"saved by padnet_hf 0\.1\.0, whose layers have other names: from 0\.2 on pad_bert keeps those"
    with pytest.raises(PADCheckpointError, match=message):
        PADBertConfig(padnet_hf_version="0.1.0")


@both
@pytest.mark.parametrize("version", ["new", ""])
def test_what_is_no_version_is_refused(config_class: type, dense: PreTrainedConfig, version: str) -> None:
    with pytest.raises(PADCheckpointError, match=f"padnet_hf_version in config.json is '{version}', but must be"):
        config_class.from_dense(dense, padnet_hf_version=version)


@both
def test_a_granularity_that_is_none_is_refused(config_class: type, dense: PreTrainedConfig) -> None:
    with pytest.raises(PADNetError, match=r"partition\['granularity'\] is 'row', but must be 'element' or 'unit'"):
        config_class.from_dense(dense, partition={"granularity": "row"})


@both
def test_another_familys_configuration_is_refused(config_class: type, dense: PreTrainedConfig, tmp_path: Path) -> None:
    dense.save_pretrained(tmp_path)
    with pytest.raises(PADNetError, match=f"'{dense.model_type}', not of '{config_class.model_type}': .*from_dense"):
        config_class.from_pretrained(tmp_path)
