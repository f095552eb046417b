import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoHaConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from padnet_hf import PADNetError, register_criterion, restore_masks, sparsify_adapter
from padnet_hf.adapters.sparse import AdapterSparsity, trained_parameters
from padnet_hf.method.criteria import Scored
from tests.adapters.conftest import logits, move, train
from tests.hub.cases import make_dense

Adapt = Callable[..., PeftModel]
Data = dict[str, Tensor]
CRITERIA = ("snip", "magnitude", "random")


def lora(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if "lora_" in name}


def pruned(tensor: Tensor) -> Tensor:
    return (tensor == 0) & tensor.signbit()


def optimizers(model: torch.nn.Module) -> list[torch.optim.Optimizer]:
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        torch.optim.AdamW(trainable, lr=1e-2, weight_decay=0.1),
        torch.optim.SGD(trainable, lr=1e-2, momentum=0.9, weight_decay=0.1),
        torch.optim.Adafactor(trainable, lr=1e-2, weight_decay=0.1),
        torch.optim.Muon([p for p in trainable if p.dim() == 2], lr=1e-2),  # mixes the entries of a gradient
    ]


COPIES: dict[str, Callable[[PeftModel], PeftModel]] = {
    "itself": lambda model: model,
    "a deep copy": copy.deepcopy,
    "pickled": lambda model: pickle.loads(pickle.dumps(model)),
}


# What is kept


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("sparsity", [0, 0.5, 0.8, 0.95])
def test_in_every_tensor_exactly_the_share_is_kept(criterion: str, sparsity: float, adapt: Adapt, data: Data) -> None:
    adapted = adapt(make_dense("bert"))
    found = sparsify_adapter(adapted, [data], sparsity=sparsity, criterion=criterion)
    kept = {name: round((1 - sparsity) * p.numel()) for name, p in lora(adapted).items()}
    assert {name: int((~pruned(p)).sum()) for name, p in lora(adapted).items()} == kept
    assert found == AdapterSparsity(sum(kept.values()), sum(p.numel() for p in lora(adapted).values()))
    others = sum(p.numel() for n, p in adapted.named_parameters() if p.requires_grad and "lora_" not in n)
    assert trained_parameters(adapted) == found.kept + others


def test_over_all_tensors_together_exactly_the_share_is_kept(base: PreTrainedModel, adapt: Adapt, data: Data) -> None:
    adapted = adapt(base)
    found = sparsify_adapter(adapted, [data], sparsity=0.3, scope="global")
    assert found.kept == round(0.7 * found.total)
    shares = {round(float((~pruned(p)).float().mean()), 2) for p in lora(adapted).values()}
    assert len(shares) > 3


def test_large_sparse_trains_as_many_entries_as_a_small_rank(base: PreTrainedModel, adapt: Adapt, data: Data) -> None:
    small = adapt(base, rank=2)
    count = sum(parameter.numel() for parameter in lora(small).values())
    large = adapt(small.unload(), rank=10)
    assert sparsify_adapter(large, [data], sparsity=0.8).kept == count


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_same_seed_keeps_the_same_entries(criterion: str, adapt: Adapt, data: Data) -> None:
    masks = []
    for seed in (1, 1, 2):
        adapted = adapt(make_dense("bert"))
        sparsify_adapter(adapted, [data], criterion=criterion, seed=seed)
        masks.append(torch.cat([pruned(p).flatten() for p in lora(adapted).values()]))
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2]) == (criterion != "random")


def test_snip_keeps_what_the_loss_depends_on_after_one_step_of_b(adapt: Adapt, data: Data) -> None:
    adapted = adapt(make_dense("bert"))
    parameters = lora(adapted)
    values = {name: p.detach().clone() for name, p in parameters.items()}

    def gradients(at: dict[str, Tensor]) -> dict[str, Tensor]:
        at = {name: value.clone().requires_grad_() for name, value in at.items()}
        loss = torch.func.functional_call(adapted, at, kwargs=data).loss
        return dict(zip(at, torch.autograd.grad(loss, list(at.values())), strict=True))

    first = gradients(values)
    assert all(first[name].abs().max() == 0 for name in values if "lora_A" in name)  # why a step is needed
    size = torch.cat([v.flatten() for n, v in values.items() if "lora_A" in n]).double().square().mean().sqrt()
    steepness = torch.cat([g.flatten() for n, g in first.items() if "lora_B" in n]).double().square().mean().sqrt()
    moved = {n: v - 0.01 * float(size / steepness) * first[n] if "lora_B" in n else v for n, v in values.items()}
    second = gradients(moved)
    sparsify_adapter(adapted, [data], sparsity=0.75)
    for name, parameter in parameters.items():
        score = (moved[name] * second[name]).abs()
        kept = ~pruned(parameter)
        assert score[kept].min() >= 0.999 * score[~kept].max(), name


