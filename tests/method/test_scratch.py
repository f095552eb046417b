from concurrent.futures import ThreadPoolExecutor

import torch

from padnet_hf.method.scratch import scratch


def test_the_same_purpose_gets_the_same_memory_and_another_one_other_memory() -> None:
    first = scratch("one", 100, torch.float32)
    assert scratch("one", 60, torch.float32).data_ptr() == first.data_ptr()
    assert scratch("other", 100, torch.float32).data_ptr() != first.data_ptr()
    assert scratch("one", 100, torch.bfloat16).data_ptr() != first.data_ptr()


def test_it_grows_when_more_is_asked_for() -> None:
    scratch("growing", 10, torch.float64)
    larger = scratch("growing", 1000, torch.float64)
    assert larger.shape == (1000,)
    assert larger.dtype == torch.float64


def test_every_thread_has_its_own() -> None:
    with ThreadPoolExecutor(1) as executor:
        theirs = executor.submit(scratch, "one", 100, torch.float32).result()
    assert theirs.data_ptr() != scratch("one", 100, torch.float32).data_ptr()


def test_what_was_first_used_in_inference_mode_can_be_written_to_outside_of_it() -> None:
    with torch.inference_mode():
        scratch("inference", 10, torch.float32)
    assert not scratch("inference", 10, torch.float32).fill_(1).is_inference()


def test_it_is_cpu_memory_whatever_the_default_device() -> None:
    with torch.device("meta"):
        assert scratch("a purpose of its own", 3, torch.float32).device.type == "cpu"
