"""A Hub that is real HTTP on this machine, for clients in processes of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.published import Published, publish
from tests.hub.simulated_hub import SimulatedHub


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[SimulatedHub]:
    """A Hub without repositories; see SimulatedHub."""
    simulated = SimulatedHub(tmp_path / "client")
    yield simulated
    simulated.close()


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """A Hub with every case on it, for tests that read; whoever adds a repository gives it a name of its own."""
    simulated = SimulatedHub(tmp_path_factory.mktemp("published"))
    yield publish(simulated)
    simulated.close()
