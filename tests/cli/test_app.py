"""The command as a user meets it: help, version, one line for a mistake."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from padnet_hf.cli.app import app, main
from padnet_hf.version import __version__
from tests.cli.samples import Padnet, files_of

COMMANDS = ("inspect", "upcycle", "families", "partition", "to-dense", "export", "card", "push")


def run_script(*args: object) -> subprocess.CompletedProcess[str]:
    """The command that installing the package puts beside Python."""
    script = Path(sys.executable).with_name("padnet")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run([script, *map(str, args)], env=environment, capture_output=True, text=True, timeout=120)


def test_the_installed_command_runs_and_a_mistake_is_one_line(tmp_path: Path) -> None:
    done = run_script("inspect", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: '.*' is not a PAD checkpoint that can be read: [^\n]+\n", done.stderr)


def test_help_comes_without_waiting_for_torch() -> None:
    program = (
        "import sys; from padnet_hf.cli.app import app; app(standalone_mode=False); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(command in done.stdout for command in COMMANDS)


def test_only_the_result_stands_on_stdout(dynamic_folders: dict, data: dict, tmp_path: Path) -> None:
    """So that --json can be piped: what loading, scoring and saving have to say goes to stderr."""
    options = ("--rounds", 1, "--data", data["bert"], "--json")
    done = run_script("partition", dynamic_folders["bert"], tmp_path / "target", *options)
    assert done.returncode == 0
    assert json.loads(done.stdout)["record"]["num_rounds"] == 1
    assert "partition: 100%" in done.stderr
    assert "Warning" not in done.stderr


def test_version(padnet: Padnet) -> None:
    assert padnet("--version") == f"padnet_hf {__version__}\n"


def test_help_lists_every_command_and_none_is_needed(padnet: Padnet) -> None:
    shown = padnet("--help")
    assert re.findall(r"^│ (\S+)  +[A-Z]", shown.partition("Commands")[2], re.MULTILINE) == list(COMMANDS)
    bare = CliRunner().invoke(app, [])
    assert set(COMMANDS) <= set(bare.output.split())


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_of_every_command_has_an_example(padnet: Padnet, command: str, option: str) -> None:
    assert f"Example: padnet {command} " in " ".join(padnet(command, option).split())


@pytest.mark.parametrize("args", [("bogus",), ("inspect",), ("upcycle", "source"), ("inspect", "folder", "--bogus")])
def test_what_cannot_be_parsed_is_said_on_stderr(args: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, args)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Error" in done.stderr


def test_main_turns_errors_into_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, dynamic_folders: dict, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["padnet", "to-dense", str(dynamic_folders["bert"]), str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (1, "")
    assert said.err == f"error: '{tmp_path}' is there already: give a new folder, or add --overwrite.\n"
    assert files_of(tmp_path) == {"config.json": b"{}"}
