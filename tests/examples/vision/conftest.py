"""Small pictures, as folders and as parquet, and a small stock ResNet."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from transformers import ConvNextImageProcessorPil, ResNetConfig, ResNetForImageClassification, set_seed

CLASSES = ("dark", "light")


def picture(label: str, number: int, mode: str = "RGB", side: int = 12) -> Image.Image:
    """Noise around dark or light grey."""
    level = 60 if label == "dark" else 190
    noise = np.random.default_rng(number).integers(-40, 40, (side, side, 3))
    return Image.fromarray((level + noise).astype(np.uint8)).convert(mode)


@pytest.fixture(scope="session")
def script() -> Path:
    return Path(__file__).parents[3] / "examples" / "vision" / "run_image_classification.py"


@pytest.fixture(scope="session")
def tiny_resnet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a stock ResNet of two narrow stages, seeded, with a processor for 32 x 32."""
    folder = str(tmp_path_factory.mktemp("tiny_resnet"))
    set_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ResNetForImageClassification(config).save_pretrained(folder)
    ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.875).save_pretrained(folder)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Write train, validation and test folders, a subfolder per class with so many pictures each."""

    def write(count: int = 8, **picture_fields: object) -> dict[str, str]:
        paths = {}
        for start, split in enumerate(("train", "validation", "test")):
            for label in CLASSES:
                folder = tmp_path / "pictures" / split / label
                folder.mkdir(parents=True)
                for number in range(count):
                    picture(label, 100 * start + number, **picture_fields).save(folder / f"{number}.png")
            paths[split] = str(tmp_path / "pictures" / split)
        return paths

    return write


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., str]:
    """Write train and test parquet files with columns `img` and `label`, like CIFAR-10's."""

    def write(count: int = 6, mode: str = "RGB", test_labels: bool = True) -> str:
        folder = tmp_path / "parquet"
        folder.mkdir()
        features = Features({"img": ImageFeature(), "label": ClassLabel(names=list(CLASSES))})
        for start, split in enumerate(("train", "test")):
            labels = [number % 2 if split == "train" or test_labels else -1 for number in range(count)]
            images = [picture(CLASSES[number % 2], 100 * start + number, mode) for number in range(count)]
            table = Dataset.from_dict({"img": images, "label": labels}, features=features)
            table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
        return str(folder)

    return write
