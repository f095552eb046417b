"""/api/validate-yaml refuses what the Hub refuses."""

import pytest

from tests.hub.model_card import check_card
from tests.hub.simulated_hub import SimulatedHub

GOOD = """---
license: apache-2.0
language: en
tags: [a, b]
pipeline_tag: text-classification
base_model: org/base
datasets: [glue]
model-index:
- name: model
  results:
  - task: {type: text-classification, name: Text Classification}
    dataset: {type: glue, name: GLUE, config: sst2}
    metrics:
    - {type: accuracy, value: 0.9}
---
# A model
"""


def test_a_good_card_has_neither_errors_nor_warnings() -> None:
    assert check_card(GOOD) == ([], [])


@pytest.mark.parametrize(
    ("part", "instead", "error"),
    [
        ("apache-2.0", "Apache 2.0", '"license" must be one of'),
        ("[a, b]", "a", '"tags" must be an array'),
        ("[a, b]", "[a, 1]", '"tags[1]" must be a string'),
        ("text-classification\nbase", "[x]\nbase", '"pipeline_tag" must be a string'),
        ("org/base", "/tmp/base", '"base_model" with value "/tmp/base" is not valid'),
        ("- name: model\n  results", "- results", '"model-index[0].name" is required'),
        ("{type: text-classification, name", "{name", '"model-index[0].results[0].task.type" is required'),
        ("name: GLUE, ", "", '"model-index[0].results[0].dataset.name" is required'),
        (", value: 0.9", "", '"model-index[0].results[0].metrics[0].value" is required'),
        ("0.9", ".nan", '"model-index[0].results[0].metrics[0].value" must be a finite number'),
        ("language: en", "license: mit", "duplicated mapping key: license"),
        ("language: en", "language: [", "invalid YAML"),
    ],
)
def test_a_bad_card_has_an_error_that_names_the_place(part: str, instead: str, error: str) -> None:
    assert part in GOOD
    errors, _ = check_card(GOOD.replace(part, instead, 1))
    assert len(errors) == 1
    assert errors[0].startswith(error)


@pytest.mark.parametrize("text", ["# A model", "---\n\n---\n# A model", "---\nlicense: mit\n"])
def test_a_card_without_metadata_has_a_warning(text: str) -> None:
    assert check_card(text) == ([], ["empty or missing yaml metadata in repo card"])


def test_the_client_raises_where_a_card_is_bad(hub: SimulatedHub) -> None:
    hub.repositories.create("org/model", files={"README.md": GOOD.encode()})
    done = hub.run(
        """
from huggingface_hub import *
card = ModelCard.load("org/model")
card.validate()
card.data.license = "my own"
for refused in (card.validate, lambda: card.push_to_hub("org/model")):
    try:
        refused()
    except ValueError as error:
        print("must be one of" in str(error))
""",
        token="writer-token",
    )
    assert done.stdout.split() == ["True", "True"]
    assert hub.repositories.files("org/model")["README.md"] == GOOD.encode()
