import pytest
import torch
import torch.nn.functional as F
from transformers.trainer_pt_utils import LabelSmoother

from augmentation import Augmentation, cross_entropy


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(64, 3, 8, 8), torch.randint(5, (64,))


def test_without_any_augmentation_images_stay_and_labels_are_whole(batch) -> None:
    images, labels = batch
    pixels, shares = Augmentation(5)(images, labels)
    assert torch.equal(pixels, images)
    assert torch.equal(shares, F.one_hot(labels, 5).float())


def test_a_crop_is_a_shift_filled_with_zeros(batch) -> None:
    images, labels = batch
    pixels, _ = Augmentation(5, padding=2)(images, labels)
    padded = F.pad(images, (2, 2, 2, 2))
    shifts = {}
    for number in range(64):
        for row in range(5):
            for column in range(5):
                if torch.equal(pixels[number], padded[number, :, row : row + 8, column : column + 8]):
                    shifts[number] = (row, column)
    assert len(shifts) == 64
    assert len(set(shifts.values())) > 10


def test_a_flip_mirrors_about_half_of_the_images(batch) -> None:
    images, labels = batch
    pixels, _ = Augmentation(5, flip=True)(images, labels)
    mirrored = [torch.equal(after, before.flip(-1)) for after, before in zip(pixels, images, strict=True)]
    kept = [torch.equal(after, before) for after, before in zip(pixels, images, strict=True)]
    assert sum(mirrored) + sum(kept) == 64
    assert 16 < sum(mirrored) < 48


def test_mixup_mixes_images_and_labels_by_the_same_share(batch) -> None:
    _, labels = batch
    images = F.one_hot(labels, 5).float()[:, :, None, None].expand(64, 5, 8, 8)  # an image shows its label
    pixels, shares = Augmentation(5, mixup_alpha=0.8)(images, labels)
    torch.testing.assert_close(pixels.mean((2, 3)), shares)
    torch.testing.assert_close(shares.sum(1), torch.ones(64))
    assert (shares.max(1).values < 1).any()


def test_the_loss_of_smoothed_labels_is_the_trainers(batch) -> None:
    images, labels = batch
    logits = torch.randn(64, 5)
    _, shares = Augmentation(5, label_smoothing=0.1)(images, labels)
    expected = LabelSmoother(epsilon=0.1)({"logits": logits}, labels)
    torch.testing.assert_close(cross_entropy({"logits": logits}, shares), expected)


def test_the_loss_of_label_numbers_is_plain_and_accumulated_batches_add_up(batch) -> None:
    _, labels = batch
    logits = torch.randn(64, 5)
    whole = cross_entropy({"logits": logits}, labels)
    torch.testing.assert_close(whole, F.cross_entropy(logits, labels))
    halves = [cross_entropy({"logits": logits[part]}, labels[part], 64) for part in (slice(0, 20), slice(20, 64))]
    torch.testing.assert_close(sum(halves), whole)


def test_the_same_seed_gives_the_same_images(batch) -> None:
    augmentation = Augmentation(5, padding=2, flip=True, mixup_alpha=0.2)
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(augmentation(*batch))
    assert torch.equal(results[0][0], results[1][0])
