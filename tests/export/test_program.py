import pytest
import torch

from padnet_hf import PADBertConfig, PADBertForMultipleChoice, PADBertForQuestionAnswering, PADResNetBackbone
from padnet_hf.export.program import exported_program, random_inputs
from tests.export.models import BERT, CASES, RESNET, small


@pytest.mark.parametrize("case", CASES)
def test_a_graph_holds_for_any_number_of_inputs_of_any_length(case: str) -> None:
    model = small(case)
    program, outputs = exported_program(model)
    assert outputs == ["logits"]
    graph = program.module()
    for batch, length in ((1, 1), (4, 19)):  # traced with 2 and 8
        inputs = random_inputs(model, batch, length, seed=batch)
        with torch.no_grad():
            torch.testing.assert_close(graph(**inputs)["logits"], model(**inputs).logits, rtol=1e-5, atol=1e-5)


def test_padding_changes_nothing() -> None:
    model = small("bert-element")
    graph = exported_program(model)[0].module()
    inputs = random_inputs(model, 1, 6)
    longer = {name: torch.cat([tensor, tensor], dim=1) for name, tensor in inputs.items()}
    longer["attention_mask"][:, 6:] = 0
    torch.testing.assert_close(graph(**longer)["logits"], graph(**inputs)["logits"], rtol=1e-5, atol=1e-6)


def test_heads_with_several_outputs_or_dimensions_are_graphs_too() -> None:
    config = PADBertConfig(**BERT, num_experts=2)
    assert exported_program(PADBertForQuestionAnswering(config).eval())[1] == ["start_logits", "end_logits"]
    choice = PADBertForMultipleChoice(config).eval()
    inputs = random_inputs(choice, 3, 5)
    assert exported_program(choice)[0].module()(**inputs)["logits"].shape == (3, 2)
    backbone = PADResNetBackbone(small("resnet-full", **RESNET | {"out_features": ["stem", "stage1"]}).config).eval()
    assert exported_program(backbone)[1] == ["feature_maps.0", "feature_maps.1"]


def test_the_experts_implementation_stays_as_it_was() -> None:
    model = small("bert-unit")
    model.set_experts_implementation("grouped_mm")
    exported_program(model)
    assert model.config._experts_implementation == "grouped_mm"


def test_random_inputs_are_padded_at_their_ends_and_one_is_full() -> None:
    mask = random_inputs(small("bert-full"), 8, 12)["attention_mask"]
    assert mask[0].all()
    assert not mask.all()
    assert (mask.diff(dim=1) <= 0).all()
    assert mask[:, 0].all()
