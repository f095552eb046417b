"""From the command line to dataclasses, and from a mistake in it to one line on stderr."""

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, NoReturn

from transformers import HfArgumentParser
from transformers.utils.logging import disable_progress_bar

from padnet_hf.errors import PADNetError
from padnet_hf.jobs.refusals import as_one_error

_SECONDS_TO_BE_ENDED = 5


def option(text: str, default: Any = None) -> Any:
    """A dataclass field that is an option with this help text."""
    return field(default=default, metadata={"help": text})


class _Parser(HfArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise PADNetError(f"{message}; --help lists the options")


def parse_options(
    dataclasses: Sequence[type], argv: Sequence[str] | None, defaults: Mapping[str, Any]
) -> tuple[Any, ...]:
    """One object for each dataclass, from `argv` (`sys.argv` for None).

    `defaults` are a script's own, where they differ from the dataclasses'. Raises PADNetError for any option that does
    not exist or fit, abbreviations included.
    """
    parser = _Parser(list(dataclasses), allow_abbrev=False)
    parser.set_defaults(**defaults)
    with as_one_error("training options", "--help lists the options"):
        *arguments, unknown = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
    if unknown:
        raise PADNetError(f"unknown option {unknown[0]!r}; --help lists the options")
    return tuple(arguments)


def run_command(main: Callable[[], object]) -> None:
    """The command: `main`, with every mistake of the user as one line on stderr and exit code 2.

    Of several processes only the first one talks. What stops it stops the others too, as a rule: the launcher ends them
    while they wait. A mistake that is another's alone, say on a machine without the data, is said after the wait.
    """
    is_first = int(os.environ.get("RANK", 0)) == 0
    level = logging.INFO if is_first else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stdout)
    if not is_first:
        disable_progress_bar()
    try:
        main()
    except PADNetError as error:
        if not is_first:
            time.sleep(_SECONDS_TO_BE_ENDED)
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.exit(2)
