"""What people do to any module they do to a PAD model: every family, fully dynamic and partitioned."""

import copy
import gc
import io
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from padnet_hf import PADNetError, PartitionConfig, partition
from padnet_hf.method.built import BUILT
from padnet_hf.method.layer import pad_weights
from padnet_hf.models.known import KNOWN
from padnet_hf.models.pad_model import PADModelMixin
from padnet_hf.transformers_seams import CHECKPOINTING
from tests.forked import forks as forks  # the fixture
from tests.forked import run_group
from tests.models.samples import (
    UPCYCLED,
    classifier_of,
    family_of,
    inputs_of,
    labels_of,
    set_apart,
    small_dense,
    small_pad,
)

every_family = pytest.mark.parametrize("dense", KNOWN)
every_form = pytest.mark.parametrize("form", ["fully dynamic", "element", "unit"])

Change = Callable[[PADModelMixin], nn.Module]


def _model(dense: str, form: str, seed: int = 0) -> PADModelMixin:
    """A classifier in evaluation mode, in this form, with copies and scale factors apart as after training."""
    model = small_pad(dense, classifier_of(dense), seed=seed)
    if form != "fully dynamic":
        partition(model, None, PartitionConfig(criterion="random", granularity=form, seed=seed), progress=False)
    return set_apart(model)


def _labelled(model: nn.Module) -> dict[str, Tensor]:
    inputs = inputs_of(model)
    return inputs | labels_of(model, inputs)


def _gradients(model: PADModelMixin) -> dict[str, Tensor]:
    """Of the loss, in evaluation mode; nothing is left in the model."""
    model(**_labelled(model)).loss.backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def _trained(model: PADModelMixin) -> PADModelMixin:
    """After one step of a fused optimizer, in evaluation mode; what dropout draws is always the same."""
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    model.train()(**_labelled(model)).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return model.eval()


@torch.no_grad()
def _logits(model: nn.Module) -> Tensor:
    return model(**inputs_of(model)).logits


