from pathlib import Path

import pytest

from padnet_hf import PADNetError
from padnet_hf.jobs.wheel_data import installed_path


def test_a_file_of_an_installed_package_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "carries_data"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "table.csv").write_text("1,2")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_path("carries_data", "table.csv", "") == package / "table.csv"


@pytest.mark.parametrize("package", ["torch", "surely_not_installed"])
def test_what_is_missing_is_named_with_the_remedy(package: str) -> None:
    with pytest.raises(PADNetError, match=f"'table.csv' of the wheel that brings '{package}'.*: install it"):
        installed_path(package, "table.csv", "install it")
