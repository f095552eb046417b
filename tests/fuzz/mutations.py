"""Ways to spoil a checkpoint: each takes its files by name and a random generator, and changes them in place."""

import json
import random
import struct
from collections.abc import Callable
from typing import Any

Files = dict[str, bytes]
Mutation = Callable[[Files, random.Random], None]

WEIGHTS, CONFIG = "model.safetensors", "config.json"
SENTINEL = "code_was_run"
JUNK: list[Any] = [
    None, True, -1, 0, 1, 3, 7, 2**31, 2**63, 10**30, -(10**12), 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "8",
    "../../etc/passwd", "/dev/zero", "eval", "__import__('os').abort()", "\x00", "é" * 500, [], [0], [-1], [10**9] * 3,
    ["../x"], {}, {"a": 1}, {"granularity": "unit"}, {"granularity": 3}, [[[]]], [None],
]  # fmt: skip


def header(files: Files) -> tuple[dict[str, Any], bytes]:
    """The header of the weights, and what follows it."""
    (length,) = struct.unpack("<Q", files[WEIGHTS][:8])
    return json.loads(files[WEIGHTS][8 : 8 + length]), files[WEIGHTS][8 + length :]


def write_header(files: Files, content: dict[str, Any], data: bytes) -> None:
    """Put the weights together again."""
    text = json.dumps(content).encode()
    files[WEIGHTS] = struct.pack("<Q", len(text)) + text + data


def truncated_weights(files: Files, rng: random.Random) -> None:
    """The file ends too early, often within the header."""
    size = len(files[WEIGHTS])
    files[WEIGHTS] = files[WEIGHTS][: rng.choice([0, 1, 7, 8, 9, rng.randrange(4000), rng.randrange(size)])]


def longer_weights(files: Files, rng: random.Random) -> None:
    """There is more than the header says."""
    files[WEIGHTS] += bytes(rng.randrange(1, 1000))


def header_length(files: Files, rng: random.Random) -> None:
    """The header claims another length."""
    length = rng.choice([0, 1, 2**20, 2**40, 2**63, 2**64 - 1, rng.randrange(10_000)])
    files[WEIGHTS] = struct.pack("<Q", length) + files[WEIGHTS][8:]


def header_bytes(files: Files, rng: random.Random) -> None:
    """Some bytes of the header are others."""
    (length,) = struct.unpack("<Q", files[WEIGHTS][:8])
    content = bytearray(files[WEIGHTS])
    for _ in range(rng.randrange(1, 6)):
        content[8 + rng.randrange(length)] = rng.randrange(256)
    files[WEIGHTS] = bytes(content)


