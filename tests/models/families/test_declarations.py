"""What a family declares, what is refused, and a family of a user's own."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig, BertModel, GPT2Config

import padnet_hf
from padnet_hf import FeedForward, PADNetError, PartitionConfig, make_dynamic, partition, register_family
from padnet_hf.method.layer import pad_weights
from padnet_hf.models.known import KNOWN, module_of
from padnet_hf.models.moe_config import PADMoEConfig
from padnet_hf.models.moe_model import PADMoEMixin
from padnet_hf.models.registry import families, family_of, has_family, known_types, pad_class_for
from padnet_hf.models.upcycle import dense_sources
from tests.models.samples import (
    CLASSIFYING,
    FIELDS,
    MODELS,
    UPCYCLED,
    inputs_of,
    outputs_of,
    pad_class,
    small_config,
    small_dense,
    small_pad,
)

ROOT = Path(padnet_hf.__file__).parent

every_family = pytest.mark.parametrize("dense", KNOWN)


@every_family
def test_a_family_is_one_small_file(dense: str) -> None:
    path = ROOT.parent / f"{module_of(dense).replace('.', '/')}.py"
    assert len(path.read_text().splitlines()) <= 60


@every_family
def test_every_class_is_public_and_registered_with_its_auto_class(dense: str) -> None:
    family = family_of(dense)
    assert family.model_type == f"pad_{dense}"
    assert AutoConfig.for_model(family.model_type).__class__ is family
    for auto_class, model in family.models.items():
        assert getattr(padnet_hf, model.__name__) is model
        assert type(getattr(transformers, auto_class).from_config(small_config(dense, auto_class))) is model
        assert model.config_class is family
    assert family.processing_class in ("AutoTokenizer", "AutoImageProcessor")


@every_family
def test_a_dense_model_becomes_its_counterpart(dense: str) -> None:
    family = family_of(dense)
    for model in family.models.values():
        assert pad_class_for(family.dense_class(architectures=[model.dense_class.__name__])) is model
    assert pad_class_for(family.dense_class(architectures=None)) is family.models["AutoModel"]
    if dense not in CLASSIFYING:
        with pytest.raises(PADNetError, match=f"transformers has no classifier of type {dense!r}"):
            pad_class_for(family.dense_class(), classifier=True)
        return
    classifier = pad_class_for(family.dense_class(architectures=None), classifier=True)
    assert classifier.__name__.endswith("Classification")


def test_all_are_listed_and_others_refused_with_the_list() -> None:
    assert set(KNOWN) <= set(families())
    assert known_types() == sorted(families())
    assert not has_family("gpt2")
    with pytest.raises(
        PADNetError, match=r"type 'gpt2' has no PAD model; dense models of type 'albert', 'bert', .*fam"
    ):
        pad_class_for(GPT2Config())


@every_family
def test_a_checkpoint_of_one_family_is_not_loaded_as_another(dense: str, tmp_path: Path) -> None:
    other = "roberta" if dense == "bert" else "bert"
    small_config(dense).save_pretrained(tmp_path)
    with pytest.raises(PADNetError, match=rf"checkpoint of model type 'pad_{dense}', not of 'pad_{other}'"):
        family_of(other).from_pretrained(tmp_path)
    with pytest.raises(PADNetError, match=rf"takes a checkpoint of model type '{other}', but this .* type '{dense}'"):
        pad_class(other, "AutoModel").from_dense(small_dense(dense, "AutoModel"))


@pytest.mark.parametrize("dense", UPCYCLED)
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_experts": 0}, "num_experts is 0, but must be at least 1"),
        ({"num_experts_per_tok": 5}, "num_experts_per_tok is 5, but must be from 1 to num_experts, which is 4"),
        ({"router_init_std": -0.1}, "router_init_std is -0.1, but must be 0 or larger"),
        ({"expert_dropout": 1.0}, "expert_dropout is 1.0, but must be from 0 to below 1"),
        ({"partition": {"granularity": "row"}}, r"partition\['granularity'\] is 'row'"),
        ({"moe_layers": [0, 2]}, r"moe_layers is \[0, 2\].*(numbers from 0 to 1|leave moe_layers out)"),
        ({"moe_layers": [-1]}, r"moe_layers is \[-1\]"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_range(dense: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        small_config(dense, **fields)


def test_layers_that_are_one_cannot_be_chosen() -> None:
    with pytest.raises(PADNetError, match=r"moe_layers is \[0\], but the layers of 'albert' share their weights"):
        small_config("albert", moe_layers=[0])


@pytest.mark.parametrize("dense", [dense for dense in KNOWN if hasattr(family_of(dense)(), "is_decoder")])
def test_a_decoder_is_refused(dense: str) -> None:
    with pytest.raises(PADNetError, match=r"is_decoder is True, but must be False: .* is an encoder"):
        small_config(dense, is_decoder=True)


@every_family
def test_fields_survive_the_way_from_dense_and_back(dense: str) -> None:
    family = family_of(dense)
    stock = family.dense_class(**FIELDS[dense] if dense != "resnet" else {}, num_labels=5)
    config = family.from_dense(stock)
    assert config.num_labels == 5
    back = config.to_dense()
    assert type(back) is family.dense_class
    assert not {key for key, value in back.to_dict().items() if stock.to_dict().get(key) != value}
    with pytest.raises(PADNetError, match=rf"{family.__name__} has no field 'nonsense'; its fields are those of"):
        family.from_dense(stock, nonsense=1)


@every_family
def test_plans_name_modules_that_are_there(dense: str) -> None:
    config = small_config(dense)
    names = {re.sub(r"\.\d+(?=\.|$)", ".*", name) for name, _ in pad_class(dense, "AutoModel")(config).named_modules()}
    for plan in (config.base_model_tp_plan, getattr(config, "base_model_ep_plan", None)):
        assert set(plan or {}) <= names


# Declarations that do not fit


SEAM = family_of("bert").seam


@pytest.mark.parametrize(
    ("seam", "message"),
    [
        (
            replace(SEAM, layers="encoder.layers.*"),
            r"path 'encoder\.layers\.\*' matches no module of BertModel; .*called",
        ),
        (replace(SEAM, up="intermediate.linear"), r"expects an nn\.Linear at encoder\.layer\.0\.intermediate\.linear"),
        (replace(SEAM, down="output.LayerNorm"), r"at encoder\.layer\.0\.output\.LayerNorm, but it is a LayerNorm"),
        (replace(SEAM, down="attention.output.dense"), r"intermediate\.dense is 24 x 16 and .* 16 x 16"),
        (replace(SEAM, gate="intermediate.dense"), r"a gated network with this down projection .* of 48 x 16"),
    ],
    ids=["no match", "no such module", "no linear", "other sizes", "gated"],
)
def test_a_declaration_that_does_not_fit_says_what_is_there(seam: FeedForward, message: str) -> None:
    with pytest.raises(PADNetError, match=message):
        seam.find(BertModel(small_config("bert").to_dense()))


def test_networks_of_different_sizes_are_refused() -> None:
    model = BertModel(small_config("bert").to_dense())
    model.encoder.layer[1].intermediate.dense = nn.Linear(16, 40)
    model.encoder.layer[1].output.dense = nn.Linear(40, 16)
    with pytest.raises(PADNetError, match=r"networks of different sizes, encoder\.layer\.0 of \(24, 16, True\) and"):
        SEAM.find(model)


def test_biases_in_one_projection_alone_are_refused() -> None:
    model = BertModel(small_config("bert").to_dense())
    model.encoder.layer[0].output.dense = nn.Linear(24, 16, bias=False)
    with pytest.raises(PADNetError, match=r"only intermediate\.dense has a bias, but experts have biases in all"):
        SEAM.find(model)


def test_gated_networks_with_biases_work_as_those_without() -> None:
    stock = small_dense("modernbert", "AutoModel", mlp_bias=True)
    model = pad_class("modernbert", "AutoModel").from_dense(stock, num_experts=4)
    assert "layers.0.mlp.experts.gate_up_proj_bias.dynamic" in model.state_dict()
    with torch.no_grad():
        for one, other in zip(
            outputs_of(stock, **inputs_of(stock)), outputs_of(model, **inputs_of(model)), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


# Families and modules of a user's own


def test_a_family_without_a_bare_model_or_with_other_names_is_refused() -> None:
    class PADOwnConfig(PADMoEConfig, BertConfig):
        model_type, dense_class, seam = "pad_own", BertConfig, SEAM

    class PADOwnForNothing(PADMoEMixin, BertModel):
        pass

    for classes in ({}, {"PADOwnForNothing": PADOwnForNothing}):
        with pytest.raises(PADNetError, match=r"family of PADOwnConfig has the classes .*, but needs PADOwnModel"):
            register_family(PADOwnConfig, classes)


def test_projections_the_wrong_way_round_are_seen_when_the_family_is_registered() -> None:
    class PADOwnConfig(PADMoEConfig, BertConfig):
        model_type, dense_class = "pad_own", type("OwnConfig", (BertConfig,), {"model_type": "own"})
        seam = replace(SEAM, up="output.dense", down="intermediate.dense", activation="output.dropout")

    class PADOwnModel(PADMoEMixin, BertModel):
        pass

    with pytest.raises(PADNetError, match=r"of hidden size 3072 stands where values of size 768 come in.*way round"):
        register_family(PADOwnConfig, {"PADOwnModel": PADOwnModel})


@pytest.mark.parametrize("training", [True, False])
def test_convolutions_of_any_module_become_dynamic_in_place(training: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2, bias=False)).double()
    model.train(training)
    images = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    expected = model(images)
    assert make_dynamic(model, ["2"], num_kernels=3) is model
    assert [type(module).__name__ for module in model] == ["Conv2d", "ReLU", "PADDynamicConv2d"]
    torch.testing.assert_close(model(images), expected)
    assert model[2].training is training
    with pytest.raises(PADNetError, match=r"no convolution is called 'layer\.\*', which is to become dynamic .* 0"):
        make_dynamic(model, ["layer.*"])


@every_family
def test_new_models_start_as_stock_models_do(dense: str) -> None:
    """Every copy by itself has the spread that the stock model's weight has."""
    sizes = {"hidden_size": 64, "intermediate_size": 96} if "hidden_size" in FIELDS[dense] else {}
    torch.manual_seed(0)
    family = family_of(dense)
    model = family.models["AutoModel"](small_config(dense, **sizes))
    stock = family.models["AutoModel"].dense_class(small_config(dense, **sizes).to_dense())
    sources, values = dense_sources(model, family.seam), stock.state_dict()
    for name, weight in pad_weights(model).items():
        found = torch.cat([values[source] for source in sources[name]])
        if weight.shape.numel() < 1000:
            continue
        assert not torch.equal(weight.dynamic[0], weight.dynamic[1])
        for copy in weight.dynamic:
            assert copy.std().item() == pytest.approx(found.std().item(), rel=0.15), name


