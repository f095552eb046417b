"""Tests of transformers' that ask for an accelerator, but have something to say on a CPU too."""

import copy
import tempfile
from collections.abc import Mapping

import torch
from accelerate import cpu_offload
from accelerate.utils import compute_module_sizes, infer_auto_device_map
from torch import Tensor, nn
from transformers import PreTrainedModel


class OnCPU:
    """Mixin that stands in for tests of the same names, with the CPU as the device that computes.

    What is offloaded is on no device, until a hook of accelerate brings it back for the call of its module.
    """

    def test_cpu_offload(self) -> None:
        """All of the model is offloaded, and kept in memory."""
        model, inputs = self._model_and_inputs()
        expected = _first_output(model, inputs)
        cpu_offload(model, execution_device="cpu")
        assert _devices(model) == {"meta"}
        torch.testing.assert_close(_first_output(model, inputs), expected)

    def test_disk_offload_safetensors(self) -> None:
        """A part of the model is offloaded, or all of the rest, and stays in its checkpoint."""
        model, inputs = self._model_and_inputs()
        expected = _first_output(model, inputs)
        memory = int(self.model_split_percents[-1] * compute_module_sizes(model)[""])  # room for the largest layer too
        parts = infer_auto_device_map(model, {"cpu": memory}, model._no_split_modules)
        rest = {name: "disk" if place == "cpu" else "cpu" for name, place in parts.items()}
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            for places in (parts, rest):
                new = type(model).from_pretrained(folder, device_map=places, offload_folder=folder)
                assert _devices(new) == {"cpu", "meta"}
                torch.testing.assert_close(_first_output(new, inputs), expected)

    def test_can_load_with_device_context_manager(self) -> None:
        """A checkpoint is loaded onto the device of the context."""
        model, _ = self._model_and_inputs()
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            with torch.device("cpu"):
                assert _devices(type(model).from_pretrained(folder)) == {"cpu"}

    def test_can_load_with_global_device_set(self) -> None:
        """A model is built, saved and loaded while torch has a default device."""
        torch.set_default_device("cpu")
        try:
            self.test_can_load_with_device_context_manager()
        finally:
            torch.set_default_device(None)

    def _model_and_inputs(self) -> tuple[PreTrainedModel, dict[str, Tensor]]:
        """The suite's model in evaluation mode."""
        (model_class,) = self.all_model_classes
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        return model_class(copy.deepcopy(config)).eval(), self._prepare_for_class(inputs, model_class)


def _devices(model: nn.Module) -> set[str]:
    return {parameter.device.type for parameter in model.parameters()}


@torch.no_grad()
def _first_output(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Tensor | tuple[Tensor, ...]:
    return model(**inputs)[0]
