"""push_to_hub of PADTrainer and of the stock Trainer leaves a repository that loads."""

import json
from typing import NamedTuple

import pytest
from huggingface_hub import ModelCard

from tests.hub.model_card import check_card
from tests.hub.repositories import Repositories
from tests.hub.simulated_hub import SimulatedHub

TRAIN = """
import json
import torch
from huggingface_hub import EvalResult
from padnet_hf import PADTrainer
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments
from tests.hub.cases import logits_of, make_batch, make_model

batch = make_batch("bert")
rows = [{key: value[row] for key, value in batch.items()} for row in range(3)]
told = {}
for name, trainer_class, strategy in (("ours", PADTrainer, "steps"), ("stock", Trainer, "no")):
    args = TrainingArguments(
        name, max_steps=2, save_strategy=strategy, save_steps=1, report_to="none", use_cpu=True, disable_tqdm=True,
        push_to_hub=True, hub_model_id=f"org/{name}", logging_steps=1, eval_strategy="steps", eval_steps=1,
    )
    trainer = trainer_class(make_model("bert-unit"), args, train_dataset=rows, eval_dataset=rows)
    trainer.train()
    if name == "ours":
        trainer.card_results = [EvalResult("text-classification", "glue", "GLUE", "accuracy", 0.5)]
    trainer.push_to_hub()
    trainer.push_to_hub(commit_message="Again", tags=["mine"])
    loaded = AutoModelForSequenceClassification.from_pretrained(f"org/{name}")
    told[name] = logits_of(loaded, batch).equal(logits_of(trainer.model.eval(), batch))
print(json.dumps(told))
"""


class Pushed(NamedTuple):
    repositories: Repositories
    loads_equal: dict[str, bool]

    def card(self, name: str) -> str:
        return self.repositories.files(f"org/{name}")["README.md"].decode()


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    hub = SimulatedHub(tmp_path_factory.mktemp("trained"))
    done = hub.run(TRAIN, token="writer-token")
    hub.close()
    return Pushed(hub.repositories, json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", ["ours", "stock"])
def test_what_was_pushed_loads_bit_equal(pushed: Pushed, name: str) -> None:
    assert pushed.loads_equal[name]
    files = pushed.repositories.files(f"org/{name}")
    assert {"config.json", "model.safetensors", "modeling_padnet.py", "README.md"} <= files.keys()
    assert not [path for path in files if "checkpoint-" in path or path.endswith(".pt")]
    assert "modeling_padnet.PADBertForSequenceClassification" in files["config.json"].decode()
    assert check_card(pushed.card(name))[0] == []


def test_our_trainers_card_has_sizes_results_and_training(pushed: Pushed) -> None:
    text, files = pushed.card("ours"), pushed.repositories.files("org/ours")
    assert {"partition_report.json", "partition.png"} <= files.keys()
    parameters = json.loads(files["partition_report.json"])["current"]["parameters"]
    assert f"| **this model** | {parameters:,} |" in text
    assert "| text-classification | GLUE | accuracy | 0.5 |" in text
    assert "- learning_rate: 5e-05" in text
    assert "Validation Loss" in text
    data = ModelCard(text).data
    assert {"padnet", "mixture-of-experts", "mine"} <= set(data.tags)
    assert data.pipeline_tag == "text-classification"
    assert '.from_pretrained("org/ours")' in text


def test_the_message_is_the_callers(pushed: Pushed) -> None:
    for name in ("ours", "stock"):
        assert pushed.repositories.titles(f"org/{name}")[0] == "Again"