@pytest.mark.parametrize(("dense", "auto_class"), MODELS[:1])
def test_auto_classes_load_ours_by_name(dense: str, auto_class: str, tmp_path: Path) -> None:
    small_pad("roberta", "AutoModelForSequenceClassification").save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(loaded).__name__ == "PADRobertaForSequenceClassification"


@pytest.mark.parametrize("granularity", ["element", "unit"])
@pytest.mark.parametrize(("values", "spread"), [("fresh", 1.0), ("mean", 0.5)])
def test_static_values_of_a_new_model_are_spread_as_dense_ones_are_if_asked_for(
    granularity: str, values: str, spread: float, tmp_path: Path
) -> None:
    """The mean of four copies drawn apart has half of their deviation."""
    model = small_new("llama")
    drawn = {name: weight.dynamic.detach().clone() for name, weight in pad_weights(model).items()}
    config = PartitionConfig(criterion="random", granularity=granularity, static_values=values)
    partition(model, None, config, progress=False)
    assert model.config.partition["static_values"] == values
    for name, weight in pad_weights(model).items():
        if len(weight.shape) > 1:
            expected = spread * drawn[name].std().item()
            assert weight.static.std().item() == pytest.approx(expected, rel=0.1), name
            assert weight.dynamic.std().item() == pytest.approx(drawn[name].std().item(), rel=0.1)
    model.save_pretrained(tmp_path)
    assert type(model).from_pretrained(tmp_path).config.partition["static_values"] == values


def small_new(dense: str) -> Any:
    """A bare model as it is initialised, of four copies drawn apart."""
    torch.manual_seed(0)
    return pad_class(dense, "AutoModel")(small_config(dense, hidden_size=64, intermediate_size=96, num_hidden_layers=1))


@every_family
def test_work_is_counted_though_a_trainer_has_switched_the_cache_off(dense: str) -> None:
    model = small_pad(dense, "AutoModel")
    expected = model.partition_report().current.multiply_adds
    assert expected > 0
    model.config.use_cache = False
    assert model.partition_report().current.multiply_adds == expected
