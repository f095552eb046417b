"""`import padnet_hf`: what it offers, and that it costs next to nothing until something is used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import padnet_hf

STUB = ast.parse((Path(padnet_hf.__file__).parent / "__init__.pyi").read_text(encoding="utf-8"))
HOMES = {
    alias.name: f"padnet_hf.{node.module}"
    for node in STUB.body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}

IN_THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
import padnet_hf
sys.setswitchinterval(1e-6)
barrier = Barrier(len(padnet_hf.__all__))
with ThreadPoolExecutor(barrier.parties) as pool:
    assert all(pool.map(lambda name: barrier.wait() >= 0 and getattr(padnet_hf, name), padnet_hf.__all__))
"""


def run_fresh(program: str) -> None:
    """Run a program in a new process in which warnings are errors."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", padnet_hf.__all__)
def test_every_public_name_is_the_one_of_its_module(name: str) -> None:
    assert getattr(padnet_hf, name) is getattr(importlib.import_module(HOMES[name]), name)


def test_the_names_that_are_listed_are_those_that_type_checkers_see() -> None:
    (listed,) = (ast.literal_eval(node.value) for node in STUB.body if isinstance(node, ast.Assign))
    assert sorted(padnet_hf.__all__) == sorted(dir(padnet_hf)) == sorted(listed)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="PADGPT2Model"):
        _ = padnet_hf.PADGPT2Model


def test_importing_the_package_imports_neither_torch_nor_transformers() -> None:
    run_fresh("import sys, padnet_hf; assert not {'torch', 'transformers'} & set(sys.modules)")


@pytest.mark.parametrize("first", ["padnet_hf.method.packing", "padnet_hf"])
def test_partition_is_the_function_whether_or_not_its_sub_package_was_imported_first(first: str) -> None:
    run_fresh(
        f"import {first}, padnet_hf; from padnet_hf import partition, PADWeight; "
        "assert partition is padnet_hf.partition and partition.__module__ == 'padnet_hf.method.imp'"
    )


def test_threads_may_be_the_first_to_use_the_names_all_at_the_same_time() -> None:
    run_fresh(IN_THREADS)
