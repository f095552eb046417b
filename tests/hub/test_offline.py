"""Without a network: what was loaded once loads again, and what was not is said to be missing, at once."""

import json
from io import BytesIO
from pathlib import Path

import pytest
import torch

from tests.hub.faults import Status
from tests.hub.published import Published

FILL = """
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError
for name in ("org/bert-element", "org/bert-unit"):
    snapshot_download(name)
    try:  # as from_pretrained does: that there is none is kept in the cache as well
        hf_hub_download(name, "adapter_config.json")
    except EntryNotFoundError:
        pass
hf_hub_download("org/bert-full", "config.json")
"""
LOAD = """
import json, sys, time
import padnet_hf, torch
from padnet_hf.hub.inspection import inspect_checkpoint
from transformers import AutoModelForSequenceClassification
from tests.hub.cases import logits_of, make_batch

options = json.loads(sys.argv[1])

def attempt(load, name):
    start = time.monotonic()
    try:
        return load(name), None, time.monotonic() - start
    except Exception as error:
        return None, f"{type(error).__name__}: {error}", time.monotonic() - start

def load(name):
    return AutoModelForSequenceClassification.from_pretrained(name, **options)

for name in ("bert-element", "bert-unit"):
    torch.save(logits_of(attempt(load, f"org/{name}")[0], make_batch("bert")), f"{name}.logits")
told = {"half cold": attempt(load, "org/bert-full"), "cold": attempt(load, "org/resnet-full")}
if not options:  # inspect_checkpoint has no such option
    told |= {f"inspect {name}": attempt(inspect_checkpoint, name) for name in ("org/bert-full", "org/resnet-full")}
print(json.dumps(told))
"""


@pytest.fixture(params=[{}, {"local_files_only": True}], ids=["HF_HUB_OFFLINE", "local_files_only"])
def told(published: Published, request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, list]:
    """What a process without a network was told. The cache has two cases, and of a third the configuration."""
    published.hub.run(FILL, home=tmp_path)
    published.hub.forget()
    published.hub.fail("*", "*", Status(403), times=None)
    try:
        done = published.hub.run(LOAD, json.dumps(request.param), home=tmp_path, offline=not request.param)
        asked = [exchange.path for exchange in published.hub.requests]
    finally:
        published.hub.forget()
    # with local_files_only, transformers still asks for what the cold ones lack: an adapter, a conversion
    cold = ("/bert-full", "/resnet-full") if request.param else ()
    assert [path for path in asked if not any(name in path for name in cold)] == []
    for name in ("bert-element", "bert-unit"):
        logits = torch.load(BytesIO((tmp_path / f"{name}.logits").read_bytes()))
        assert torch.equal(logits, published.logits[name])
    return json.loads(done.stdout.splitlines()[-1])


def test_a_warm_cache_is_enough_and_a_cold_one_is_told_at_once(told: dict[str, list]) -> None:
    expected = {
        "cold": "couldn't find them in the cached files",  # transformers' own: no class of ours is known yet
        "half cold": "wholly in the cache",
        "inspect org/bert-full": "out of reach: HF_HUB_OFFLINE is set",  # headers come from the Hub in any case
        "inspect org/resnet-full": "wholly in the cache",
    }
    for name, (_, message, seconds) in told.items():
        assert seconds < 1
        assert expected[name] in message
    _, message, _ = told["half cold"]
    assert message.startswith("PADHubError: 'org/bert-full' is neither a folder nor wholly in the cache (/")
    assert "`hf download org/bert-full` gets it" in message
