import pytest

from padnet_hf import PADNetError
from padnet_hf.jobs.loading import load_or_explain


@pytest.mark.parametrize("kind", [OSError, ValueError, RuntimeError])
def test_what_a_loader_raises_names_source_and_remedy_in_one_line(kind: type[Exception]) -> None:
    def broken(source: str, revision: str) -> None:
        raise kind(f"no {source}\nat {revision}")

    with pytest.raises(PADNetError, match="cannot load 'm': no m at main; give a folder"):
        load_or_explain(broken, "m", "give a folder", revision="main")


def test_our_own_errors_stay_as_they_are() -> None:
    def refused(source: str) -> None:
        raise PADNetError("mine")

    with pytest.raises(PADNetError, match=r"^mine$"):
        load_or_explain(refused, "m", "give a folder")
