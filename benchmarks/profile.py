"""Where the time of a training step of PAD-BERT goes: torch.profiler's operators by their own time.

python -m benchmarks.profile --variant "unit 0.5" --sentences 8 --steps 3
"""

import argparse

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.device import device
from benchmarks.pad_bert import QUICK, UNIT, VARIANTS, Sizes, build, sentences
from benchmarks.results import table


def shares(variant: str, sizes: Sizes, batch: int, steps: int) -> list[tuple[str, float, int]]:
    """Operators with their share of the time of a step (forward, backward, AdamW) and calls per step, largest first."""
    torch.manual_seed(0)
    with device():
        model = build(variant, sizes.shape).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    inputs, labels = sentences(batch, sizes), torch.zeros(batch, dtype=torch.long, device=device())

    def step() -> None:
        model(**inputs, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    on_cuda = device().type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU]) as profiled:
        for _ in range(steps):
            step()
    found = [
        (event.key, event.self_device_time_total if on_cuda else event.self_cpu_time_total, event.count // steps)
        for event in profiled.key_averages()
    ]
    total = sum(time for _, time, _ in found)
    return sorted(((name, time / total, count) for name, time, count in found), key=lambda row: -row[1])


def main() -> None:
    """Print the operators that take most."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default=UNIT, choices=VARIANTS)
    parser.add_argument("--sentences", type=int, default=8, help="in a batch, of 128 tokens each (%(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="that count; one before does not (%(default)s)")
    parser.add_argument("--top", type=int, default=12, help="operators shown (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a tiny model: shows that it runs")
    options = parser.parse_args()
    rows = shares(options.variant, QUICK if options.quick else Sizes(), options.sentences, options.steps)
    shown = [(name, f"{share:.1%}", str(count)) for name, share, count in rows[: options.top]]
    print(table(("operator", "own time", "calls per step"), shown))


if __name__ == "__main__":
    main()
