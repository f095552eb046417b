"""Pushed to the Hub and loaded again, with the package imported or by the checkpoint's own code: the same model."""

import json
import re
from collections.abc import Iterator
from io import BytesIO
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from padnet_hf.method.layer import pad_weights
from tests.hub.cases import CASES, make_dense, make_model
from tests.hub.published import Published

PULL = """
import json, sys, torch
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

models, told, options = {}, {}, {}
if sys.argv[1] == "imported":
    import padnet_hf
else:
    options["trust_remote_code"] = True
    assert "padnet_hf" not in sys.modules
for name in sys.argv[2:]:
    auto_class = AutoModelForSequenceClassification if name.startswith("bert") else AutoModelForImageClassification
    models[name], info = auto_class.from_pretrained(f"org/{name}", output_loading_info=True, **options)
    told[name] = [type(models[name]).__name__, models[name].num_parameters(), {key: sorted(info[key]) for key in info}]

from tests.hub.cases import logits_of, make_batch
for name, model in models.items():
    torch.save(logits_of(model, make_batch(name.split("-")[0])), f"{name}.logits")
print(json.dumps(told))
"""
CLASSES = {"bert": "PADBertForSequenceClassification", "resnet": "PADResNetForImageClassification"}
ROUTING = re.compile(r"\.router\.|\.convolution\.attention\.")
NOTE_OF_NEW_CODE = re.compile(
    r"\[transformers\] A new version of the following files was downloaded from \S+\n- modeling_padnet\.py\n"
    r"\. Make sure to double-check they do not contain any added malicious code\. To avoid downloading new versions of "
    r"the code file, you can pin a revision\.\n"
)


class Pulled(NamedTuple):
    way: str
    told: dict[str, list]
    logits: dict[str, Tensor]
    stderr: str


@pytest.fixture(scope="module", params=["imported", "own code"])
def pulled(
    published: Published, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pulled]:
    """All cases, loaded by a new process with an empty cache."""
    home = tmp_path_factory.mktemp("pulled")
    done = published.hub.run(PULL, request.param, *CASES, home=home)
    logits = {name: torch.load(BytesIO((home / f"{name}.logits").read_bytes())) for name in CASES}
    return Pulled(request.param, json.loads(done.stdout.splitlines()[-1]), logits, done.stderr)


@pytest.mark.parametrize("name", CASES)
def test_logits_are_bit_equal(published: Published, pulled: Pulled, name: str) -> None:
    assert pulled.told[name][0] == CLASSES[CASES[name][0]]
    assert pulled.logits[name].abs().max() > 0.01
    assert torch.equal(pulled.logits[name], published.logits[name])


def test_every_tensor_finds_its_place(pulled: Pulled) -> None:
    for _, _, info in pulled.told.values():
        assert not any(info.values())


def test_nothing_is_said_but_that_there_is_new_code(pulled: Pulled) -> None:
    said = NOTE_OF_NEW_CODE.sub("", pulled.stderr)
    assert said.strip() == ""
    assert (said != pulled.stderr) == (pulled.way == "own code")


def test_half_of_the_cases_is_sharded(published: Published) -> None:
    shards = {name: sum(path.endswith(".safetensors") for path in published.files(name)) for name in CASES}
    assert {name for name, count in shards.items() if count > 1} == {"bert-unit", "resnet-unit"}


@pytest.mark.parametrize("name", CASES)
def test_the_card_gives_the_loaded_models_size(published: Published, pulled: Pulled, name: str) -> None:
    row = re.search(r"\| \*\*this model\*\* \| ([\d,]+) \| ([\d,]+) \|", published.files(name)["README.md"].decode())
    parameters, num_bytes = (int(number.replace(",", "")) for number in row.groups())
    assert parameters == pulled.told[name][1] == published.num_parameters[name]
    assert num_bytes == pytest.approx(_weight_bytes(published, name), rel=0.01)


@pytest.mark.parametrize("name", CASES)
def test_weights_take_the_bytes_of_the_formula(published: Published, name: str) -> None:
    """DESIGN.md, invariant 5: every dynamic element E times, every static one once, and a bit for each position."""
    family, config = CASES[name]
    model, granularity = make_model(name), config.granularity if config else "unit"
    counts = json.loads(published.files(name)["config.json"]).get("dynamic_counts")
    expected = sum(tensor.nbytes for tensor in make_dense(family).state_dict().values())
    for key, weight in pad_weights(model).items():
        size, candidates = weight.shape.numel(), weight.num_candidates(granularity)
        count = candidates if counts is None else counts[key.removeprefix(f"{model.base_model_prefix}.")]
        expected += 4 * (weight.num_copies - 1) * count * size // candidates
        expected += size / 8 if granularity == "element" else 0
    expected += sum(4 * p.numel() for key, p in model.named_parameters() if ROUTING.search(key))
    assert _weight_bytes(published, name) == pytest.approx(expected, rel=0.01)


def _weight_bytes(published: Published, name: str) -> int:
    return sum(len(content) for path, content in published.files(name).items() if path.endswith(".safetensors"))
