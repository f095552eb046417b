"""The command in this process, and folders that it works on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from padnet_hf.cli.app import app
from tests.cli import samples
from tests.cli.samples import Padnet


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What datasets makes of the files must not end in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))
        yield


@pytest.fixture(scope="session")
def padnet() -> Padnet:
    """Run the command; errors come out as they are, `main` makes lines of them."""

    def run(*args: object) -> str:
        return CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False).stdout

    return run


@pytest.fixture(params=["bert", "resnet"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def dense_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Dense classifiers. Do not write into these folders, nor into the next ones."""
    folder = tmp_path_factory.mktemp("dense")
    return {name: samples.save_dense(name, folder / name) for name in samples.LABELS}


@pytest.fixture(scope="session")
def dynamic_folders(dense_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Fully dynamic classifiers, their copies trained apart."""
    folder = tmp_path_factory.mktemp("dynamic")
    return {name: samples.save_upcycled(name, dense, folder / name) for name, dense in dense_folders.items()}


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Calibration data: a CSV file, a folder of images."""
    folder = tmp_path_factory.mktemp("data")
    reviews = samples.write_rows(folder / "reviews.csv", ["text", "label"], samples.REVIEWS)
    return {"bert": reviews, "resnet": samples.save_images(folder / "images")}


@pytest.fixture(scope="session")
def partitioned_folders(
    padnet: Padnet,
    dynamic_folders: dict[str, Path],
    data: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """What `padnet partition` makes of the fully dynamic ones: BERT by element, ResNet by unit."""
    folder = tmp_path_factory.mktemp("partitioned")
    for (name, source), granularity in zip(dynamic_folders.items(), ("element", "unit"), strict=True):
        options = ("--batch-size", 4, "--rounds", 2, "--granularity", granularity)
        padnet("partition", source, folder / name, "--data", data[name], *options)
    return {name: folder / name for name in dynamic_folders}
