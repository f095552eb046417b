"""What no test has run is not offered: see docs/reliability.md for what stands in the way."""

import pytest

from padnet_hf import PADBertConfig, PADResNetConfig


@pytest.mark.parametrize("config", [PADBertConfig, PADResNetConfig])
@pytest.mark.parametrize("plan", ["tp", "ep", "pp"])
def test_no_configuration_has_a_plan_for_splitting_layers_over_processes(config: type, plan: str) -> None:
    assert not getattr(config(), f"base_model_{plan}_plan", None)