def _assert_close(found: Tensor, expected: Tensor) -> None:
    """Equal but for rounding, which depends on where in memory tensors lie; logits of images are large."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * max(0.01, float(expected.abs().max())))


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# What gives the same model


def _pickled(model: PADModelMixin) -> nn.Module:
    return pickle.loads(pickle.dumps(model))


def _saved_whole(model: PADModelMixin) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def _channels_last(model: PADModelMixin) -> nn.Module:
    return model.to(memory_format=torch.channels_last)


def _cast_and_back(model: PADModelMixin) -> nn.Module:
    return model.double().float()


def _averaged(model: PADModelMixin) -> nn.Module:
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9999))
    for _ in range(3):
        average.update_parameters(model)
    return average.module


def _averaged_as_by_timm(model: PADModelMixin) -> nn.Module:
    average = copy.deepcopy(model)
    for decay in (0.9, 0.9998, 0.9999):
        with torch.no_grad():
            for old, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
                old.copy_(decay * old + (1 - decay) * new)
    return average


def _built_from_its_configuration(model: PADModelMixin) -> nn.Module:
    fresh = type(model)(model.config)
    fresh.load_state_dict(model.state_dict())
    return fresh.eval()


SAME: dict[str, Change] = {
    "deepcopy": copy.deepcopy,
    "pickle": _pickled,
    "torch.save": _saved_whole,
    "channels_last": _channels_last,
    "double and back": _cast_and_back,
    "EMA": _averaged,
    "timm's EMA": _averaged_as_by_timm,
    "built from its configuration": _built_from_its_configuration,
}


@every_family
@every_form
@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_the_same_model_comes_out(dense: str, form: str, change: Change, tmp_path: Path) -> None:
    for model in (_model(dense, form), _trained(_model(dense, form))):
        expected, record = _logits(model), copy.deepcopy(model.config.partition)
        changed = change(model)
        _assert_close(_logits(changed), expected)
        assert changed.config.partition == record
        changed.save_pretrained(tmp_path)
        loaded = type(model).from_pretrained(tmp_path)
        _assert_close(_logits(loaded), expected)
        assert loaded.config.partition == record
        _trained(changed)


@every_family
@every_form
@pytest.mark.parametrize("into", ["fully dynamic", "element", "unit"])
def test_a_state_dict_brings_its_form_along(dense: str, form: str, into: str, tmp_path: Path) -> None:
    model, other = _model(dense, form), _model(dense, into, seed=1)
    other.load_state_dict(model.state_dict())
    _assert_close(_logits(other), _logits(model))
    assert other.config.dynamic_counts == model.config.dynamic_counts
    assert other.is_partitioned == model.is_partitioned
    other.save_pretrained(tmp_path)
    _assert_close(_logits(type(model).from_pretrained(tmp_path)), _logits(model))


@every_family
def test_a_new_model_claims_no_other_models_partition(dense: str) -> None:
    model = _model(dense, "element")
    record = dict(model.config.partition)
    new = type(model)(model.config)
    assert new.config.partition == {"granularity": "element"}
    assert new.config.dynamic_counts == model.config.dynamic_counts
    assert model.config.partition == record
    new.load_state_dict(new.state_dict())
    assert new.config.partition.keys() == {"granularity", "mask_hash", "padnet_hf_version"}
    assert new.config.partition["mask_hash"] != record["mask_hash"]


@every_family
def test_masks_that_were_written_to_are_not_saved(dense: str, tmp_path: Path) -> None:
    model = _model(dense, "element")
    next(weight for weight in pad_weights(model).values() if weight.phi is not None).mask_bits[0] ^= 3
    with pytest.raises(PADNetError, match=r"something has written to the mask|have the hash"):
        model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


# What comes before or around training


@every_family
@every_form
def test_training_after_an_evaluation_in_inference_mode_is_the_same(dense: str, form: str) -> None:
    model, twin = _model(dense, form), _model(dense, form)
    with torch.inference_mode():
        model(**inputs_of(model))
    assert _same(_gradients(model), _gradients(twin))


@every_family
@every_form
@pytest.mark.parametrize("cache", [None, True])
def test_kept_built_weights_follow_a_fused_optimizer_and_are_let_go(dense: str, form: str, cache: bool | None) -> None:
    model, twin = _model(dense, form).eval(), _model(dense, form).eval()
    model.cache_built_weights(cache)
    twin.cache_built_weights(False)
    for _ in range(2):
        for _ in range(3):  # built, kept, taken from what is kept
            _assert_close(_logits(model), _logits(twin))
        _trained(model)
        assert not any(BUILT.keeps(weight.values) for weight in pad_weights(model).values())
        _trained(twin)


@every_family
@every_form
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointing_changes_no_gradient(dense: str, form: str, use_reentrant: bool) -> None:
    model = _model(dense, form)
    if not model.supports_gradient_checkpointing:
        with pytest.raises(ValueError, match="does not support"):
            getattr(model, f"{CHECKPOINTING}_enable")({"use_reentrant": use_reentrant})
        return
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # or the second pass would move its statistics again
    expected = _gradients(model.train())
    getattr(model, f"{CHECKPOINTING}_enable")({"use_reentrant": use_reentrant})
    found = _gradients(model)
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6)


def test_checkpointing_that_would_lose_the_balance_loss_is_refused() -> None:
    model = _model("bert", "unit").train()
    layer = model.bert.encoder.layer[0].forward

    def checkpointed(*args: Tensor, **options: object) -> Tensor:
        return checkpoint(partial(layer, **options), *args, use_reentrant=True)

    model.bert.encoder.layer[0].forward = checkpointed
    with pytest.raises(PADNetError, match=r"without gradients while the model is trained.*use_reentrant=False"):
        model(**_labelled(model))
    model.config.balance_loss_coef = 0
    model(**_labelled(model)).loss.backward()


@every_family
@every_form
def test_everything_trained_gets_a_gradient(dense: str, form: str) -> None:
    models = [_model(dense, form)]
    if form != "fully dynamic":
        static = small_pad(dense, classifier_of(dense))
        partition(static, None, PartitionConfig(dynamic_ratio=0, granularity=form), progress=False)
        static.load_state_dict(copy.deepcopy(static.state_dict()))
        models.append(static)
    for model in models:
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        found = _gradients(model.train())
        assert {name for name in trained - found.keys() if ".router." in name or ".attention.s" in name} == set()


# Where its tensors lie


def _on_disk(model: PADModelMixin, folder: Path) -> nn.Module:
    disk_offload(model, folder, execution_device=torch.device("cpu"))
    return model


def _on_cpu(model: PADModelMixin, folder: Path) -> nn.Module:
    cpu_offload(model, execution_device=torch.device("cpu"))
    return model


def _mapped(model: PADModelMixin, folder: Path) -> nn.Module:
    own = [name for name, _ in model.base_model.named_children()]
    prefix = f"{model.base_model_prefix}." if model.base_model is not model else ""
    heads = [name for name, _ in model.named_children() if name != model.base_model_prefix]
    device_map = {f"{prefix}{name}": "disk" for name in own} | dict.fromkeys(heads, "cpu")
    return dispatch_model(model, device_map, main_device="cpu", offload_dir=folder, force_hooks=True)


@every_family
@every_form
@pytest.mark.parametrize("offload", [_on_disk, _on_cpu, _mapped])
def test_offloaded_tensors_are_brought_back_where_they_are_used(
    dense: str, form: str, offload: Callable[[PADModelMixin, Path], nn.Module], tmp_path: Path
) -> None:
    if dense == "deberta-v2":  # a buffer of transformers' own layer stays on the meta device
        stock = small_dense(dense, classifier_of(dense))
        offload(stock, tmp_path)
        with pytest.raises(NotImplementedError, match="meta tensor"):
            _logits(stock)
        return
    model = _model(dense, form)
    expected = _logits(model)
    offloaded = offload(model, tmp_path)
    assert any(parameter.is_meta for parameter in offloaded.parameters())
    for _ in range(2):
        _assert_close(_logits(offloaded), expected)


@every_family
@every_form
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_close(dense: str, form: str, dtype: torch.dtype) -> None:
    model = _model(dense, form)
    inputs = inputs_of(model)
    expected = _logits(model)
    half = model.to(dtype)
    assert {tensor.dtype for tensor in half.parameters()} == {dtype}
    inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    with torch.no_grad():
        found = half(**inputs).logits.float()
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1 * float(expected.abs().max()) + 0.05)


@every_family
def test_a_variant_is_saved_beside_the_usual_weights(dense: str, tmp_path: Path) -> None:
    model = _model(dense, "unit")
    expected = _logits(model)
    model.save_pretrained(tmp_path)
    copy.deepcopy(model).half().save_pretrained(tmp_path, variant="fp16")
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {"model.safetensors", "model.fp16.safetensors"}
    _assert_close(_logits(type(model).from_pretrained(tmp_path, dtype=torch.float32)), expected)
    half = type(model).from_pretrained(tmp_path, variant="fp16")
    assert half.dtype == torch.float16


# Options changed at loading


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("dense", UPCYCLED)
def test_noise_of_routers_may_be_switched_at_loading(dense: str, noise: bool, tmp_path: Path) -> None:
    model = small_pad(dense, classifier_of(dense), router_noise=noise)
    partition(model, None, PartitionConfig(criterion="random"), progress=False)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path, router_noise=not noise)
    _assert_close(_logits(loaded), _logits(model))
    added = {name for name, _ in loaded.named_parameters()} ^ {name for name, _ in model.named_parameters()}
    assert added
    assert all(name.endswith("router.noise_weight") for name in added)
    for name in added & dict(loaded.named_parameters()).keys():
        assert not loaded.get_parameter(name).any()


@every_family
def test_options_that_do_not_fit_the_weights_are_named(dense: str, tmp_path: Path) -> None:
    model = _model(dense, "element")
    model.save_pretrained(tmp_path)
    name = f"num_{family_of(dense).copies}"
    name = model.config.attribute_map.get(name, name)
    message = rf"{name} is 2, but was {getattr(model.config, name)} when it was saved: load it without the change"
    with pytest.raises(PADNetError, match=message):
        type(model).from_pretrained(tmp_path, **{name: 2})


# On several processes


def _two_steps_under_ddp(dense: str, ratio: float) -> None:
    """Plain DDP fails in the second step if a parameter of the first had no gradient."""
    model = small_pad(dense, classifier_of(dense)).train()
    config = PartitionConfig(dynamic_ratio=ratio, criterion="random", granularity="unit")
    partition(model, None, config, progress=False)
    for name, parameter in model.named_parameters():
        if any(part in name for part in ("pooler", "mask_token", "position_embeddings")):
            parameter.requires_grad_(False)  # of stock models, where the head uses none
    wrapped = nn.parallel.DistributedDataParallel(model)
    for _ in range(2):
        wrapped(**_labelled(model)).loss.backward()


def _train_under_ddp() -> None:
    torch.distributed.init_process_group("gloo")
    for dense in KNOWN:
        for ratio in (0.0, 0.5):
            _two_steps_under_ddp(dense, ratio)
    gc.collect()  # DDP's reducer has to be gone before its process group is
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_plain_ddp_takes_it_also_with_nothing_dynamic(forks: object, tmp_path: Path) -> None:
    run_group(forks, tmp_path, 2, _train_under_ddp)
