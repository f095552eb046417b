"""A download that breaks off is no model; the next try is the right one."""

import json
import re

import pytest

from tests.hub.faults import Drop, Fault, Shorten, Status, WrongBytes
from tests.hub.published import Published

FAULTS: dict[str, Fault] = {
    "dropped": Drop(after=100_000, reset=True),
    "shortened": Shorten(200_000),
    "emptied": Shorten(0),
    "broken": Status(500),
    "wrong-header": WrongBytes(stop=2000),
    "wrong-masks": WrongBytes(start=300_000),
    "wrong-values": WrongBytes(start=300_000),
}
SOURCES = dict.fromkeys(FAULTS, "bert-element") | {"wrong-values": "bert-full"}  # which has no masks
LOAD = """
import json, sys, time
time.sleep = lambda seconds: None  # the client waits between its tries
import padnet_hf
from transformers import AutoModelForSequenceClassification
from tests.hub.cases import logits_of, make_batch, make_model

told = {}
for name, source in json.loads(sys.argv[1]).items():
    expected, told[name] = logits_of(make_model(source), make_batch("bert")), []
    for force in (False, False, True):
        try:
            model = AutoModelForSequenceClassification.from_pretrained(f"org/{name}", force_download=force)
            told[name].append("right" if logits_of(model, make_batch("bert")).equal(expected) else "wrong")
        except Exception as error:
            told[name].append(f"{type(error).__name__}: {error}")
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(published: Published, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What came of two calls of from_pretrained, the first one under a fault, and of a third with force_download."""
    hub = published.hub
    for name, fault in FAULTS.items():
        hub.repositories.create(f"org/{name}", files=published.files(SOURCES[name]))
        hub.fail("GET", f"/org/{name}/resolve/*.safetensors", fault)
    done = hub.run(LOAD, json.dumps(SOURCES), home=tmp_path_factory.mktemp("interrupted"))
    hub.forget()
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dropped", "PADHubError: http://.* cannot be reached for 'org/dropped'"),
        ("broken", "PADHubError: http://.* answered 500 for 'org/broken'"),
        ("shortened", r"OSError: Consistency check failed: file should be of size \d+ but has size 200000"),
        ("emptied", r"OSError: Consistency check failed: file should be of size \d+ but has size 0"),
    ],
)
def test_a_download_that_breaks_off_is_an_error_and_the_next_one_is_whole(
    told: dict[str, list[str]], name: str, message: str
) -> None:
    first, *later = told[name]
    assert re.match(message, first)
    assert later == ["right", "right"]


@pytest.mark.parametrize("name", ["wrong-header", "wrong-masks", "wrong-values"])
def test_wrong_bytes_are_an_error_until_they_are_downloaded_again(told: dict[str, list[str]], name: str) -> None:
    *without_force, with_force = told[name]
    for message in without_force:
        assert re.match(
            r"PADCheckpointError: 'model\.safetensors' was damaged on its way .*force_download=True", message
        )
    assert with_force == "right"
