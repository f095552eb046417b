"""Spoiled checkpoints load or are refused; `python -m tests.fuzz.campaign` tries more of them."""

import pytest

from padnet_hf import PADNetError
from tests.fuzz.campaign import CASES, bad, is_clear, run, spoil, summary
from tests.fuzz.mutations import MUTATIONS
from tests.hub.cases import make_model

ROUNDS = 4


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("checkpoint")
    make_model("bert-element").save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("number", range(len(MUTATIONS)), ids=[mutation.__name__ for mutation in MUTATIONS])
def test_a_seed_spoils_always_in_the_same_way(files: dict[str, bytes], number: int) -> None:
    for seed in range(number, 10 * len(MUTATIONS), len(MUTATIONS)):
        one, other = dict(files), dict(files)
        assert spoil(one, seed) == spoil(other, seed) == MUTATIONS[number].__name__
        assert one == other
    assert one != files


def test_an_error_is_clear_if_its_family_is_that_of_bad_files() -> None:
    assert all(map(is_clear, (PADNetError("x"), FileNotFoundError("x"), ValueError("x"))))
    assert not any(
        map(is_clear, (KeyError("x"), TypeError("x"), ValueError(), UnicodeDecodeError("a", b"", 0, 1, "x")))
    )


def test_what_is_neither_loaded_nor_a_clear_error_is_bad() -> None:
    outcomes = ["loaded", "PADNetError", "AutoConfig's TypeError", "UNCLEAR: x", "TOO SLOW: x", "CODE WAS RUN"]
    results = [{"outcome": outcome, "how": "x", "seed": 0} for outcome in outcomes]
    assert [result["outcome"] for result in bad(results)] == outcomes[3:]
    assert "| x | 1 | 1 | 1 | 1 | 1 | 1 |" in summary(results)


@pytest.mark.slow
def test_every_spoiled_checkpoint_loads_or_ends_in_one_clear_error() -> None:
    count = ROUNDS * len(MUTATIONS) * len(CASES)
    results = run(0, count)
    assert len(results) == count
    assert not bad(results), bad(results)[:3]
    assert {result["case"] for result in results} == set(CASES)
    assert {result["outcome"] for result in results} >= {"loaded", "PADNetError", "PADCheckpointError"}
