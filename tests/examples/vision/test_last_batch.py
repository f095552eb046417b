import pytest
import torch
from transformers import TrainingArguments

from last_batch import check_last_batch
from padnet_hf import PADNetError
from tests.models.samples import classifier_of, small_pad


@pytest.mark.parametrize(
    ("num_images", "batch", "side", "drops", "refused"),
    [
        (9, 4, 16, False, True),
        (9, 4, 64, False, False),
        (9, 4, 16, True, False),
        (8, 4, 16, False, False),
        (10, 4, 16, False, False),
        (8, 1, 16, True, True),
        (1, 4, 16, False, True),
    ],
)
def test_a_batch_that_batch_norms_cannot_take_is_refused_before_training(
    num_images: int, batch: int, side: int, drops: bool, refused: bool, tmp_path: str
) -> None:
    model = small_pad("mobilenet_v2", classifier_of("mobilenet_v2"))
    training = TrainingArguments(
        tmp_path, per_device_train_batch_size=batch, dataloader_drop_last=drops, report_to="none", use_cpu=True
    )
    last = num_images % batch or batch
    one = torch.zeros(1, 3, side, side)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if refused:
        with pytest.raises(
            PADNetError, match=f"{num_images} training images in batches of {batch} make a batch of one"
        ):
            check_last_batch(model, training, num_images, side)
        with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
            model.train()(one)
    else:
        check_last_batch(model, training, num_images, side)
        assert last > 1 or side > 32 or drops
    model.load_state_dict(before)
    assert not any(module._forward_pre_hooks for module in model.modules() if "BatchNorm" in type(module).__name__)


def test_networks_without_batch_norms_take_any_batch(tmp_path: str) -> None:
    training = TrainingArguments(tmp_path, per_device_train_batch_size=4, report_to="none", use_cpu=True)
    check_last_batch(small_pad("vit", classifier_of("vit")), training, 9, 16)
