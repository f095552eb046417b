from dataclasses import dataclass

import pytest

from padnet_hf import PADNetError
from padnet_hf.jobs.command_line import option, parse_options, run_command


@dataclass
class Options:
    """Two options."""

    ratio: float | None = option("A share.")
    size: int = option("A number.", 3)


def test_a_scripts_defaults_stand_before_the_dataclass_and_the_line_before_both() -> None:
    assert parse_options((Options,), [], {"size": 4}) == (Options(None, 4),)
    assert parse_options((Options,), ["--size", "5", "--ratio", "0.5"], {"size": 4}) == (Options(0.5, 5),)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--ration 0.5", "unknown option '--ration'; --help lists the options"),
        ("--rat 0.5", "unknown option '--rat'"),
        ("--size big", "size.*'big'"),
    ],
)
def test_an_option_that_does_not_exist_or_fit_is_refused_without_a_usage_text(line: str, message: str) -> None:
    with pytest.raises(PADNetError, match=message) as error:
        parse_options((Options,), line.split(), {})
    assert "\n" not in str(error.value)


def test_of_several_processes_the_first_one_talks_and_the_others_wait_before_they_say_a_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waited = []
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setattr("padnet_hf.jobs.command_line.disable_progress_bar", lambda: waited.append("quiet"))

    def mistaken() -> None:
        raise PADNetError("no such file here")

    with pytest.raises(SystemExit):
        run_command(mistaken)
    assert waited == ["quiet", 5]
    assert capsys.readouterr().err == "error: no such file here\n"


def test_a_mistake_is_one_line_on_stderr_and_exit_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    def mistaken() -> None:
        raise PADNetError("ratio is 2,\n  allowed is 0 to 1")

    with pytest.raises(SystemExit) as ended:
        run_command(mistaken)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: ratio is 2, allowed is 0 to 1\n"