def test_magnitude_keeps_the_largest_entries_of_a(adapt: Adapt, data: Data) -> None:
    adapted = adapt(make_dense("bert"))
    before = {name: p.detach().clone() for name, p in lora(adapted).items()}
    sparsify_adapter(adapted, [data], criterion="magnitude")
    for name, parameter in lora(adapted).items():
        if "lora_A" in name:
            kept = ~pruned(parameter)
            assert before[name][kept].abs().min() >= before[name][~kept].abs().max()
            assert torch.equal(parameter[kept], before[name][kept])


def test_a_criterion_of_ones_own_is_taken(adapt: Adapt, data: Data) -> None:
    @register_criterion("last entries first", needs_gradients=False)
    def last(weight: Scored) -> Tensor:
        return torch.arange(weight.copies[0].numel(), dtype=torch.float32).view(weight.copies.shape[1:])

    adapted = adapt(make_dense("bert"))
    sparsify_adapter(adapted, [data], sparsity=0.5, criterion="last entries first")
    for parameter in lora(adapted).values():
        flat = pruned(parameter).flatten()
        assert flat[: len(flat) // 2].all()
        assert not flat[len(flat) // 2 :].any()


def test_nothing_else_of_the_model_changes(base: PreTrainedModel, adapt: Adapt, data: Data) -> None:
    adapted = adapt(base).train()
    before = {name: tensor.clone() for name, tensor in adapted.state_dict().items() if "lora_" not in name}
    trainable = {name: p.requires_grad for name, p in adapted.named_parameters()}
    expected, state = logits(adapted.eval(), data), torch.get_rng_state()
    sparsify_adapter(adapted.train(), [data])
    assert torch.equal(torch.get_rng_state(), state)
    assert adapted.training
    assert {name: p.requires_grad for name, p in adapted.named_parameters()} == trainable
    assert all(p.grad is None for p in adapted.parameters())
    after = adapted.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert torch.equal(logits(adapted.eval(), data), expected)  # B is still zero


def test_adapters_of_another_kind_are_pruned_too(data: Data) -> None:
    adapted = get_peft_model(make_dense("bert"), LoHaConfig(r=4, target_modules=["query"], task_type="SEQ_CLS"))
    tensors = {name: p for name, p in adapted.named_parameters() if "hada_" in name}
    found = sparsify_adapter(adapted, [data], sparsity=0.75)
    assert found == AdapterSparsity(found.total // 4, sum(p.numel() for p in tensors.values()))
    train(adapted, data, optimizers(adapted)[0])
    assert 0.9 * found.kept < sum(int((p != 0).sum()) for p in tensors.values()) <= found.kept


# What training does


@pytest.mark.parametrize("which", range(4), ids=["AdamW", "SGD", "Adafactor", "Muon"])
@pytest.mark.parametrize("made", COPIES.values(), ids=COPIES)
def test_pruned_entries_stay_zero_and_the_kept_ones_are_trained(
    which: int, made: Callable[[PeftModel], PeftModel], base: PreTrainedModel, adapt: Adapt, data: Data
) -> None:
    adapted = adapt(base)
    sparsity = sparsify_adapter(adapted, [data])
    number = trained_parameters(adapted)
    adapted = made(adapted)
    assert trained_parameters(adapted) == number >= sparsity.kept
    masks = {name: ~pruned(p) for name, p in lora(adapted).items()}
    before = {name: p.detach().clone() for name, p in lora(adapted).items()}
    train(adapted, data, optimizers(adapted)[which], steps=4)
    for name, parameter in lora(adapted).items():
        assert not parameter[~masks[name]].any(), name
        moved = (parameter != before[name])[masks[name]]
        assert moved.float().mean() > 0.9, name
    for name, tensor in adapted.state_dict().items():
        assert torch.equal(tensor, dict(adapted.named_parameters()).get(name, tensor)), name


@pytest.mark.parametrize("way", ["PeftModel", "AutoModel", "saved again"])
def test_the_mask_comes_back_from_files(
    way: str, base: PreTrainedModel, adapt: Adapt, data: Data, tmp_path: Path
) -> None:
    adapted = adapt(base)
    found = sparsify_adapter(adapted, [data])
    train(adapted, data, optimizers(adapted)[0], steps=1)
    expected = logits(adapted, data)
    adapted.save_pretrained(tmp_path / "adapter")
    folder, load = tmp_path / "adapter", AutoModelForSequenceClassification.from_pretrained
    if way == "saved again":  # by stock PEFT, which knows nothing of the mask
        PeftModel.from_pretrained(load(base.name_or_path), folder).save_pretrained(tmp_path / "again")
        folder = tmp_path / "again"
    if way == "AutoModel":
        loaded = load(base.name_or_path)
        loaded.load_adapter(str(folder), is_trainable=True)
    else:
        loaded = PeftModel.from_pretrained(load(base.name_or_path), folder, is_trainable=True)
    assert torch.equal(logits(loaded.eval(), data), expected)
    assert restore_masks(loaded) == found
    masks = [~pruned(p) for p in lora(loaded).values()]
    assert sum(int(mask.sum()) for mask in masks) == found.kept
    train(loaded, data, optimizers(loaded)[0])
    for parameter, mask in zip(lora(loaded).values(), masks, strict=True):
        assert not parameter[~mask].any()


def test_saved_before_training_kept_zeros_are_not_taken_for_pruned(adapt: Adapt, data: Data, tmp_path: Path) -> None:
    adapted = adapt(make_dense("bert"))
    found = sparsify_adapter(adapted, [data])
    adapted.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make_dense("bert"), tmp_path, is_trainable=True)
    assert restore_masks(loaded) == found


def test_training_goes_on_as_if_it_had_not_been_interrupted(
    base: PreTrainedModel, adapt: Adapt, data: Data, tmp_path: Path
) -> None:
    adapted = adapt(base)
    sparsify_adapter(adapted, [data])
    for module in adapted.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    base.config.router_noise = False
    adapted.save_pretrained(tmp_path)
    stock = AutoModelForSequenceClassification.from_pretrained(base.name_or_path)
    loaded = PeftModel.from_pretrained(stock, tmp_path, is_trainable=True)
    restore_masks(loaded)
    for model in (adapted, loaded):
        optimizer = optimizers(model)[1]
        model.eval()
        for _ in range(2):
            model(**data).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(logits(loaded, data), logits(adapted, data), rtol=0, atol=1e-6)


def test_a_sparse_adapter_merges(base: PreTrainedModel, adapt: Adapt, data: Data) -> None:
    adapted = adapt(base)
    sparsify_adapter(adapted, [data])
    move(adapted)
    expected = logits(adapted, data)
    merged = adapted.merge_and_unload()
    assert (expected - logits(AutoModelForSequenceClassification.from_pretrained(base.name_or_path).eval(), data)).any()
    torch.testing.assert_close(logits(merged, data), expected, rtol=0, atol=1e-6)


# Mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 1}, "sparsity is 1, but is a share to prune: give a number from 0 up to but not 1"),
        ({"sparsity": -0.1}, "sparsity is -0.1"),
        ({"sparsity": "0.5"}, "sparsity is '0.5'"),
        ({"criterion": "size"}, "criterion is 'size', but must be one of 'snip', 'magnitude', 'random'"),
        ({"scope": "model"}, "scope is 'model', but must be one of 'layer', 'global'"),
        ({"adapter": "mine"}, "no adapter 'mine'"),
        ({"sparsity": 0.999}, "nothing would be kept of a tensor of 256 entries"),
        ({"criterion": "magnitude", "scope": "global"}, "nothing would be kept"),
    ],
)
def test_values_that_cannot_be_are_refused_and_nothing_changes(
    options: dict[str, object], message: str, adapt: Adapt, data: Data
) -> None:
    adapted = adapt(make_dense("bert"))
    before = {name: p.detach().clone() for name, p in lora(adapted).items()}
    with pytest.raises(PADNetError, match=message):
        sparsify_adapter(adapted, [data], **options)
    assert all(torch.equal(p, before[name]) for name, p in lora(adapted).items())


@pytest.mark.parametrize("criterion", ["snip", "magnitude"])
def test_without_batches_only_random_can_choose(criterion: str, adapt: Adapt) -> None:
    adapted = adapt(make_dense("bert"))
    with pytest.raises(PADNetError, match="needs at least 1 batch"):
        sparsify_adapter(adapted, criterion=criterion)
    sparsify_adapter(adapted, criterion="random")


def test_models_without_a_fresh_adapter_are_refused(adapt: Adapt, data: Data, tmp_path: Path) -> None:
    with pytest.raises(PADNetError, match=r"no adapter 'default' of PEFT's: make one first"):
        sparsify_adapter(make_dense("bert"), [data])
    adapted = adapt(make_dense("bert"))
    with pytest.raises(PADNetError, match="is not sparse: there is nothing to restore"):
        restore_masks(adapted)
    sparsify_adapter(adapted, [data])
    with pytest.raises(PADNetError, match="is sparse already"):
        sparsify_adapter(adapted, [data])
    adapted.save_pretrained(tmp_path)
    with pytest.raises(PADNetError, match="is not trainable: load it with is_trainable=True"):
        restore_masks(PeftModel.from_pretrained(make_dense("bert"), tmp_path))