def header_field(files: Files, rng: random.Random) -> None:
    """A tensor has another type, shape, place or name, is missing, or is there twice."""
    content, data = header(files)
    name = rng.choice([key for key in content if key != "__metadata__"])
    entry = content[name]
    kind = rng.randrange(7)
    if kind == 0:
        entry["dtype"] = rng.choice(["F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "X", 3, None])
    elif kind == 1:
        entry["shape"] = rng.choice([[], [0], [-1], [2**62, 4], entry["shape"][::-1], [*entry["shape"], 1], "x", None])
    elif kind == 2:
        begin, end = entry["data_offsets"]
        entry["data_offsets"] = rng.choice([[end, begin], [begin, end + 4], [0, 2**63], [begin], [-1, end], None])
    elif kind == 3:
        del content[name]
    elif kind == 4:
        content[rng.choice([f"{name}2", "", "../x", "classifier.bias", name.replace("0", "9")])] = content.pop(name)
    elif kind == 5:
        content[f"{name}.copy"] = dict(entry)
    else:
        content[name] = rng.choice(JUNK)
    write_header(files, content, data)


def swapped_tensors(files: Files, rng: random.Random) -> None:
    """Two tensors have each other's name."""
    content, data = header(files)
    one, other = rng.sample([key for key in content if key != "__metadata__"], 2)
    content[one], content[other] = content[other], content[one]
    write_header(files, content, data)


def data_bytes(files: Files, rng: random.Random) -> None:
    """Values are others: nothing that a checkpoint could notice, but it must not do harm."""
    content = bytearray(files[WEIGHTS])
    (length,) = struct.unpack("<Q", content[:8])
    for _ in range(rng.randrange(1, 50)):
        content[8 + length + rng.randrange(len(content) - 8 - length)] = rng.choice([0, 0xFF, 0x7F, rng.randrange(256)])
    files[WEIGHTS] = bytes(content)


def mask_bits(files: Files, rng: random.Random) -> None:
    """Bits of a mask are flipped: one, or two so that their number stays."""
    content, data = header(files)
    names = [key for key in content if key.endswith("mask_bits")]
    if not names:
        data_bytes(files, rng)
        return
    begin, end = content[rng.choice(names)]["data_offsets"]
    mask = bytearray(data[begin:end])
    ones, zeros = ([i for i in range(8 * len(mask)) if mask[i // 8] >> (i % 8) & 1 == bit] for bit in (1, 0))
    for position in [rng.choice(ones)] + ([rng.choice(zeros)] if zeros and rng.random() < 0.7 else []):
        mask[position // 8] ^= 1 << (position % 8)
    write_header(files, content, data[:begin] + bytes(mask) + data[end:])


def config_bytes(files: Files, rng: random.Random) -> None:
    """Some bytes of config.json are others, or it ends too early."""
    content = bytearray(files[CONFIG])
    for _ in range(rng.randrange(1, 5)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    files[CONFIG] = bytes(content[: rng.choice([len(content), rng.randrange(len(content))])])


def config_field(files: Files, rng: random.Random) -> None:
    """A field of config.json has a value that makes no sense, or is missing."""
    config = json.loads(files[CONFIG])
    for _ in range(rng.randrange(1, 3)):
        name = rng.choice(sorted(config))
        if rng.random() < 0.2:
            config.pop(name, None)
        else:
            config[name] = rng.choice(JUNK)
    files[CONFIG] = json.dumps(config).encode()


def config_record(files: Files, rng: random.Random) -> None:
    """What config.json says about the partition is something else."""
    config = json.loads(files[CONFIG])
    place = config.get(rng.choice(["dynamic_counts", "partition"])) or config
    name = rng.choice(sorted(place))
    choice = rng.random()
    if choice < 0.2:
        del place[name]
    elif choice < 0.4:
        place[rng.choice([name + "x", "", "../x"])] = place[name]
    else:
        place[name] = rng.choice([*JUNK, 8, 16, 24, 4096])
    files[CONFIG] = json.dumps(config).encode()


def config_code(files: Files, rng: random.Random) -> None:
    """config.json names code, or files elsewhere; running any of it leaves a trace."""
    config = json.loads(files[CONFIG])
    files["evil.py"] = f"import pathlib\npathlib.Path({SENTINEL!r}).touch()\nclass Model: pass\n".encode()
    target = rng.choice(["evil.Model", "other/repo--evil.Model", "../evil.Model", "os.system"])
    field = rng.choice(["auto_map", "custom_pipelines", "transformers_weights", "_name_or_path", "attn_implementation"])
    everything = dict.fromkeys(("AutoConfig", "AutoModel", *config.get("auto_map", {})), target)
    config[field] = everything if field == "auto_map" else target
    if rng.random() < 0.3:
        config["quantization_config"] = rng.choice([{"quant_method": "x"}, {"load_in_8bit": True}, 3])
    if rng.random() < 0.3:
        config["architectures"] = rng.choice([["Model"], ["evil.Model"], [3], "x", []])
    files[CONFIG] = json.dumps(config).encode()


def pickled_weights(files: Files, rng: random.Random) -> None:
    """The weights are a pickle that runs code when it is loaded."""
    code = f"cpathlib\nPath\n(V{SENTINEL}\ntR.".encode()
    files[rng.choice(["pytorch_model.bin", WEIGHTS])] = code
    if rng.random() < 0.7:
        files.pop(WEIGHTS, None) if "pytorch_model.bin" in files else None


def index_elsewhere(files: Files, rng: random.Random) -> None:
    """The weights are said to lie in other files."""
    content, _ = header(files)
    place = rng.choice(
        ["../outside.safetensors", "/etc/passwd", "x.bin", "", WEIGHTS, "model-00001-of-00001.safetensors", 3]
    )
    weight_map = {name: place for name in content if name != "__metadata__"}
    if rng.random() < 0.3:
        weight_map[rng.choice(sorted(weight_map))] = rng.choice(JUNK)
    index = rng.choice(
        [{"weight_map": weight_map}, {"metadata": {"total_size": 10**30}, "weight_map": weight_map}, [], {}]
    )
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    files["model-00001-of-00001.safetensors"] = files.pop(WEIGHTS)


MUTATIONS: tuple[Mutation, ...] = (
    truncated_weights, longer_weights, header_length, header_bytes, header_field, header_field, swapped_tensors,
    data_bytes, mask_bits, config_bytes, config_field, config_field, config_record, config_record, config_code,
    pickled_weights, index_elsewhere,
)  # fmt: skip
