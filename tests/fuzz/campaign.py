"""Spoiled checkpoints: each must load, or end in one clear error, soon and in little memory.

    python -m tests.fuzz.campaign --inputs 10000

A process of its own does the loading, so that a crash is seen as one; what it may use is limited by the system.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.fuzz.mutations import MUTATIONS, SENTINEL

CASES = ("bert-element", "bert-unit", "bert-full", "resnet-element", "resnet-unit", "resnet-full")
SECONDS = 5
_BEGIN = '{"seed"'  # of a line of results; a prompt may stand before it
MEMORY = 2**30
"""Beyond what the process has taken before the first input; honest loads take a few MB."""

ROOT = Path(__file__).parents[2]


class TooSlow(BaseException):
    """Raised by the alarm; no `except Exception` may catch it."""


def spoil(files: dict[str, bytes], seed: int) -> str:
    """Change the files in place, the same way for the same seed, and say how."""
    rng = random.Random(seed)
    mutation = MUTATIONS[seed % len(MUTATIONS)]
    mutation(files, rng)
    return mutation.__name__


def is_clear(error: BaseException) -> bool:
    """Ours, or one that transformers, safetensors or huggingface_hub raise for bad files and configurations."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    from padnet_hf import PADNetError

    return isinstance(error, PADNetError | OSError | SafetensorError | StrictDataclassError) or (
        type(error) in (ValueError, RuntimeError, ImportError) and bool(str(error))
    )


def load_one(folder: Path) -> str:
    """What comes of loading this folder: "loaded", the name of a clear error, or a description of what is wrong.

    What transformers' AutoConfig makes of a model_type or auto_map of the wrong kind, before it knows whose checkpoint
    it is, is named as such: no code of ours runs by then.
    """
    import transformers
    from transformers import AutoConfig

    from padnet_hf.models.pad_model import PADModelMixin

    signal.alarm(SECONDS)
    try:
        config = AutoConfig.from_pretrained(folder)
        auto = (
            "AutoModelForSequenceClassification"
            if config.model_type == "pad_bert"
            else "AutoModelForImageClassification"
        )
        model = getattr(transformers, auto).from_pretrained(folder)
        return "loaded" if isinstance(model, PADModelMixin) else f"NOT OURS: {type(model).__name__}"
    except TooSlow:
        return f"TOO SLOW: {traceback.format_exc(limit=-3)}"
    except MemoryError:
        return f"MEMORY: {traceback.format_exc(limit=-6)}"
    except Exception as error:
        if traceback.extract_tb(error.__traceback__)[1].filename.endswith("configuration_auto.py") and not is_clear(
            error
        ):
            return f"AutoConfig's {type(error).__name__}"
        if "can't allocate memory" in str(error):
            return f"MEMORY: {traceback.format_exc(limit=-6)}"
        return type(error).__name__ if is_clear(error) else f"UNCLEAR: {traceback.format_exc(limit=-4)}"
    finally:
        signal.alarm(0)


def originals(folder: Path) -> dict[str, dict[str, bytes]]:
    """The files of every case's checkpoint."""
    from tests.hub.cases import make_model

    found = {}
    for case in CASES:
        make_model(case).save_pretrained(folder / case)
        found[case] = {path.name: path.read_bytes() for path in (folder / case).iterdir()}
    return found


def work(first: int, count: int) -> None:
    """Try `count` inputs and print a line of JSON for each; in a process of its own."""
    import logging

    logging.disable()
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TooSlow))
    with tempfile.TemporaryDirectory() as name:
        files_of = originals(Path(name) / "originals")
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        os.chdir(name)
        for seed in range(first, first + count):
            case = CASES[seed // len(MUTATIONS) % len(CASES)]
            files = dict(files_of[case])
            how = spoil(files, seed)
            folder = Path(name) / f"input-{seed}"
            folder.mkdir()
            for file, content in files.items():
                (folder / file).write_bytes(content)
            print(json.dumps({"seed": seed, "begins": how}), flush=True)
            started = time.monotonic()
            outcome = load_one(folder)
            if Path(SENTINEL).exists() or (folder / SENTINEL).exists():
                outcome = "CODE WAS RUN"
            seconds = time.monotonic() - started
            print(json.dumps({"seed": seed, "case": case, "how": how, "outcome": outcome, "s": seconds}), flush=True)
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()


def run(first: int, count: int) -> list[dict]:
    """Results of `count` inputs; a crash is one of them, and the rest is tried in a new process."""
    results, end = [], first + count
    while first < end:
        command = [sys.executable, "-m", "tests.fuzz.campaign", "--work", str(first), str(end - first)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        lines = [json.loads(line[line.index(_BEGIN) :]) for line in ran.stdout.splitlines() if _BEGIN in line]
        results += [line for line in lines if "outcome" in line]
        if ran.returncode == 0:
            break
        if not lines:
            raise RuntimeError(ran.stderr)
        last = lines[-1]
        results.append({"seed": last["seed"], "how": last.get("begins"), "outcome": f"CRASHED: {ran.stderr[-800:]}"})
        first = last["seed"] + 1
    return results


def bad(results: list[dict]) -> list[dict]:
    """Those that neither loaded nor ended in a clear error: their outcome begins with a word in capitals."""
    return [result for result in results if result["outcome"].split()[0].strip(":").isupper()]


def summary(results: list[dict]) -> str:
    """Outcomes by kind of mutation, as Markdown."""
    outcomes = sorted({result["outcome"].split(":")[0] for result in results})
    counts = Counter((result["how"], result["outcome"].split(":")[0]) for result in results)
    lines = [f"| | {' | '.join(outcomes)} |", f"|---|{'---:|' * len(outcomes)}"]
    for how in sorted({result["how"] for result in results}):
        lines.append(f"| {how} | {' | '.join(str(counts[how, outcome]) for outcome in outcomes)} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Try inputs, print what came of them, and fail if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first one")
    parser.add_argument("--work", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.work:
        work(*options.work)
        return
    results = run(options.first, options.inputs)
    print(summary(results))
    for result in bad(results)[:20]:
        print(f"\nseed {result['seed']}, {result['how']}\n{result['outcome']}")
    slowest = max(result.get("s", 0) for result in results)
    print(f"\n{len(results)} inputs, {len(bad(results))} not as they must be; slowest {slowest:.2f} s")
    sys.exit(1 if bad(results) else 0)


if __name__ == "__main__":
    main()
