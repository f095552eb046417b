import json
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from padnet_hf import PADNetError, PartitionConfig, partition
from padnet_hf.method.processes import failing_together, from_all, num_processes, sum_in_place
from tests.method.toy import ToyModel, toy_batches


def test_a_single_process_has_only_itself() -> None:
    tensor = torch.ones(3)
    sum_in_place([tensor])
    assert num_processes() == 1
    assert from_all("value") == ["value"]
    assert torch.equal(tensor, torch.ones(3))


def test_an_error_passes_through_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), failing_together():
        1 / 0  # noqa: B018


def _fail_on_rank_1(rank: int, folder: str) -> None:
    """Rank 1 has a batch whose loss is NaN, then one of another type, then none at all, then none has any."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=timedelta(seconds=300)
    )
    messages = []
    for bad in ("nan", "type", "none", "none anywhere"):
        batches = list(toy_batches(2))
        if rank == 1:
            broken = {k: v * torch.nan if v.is_floating_point() else v for k, v in batches[0].items()}
            batches = {"nan": [broken], "type": [3]}.get(bad, [])
        elif bad == "none anywhere":
            batches = []
        model = ToyModel()
        try:
            report = partition(model, batches, PartitionConfig(num_rounds=1), progress=False)
            messages.append(report.record["mask_hash"])
        except PADNetError as error:
            messages.append(str(error))
    (Path(folder) / f"rank{rank}.json").write_text(json.dumps(messages))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_what_goes_wrong_in_one_process_stops_all_at_once(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_fail_on_rank_1, (str(tmp_path),), nprocs=2)
    there, here = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (1, 0))
    assert "nan" in there[0]
    assert "of type int" in there[1]
    for own, others in zip(there[:2], here[:2], strict=True):
        assert others == f"process 1 of 2 failed, so all stop: PADNetError: {own}"
    alone = partition(ToyModel(), list(toy_batches(2)), PartitionConfig(num_rounds=1), progress=False)
    assert there[2] == here[2] == alone.record["mask_hash"]  # a process without batches takes the others' choice
    assert there[3] == here[3]
    assert "no calibration batches" in here[3]
