"""What the Trainer refuses is one error before the partition, and trying it out leaves no trace."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerCallback

from padnet_hf import PADNetError, PartitionConfig
from padnet_hf.jobs.rehearsal import ready, rehearse
from padnet_hf.jobs.trainer_steps import train
from tests.jobs.library import in_a_library
from tests.training.conftest import make_trainer as make_trainer  # the fixture
from tests.training.conftest import small_bert

Make = Callable[..., Trainer]
CONFIG = PartitionConfig(num_rounds=1)

AT_THE_START = {
    "optim": ({"optim": "galore_adamw"}, "You need to install `galore_torch`"),
    "schedule": ({"lr_scheduler_type": "cosine_with_min_lr"}, "One of min_lr or min_lr_rate should be set"),
    "schedule's own": ({"lr_scheduler_kwargs": {"foo": 1}}, "TypeError: .*unexpected keyword argument 'foo'"),
    "betas": ({"adam_beta1": 2.0}, "Invalid beta parameter"),
    "workers": ({"dataloader_num_workers": -1}, "num_workers option should be non-negative"),
    "kernels": ({"use_liger_kernel": True}, "liger-kernel .* is not available"),
    "checkpointing": (
        {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"foo": 1}},
        "unexpected keyword argument.*foo",
    ),
    "no batch": (
        {"dataloader_drop_last": True, "per_device_train_batch_size": 64},
        "--dataloader_drop_last leaves no batch: .*--per_device_train_batch_size 64",
    ),
}
WHEN_BUILT = {
    "reports": ({"report_to": ["tensorboard"]}, "TensorBoardCallback requires tensorboard"),
    "Hub": ({"push_to_hub": True}, "offline mode is enabled"),
    "best": ({"save_strategy": "best"}, "`args.metric_for_best_model` must be provided"),
}


@pytest.mark.parametrize("case", AT_THE_START | WHEN_BUILT)
def test_what_the_trainer_refuses_is_one_error_before_the_partition(make_trainer: Make, case: str) -> None:
    options, message = (AT_THE_START | WHEN_BUILT)[case]
    model = small_bert()
    with pytest.raises(PADNetError, match=message) as caught:
        ready(lambda: make_trainer(model, do_train=True, **options), CONFIG)
    assert not model.is_partitioned
    assert "\n" not in str(caught.value)


def test_nothing_is_tried_where_nothing_is_trained(make_trainer: Make) -> None:
    trainer = ready(lambda: make_trainer(small_bert(), do_train=False, optim="galore_adamw"), CONFIG)
    assert trainer.model.is_partitioned


@pytest.mark.parametrize("options", [{}, {"neftune_noise_alpha": 5.0}, {"bf16": True}, {"skip_memory_metrics": False}])
def test_a_training_that_was_tried_before_is_the_same(make_trainer: Make, options: dict) -> None:
    def weights(rehearses: bool) -> dict[str, torch.Tensor]:
        trainer = make_trainer(small_bert(), **options)
        if rehearses:
            before = torch.get_rng_state()
            rehearse(trainer)
            assert torch.equal(torch.get_rng_state(), before)
            assert (trainer.optimizer, trainer.lr_scheduler, trainer.is_in_train) == (None, None, False)
            assert trainer.model_wrapped is trainer.model
        trainer.train()
        return trainer.model.state_dict()

    expected = weights(False)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(True).items())


def test_trying_takes_no_memory_for_a_second_model(make_trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(small_bert())
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    tried: list[torch.nn.Module] = []
    create = Trainer.create_optimizer

    def noted(self: Trainer, *args: Any) -> Any:
        tried.append(self.model)
        return create(self, *args)

    monkeypatch.setattr(Trainer, "create_optimizer", noted)
    rehearse(trainer)
    (double,) = tried
    own, theirs = (
        dict([*model.named_parameters(remove_duplicate=False), *model.named_buffers()])
        for model in (trainer.model, double)
    )
    assert own.keys() == theirs.keys()
    for name, tensor in own.items():
        assert theirs[name].data_ptr() == tensor.data_ptr()
        assert theirs[name] is not tensor  # what is hung on it, or put in its place, is of the double alone
        assert theirs[name].requires_grad == tensor.requires_grad
    assert (double.config is not trainer.model.config, double.training) == (True, True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.model.state_dict().items())
    assert all(parameter.grad is None for parameter in trainer.model.parameters())


def test_a_mistake_in_the_building_code_keeps_its_traceback(make_trainer: Make) -> None:
    with pytest.raises(TypeError, match="modle"):
        ready(lambda: make_trainer(modle=small_bert()), CONFIG)


class Raising(TrainerCallback):
    """Raises what a library might, at this event."""

    def __init__(self, event: str) -> None:
        setattr(self, event, self.fail)

    def fail(self, *args: Any, **kwargs: Any) -> None:
        in_a_library("def run(): raise OSError('no space left')")()


def test_what_is_refused_at_the_start_is_one_error_what_fails_later_keeps_its_traceback(make_trainer: Make) -> None:
    with pytest.raises(PADNetError, match="the Trainer refuses these options: no space left"):
        train(make_trainer(small_bert(), callbacks=[Raising("on_train_begin")]), None)
    for event in ("on_step_begin", "on_step_end", "on_train_end"):
        with pytest.raises(OSError, match=r"^no space left$"):
            train(make_trainer(small_bert(), callbacks=[Raising(event)]), None)
