"""Every case pushed once to a Hub that tests read from, and what its model gave before it was pushed."""

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from tests.hub.cases import make_dense
from tests.hub.simulated_hub import SimulatedHub

PUSH = """
import json, sys, torch
from transformers import BertTokenizer, ConvNextImageProcessorPil
from tests.hub.cases import CASES, logits_of, make_batch, make_model

words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fine", "film"]
vocab = {word: number for number, word in enumerate(words)}
processing = {"bert": BertTokenizer(vocab), "resnet": ConvNextImageProcessorPil(size={"shortest_edge": 48})}
told = {}
for name, (family, _) in CASES.items():
    model = make_model(name, f"org/dense-{family}")
    size = "150KB" if name.endswith("unit") else "50GB"
    model.push_to_hub(f"org/{name}", processing_class=processing[family], max_shard_size=size)
    told[name] = [model.num_parameters(), model.config.partition]
    torch.save(logits_of(model, make_batch(family)), f"{name}.logits")
print(json.dumps(told))
"""


@dataclass
class Published:
    """Repositories org/<case>, from org/dense-<family>. Read them, and leave them as they are."""

    hub: SimulatedHub
    num_parameters: dict[str, int]
    records: dict[str, dict | None]
    logits: dict[str, Tensor]

    def files(self, name: str) -> dict[str, bytes]:
        return self.hub.repositories.files(f"org/{name}")

    def save(self, name: str, folder: Path) -> Path:
        """The files of a repository, in a folder."""
        folder.mkdir(exist_ok=True)
        for path, content in self.files(name).items():
            (folder / path).write_bytes(content)
        return folder


def add_dense(hub: SimulatedHub, family: str, card: str = "---\nlicense: apache-2.0\n---\n") -> None:
    """A repository org/dense-<family> of the stock model that the cases start from."""
    dense = make_dense(family)
    config = {**dense.config.to_dict(), "architectures": [type(dense).__name__], "dtype": "float32"}
    files = {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": save(dense.state_dict(), metadata={"format": "pt"}),
    }
    hub.repositories.create(f"org/dense-{family}", files={**files, "README.md": card.encode()})


def publish(hub: SimulatedHub) -> Published:
    """Push all cases: those by units in shards, the others whole."""
    for family in ("bert", "resnet"):
        add_dense(hub, family)
    done = hub.run(PUSH, token="writer-token")
    told = json.loads(done.stdout.splitlines()[-1])
    logits = {name: torch.load(BytesIO((hub.home / f"{name}.logits").read_bytes())) for name in told}
    return Published(
        hub, {name: n for name, (n, _) in told.items()}, {name: r for name, (_, r) in told.items()}, logits
    )
