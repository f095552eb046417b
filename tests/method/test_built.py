"""Built copies that inference keeps by default: when, how many, and the same values as without."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.optim.swa_utils import AveragedModel

from padnet_hf.method import built
from padnet_hf.method.built import BUILT
from padnet_hf.method.conversion import partitioned_state
from padnet_hf.method.weight import PADWeight

COPIES, SHAPE = 3, (6, 8)
BYTES = COPIES * 6 * 8 * 4


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    BUILT.clear()
    yield
    BUILT.clear()


def make(seed: int = 0) -> PADWeight:
    """A weight partitioned by element, in evaluation."""
    weight = PADWeight(COPIES, SHAPE, unit_dim=0)
    generator = torch.Generator().manual_seed(seed)
    weight.become({"dynamic": torch.randn(COPIES, *SHAPE, generator=generator)})
    weight.become(partitioned_state(weight, torch.rand(48, generator=generator) < 0.5, "element"), "element")
    nn.init.constant_(weight.phi, 0.2)
    return weight.eval()


def use(weight: PADWeight, chosen: list[int] | None = None) -> list[Tensor]:
    copies = range(COPIES) if chosen is None else chosen
    inputs = [torch.ones(2, 8) * (copy + 1) for copy in copies]
    with torch.no_grad():
        return list(weight(lambda: weight.linear(inputs, torch.ones(COPIES, 6), chosen)))


def kept(weight: PADWeight) -> bool:
    """Whether it is: of one that is, a build is always the same tensor."""
    with torch.no_grad():
        return weight.build() is weight.build()


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


@pytest.mark.parametrize("chosen", [None, [2, 0]])
def test_copies_are_kept_from_the_second_use_on_and_give_the_same_bits(chosen: list[int] | None) -> None:
    weight = make()
    weight.keep_built(False)
    expected = [use(weight, chosen) for _ in range(3)]
    assert BUILT.num_bytes == 0
    weight.keep_built(None)
    assert same(use(weight, chosen), expected[0])
    assert BUILT.num_bytes == 0
    for _ in range(2):
        assert same(use(weight, chosen), expected[0])
        assert BUILT.num_bytes == BYTES


def test_copies_that_nobody_chooses_are_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, asked = make(), []
    write = built.write_copies

    def recorded(places: Tensor, chosen: list[int], *packed: Tensor) -> None:
        asked.append(chosen)
        write(places, chosen, *packed)

    monkeypatch.setattr(built, "write_copies", recorded)
    for chosen in ([1], [1], [1], [0, 1], [0, 1], [2, 0]):
        use(weight, chosen)
    assert asked == [[1], [0], [2]]  # the first use keeps nothing yet


def test_whole_and_single_copies_are_kept_in_one_place() -> None:
    weight = make()
    with torch.no_grad():
        expected = weight.build()
        for _ in range(2):
            use(weight, [1])
        assert torch.equal(weight.build(), expected)
    assert BUILT.num_bytes == BYTES


def test_what_does_not_fit_the_budget_is_not_kept_and_drives_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(built, "BUDGET", 2 * BYTES)
    weights = [make(seed) for seed in range(3)]
    for _ in range(4):
        for weight in weights:
            use(weight)
    assert [kept(weight) for weight in weights] == [True, True, False]
    assert BUILT.num_bytes == 2 * BYTES


def test_what_is_not_used_any_more_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(built, "BUDGET", 2 * BYTES)
    first, second = [make(0), make(1)], [make(2), make(3)]
    for weights in (first, second):
        for _ in range(3):
            for weight in weights:
                use(weight)
        assert BUILT.num_bytes == 2 * BYTES
    assert all(kept(weight) for weight in second)


@pytest.mark.parametrize(("free", "expected"), [(4 * BYTES, True), (4 * BYTES - 4, False), (0, False)])
def test_a_quarter_of_the_free_memory_is_taken_at_most(
    monkeypatch: pytest.MonkeyPatch, free: int, expected: bool
) -> None:
    monkeypatch.setattr(built, "free_memory", lambda device: free - BUILT.num_bytes)
    weight = make()
    for _ in range(3):
        use(weight)
    assert kept(weight) == expected
    assert BUILT.num_bytes == (BYTES if expected else 0)


def test_who_asks_for_it_gets_it_without_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(built, "BUDGET", 0)
    weight = make()
    weight.keep_built(True)
    use(weight)
    assert kept(weight)


def _in_training(weight: PADWeight) -> None:
    use(weight.train())


def _with_gradients(weight: PADWeight) -> None:
    list(weight.linear([torch.ones(2, 8)] * COPIES, None))
    weight.build()


def _under_vmap(weight: PADWeight) -> None:
    with torch.no_grad():
        vmap(lambda inputs: next(iter(weight.linear([inputs] * COPIES, None))))(torch.ones(4, 2, 8))


def _in_a_graph(weight: PADWeight) -> None:
    weight.requires_grad_(False)
    with torch.no_grad():
        torch.jit.trace(lambda inputs: inputs @ weight.build()[0].t(), torch.ones(2, 8), check_trace=False)


@pytest.mark.parametrize("how", [_in_training, _with_gradients, _under_vmap, _in_a_graph])
@pytest.mark.filterwarnings("ignore:.*:torch.jit.TracerWarning", "ignore:.*torch.jit.trace:DeprecationWarning")
def test_nothing_is_kept_outside_of_inference(how: Callable[[PADWeight], None]) -> None:
    weight = make()
    for _ in range(3):
        how(weight)
    assert BUILT.num_bytes == 0


def test_nothing_is_kept_of_weights_made_in_inference_mode_as_their_changes_are_not_counted() -> None:
    with torch.inference_mode():
        weight = make()
        for _ in range(3):
            use(weight)
    assert BUILT.num_bytes == 0


def test_what_is_kept_in_inference_mode_serves_outside_of_it() -> None:
    weight = make()
    expected = use(weight)
    for mode in (torch.inference_mode, torch.inference_mode, torch.no_grad):
        with mode():
            assert same(use(weight), expected)
    assert BUILT.num_bytes == BYTES


def test_under_autocast_copies_are_kept_in_their_own_dtype() -> None:
    weight = make()
    expected = use(weight)
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            use(weight)
    with torch.no_grad():
        assert weight.build().dtype == torch.float32
    assert same(use(weight), expected)


def _cast(weight: PADWeight) -> None:
    weight.double()


def _gradients_on(weight: PADWeight) -> None:
    weight(lambda: None)


def _load(weight: PADWeight) -> None:
    weight.load_state_dict(weight.state_dict())


LET_GO = [PADWeight.train, _cast, _gradients_on, _load, PADWeight.forget_built, lambda w: w.keep_built(False)]


@pytest.mark.parametrize("let_go", LET_GO, ids=["train", "cast", "gradients on", "load", "forget", "forbid"])
def test_memory_is_given_back_at_once(let_go: Callable[[PADWeight], None]) -> None:
    weight = make()
    for _ in range(2):
        use(weight)
    assert BUILT.num_bytes == BYTES
    let_go(weight)
    assert BUILT.num_bytes == 0


@pytest.mark.parametrize("name", ["dynamic", "static", "phi"])
def test_a_change_of_a_whole_parameter_through_data_is_noticed(name: str) -> None:
    """As averages of weights are put in place and taken out again, by code that goes around torch's counting."""
    weight = make()
    for _ in range(3):
        before = use(weight)
    getattr(weight, name).data.mul_(1.5)
    changed = use(weight)
    assert not same(changed, before)
    weight.keep_built(False)
    assert same(use(weight), changed)


def test_averaged_weights_are_followed() -> None:
    weight, other = make(0), make(1)
    other.load_state_dict({**weight.state_dict(), "dynamic": weight.dynamic.detach() + 1})
    average = AveragedModel(weight).eval()
    for model in (weight, other):
        average.update_parameters(model)
        for _ in range(3):
            found = use(average.module)
    average.module.keep_built(False)
    assert same(use(average.module), found)


def test_threads_get_the_same_values() -> None:
    weight = make()
    expected = use(weight, [0, 1])
    weight.forget_built()
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: use(weight, [0, 1]), range(200)):
            assert same(found, expected)
