"""The model card that a push leaves on the Hub: valid, true and reproducible."""

import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import padnet_hf
from padnet_hf import PartitionConfig, partition
from tests.hub.cases import CASES, COPIES, make_batch, make_dense
from tests.hub.model_card import check_card
from tests.hub.published import Published

SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)
every_case = pytest.mark.parametrize("name", CASES)


@every_case
def test_the_pushed_card_is_valid_and_says_what_the_hub_wants_to_know(published: Published, name: str) -> None:
    text = published.files(name)["README.md"].decode()
    assert check_card(text) == ([], [])
    family, _ = CASES[name]
    data = ModelCard(text).data
    tag, task = {
        "bert": ("mixture-of-experts", "text-classification"),
        "resnet": ("dynamic-convolution", "image-classification"),
    }[family]
    assert (data.license, data.base_model) == ("apache-2.0", f"org/dense-{family}")
    assert (data.library_name, data.pipeline_tag, data.tags) == ("transformers", task, ["padnet", tag])
    assert "he-etal-2023-pad" in text


@every_case
def test_every_python_snippet_runs(published: Published, name: str, tmp_path: Path) -> None:
    text = published.files(name)["README.md"].decode()
    folder = published.save(name, tmp_path / "checkpoint")
    snippets = SNIPPET.findall(text)
    assert len(snippets) == (1 if CASES[name][1] is None else 2)
    found: dict[str, object] = {}
    for snippet in snippets:
        exec(snippet.replace(f"org/{name}", str(folder)), found)
    assert found["model"].num_parameters() == published.num_parameters[name]


@pytest.mark.parametrize("name", ["bert-element", "bert-unit", "resnet-element", "resnet-unit"])
def test_the_provenance_in_the_card_gives_the_same_masks_again(published: Published, name: str) -> None:
    text, (family, config) = published.files(name)["README.md"].decode(), CASES[name]
    call = SNIPPET.findall(text)[1].rpartition("import PartitionConfig")[2]
    again = eval(call.strip(), {"PartitionConfig": PartitionConfig})
    assert again == config.resolved(copies_differ=False)
    pad_class = {
        "bert": padnet_hf.PADBertForSequenceClassification,
        "resnet": padnet_hf.PADResNetForImageClassification,
    }
    model = pad_class[family].from_dense(make_dense(family), **COPIES[family])
    report = partition(model, [make_batch(family)], again, progress=False)
    assert f"`{report.record['mask_hash']}`" in text
    assert f"| samples | {report.record['num_samples']} |" in text
