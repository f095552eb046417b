import json

from benchmarks.comparison import Comparison, Job, by_part, describe, format_value, part_table

VALUES = {"ours": [1.0, 2.0, 3.0], "theirs": [2.0, 4.0, 12.0]}


def finished(quantity: str = "seconds", tokens: int = 1024) -> Comparison:
    job = Job("forward", {"shape": "16/32", "tokens": tokens}, lambda *_: {}, 3, ("theirs", "absent"), (8, "tokens"))
    (comparison,) = Comparison.all_of(job, {quantity: VALUES})
    return comparison


def test_what_was_written_as_json_is_read_back() -> None:
    comparison = finished()
    written = json.loads(json.dumps(comparison.to_json()))
    again = Comparison.from_json(written)
    assert again.values == VALUES
    assert (again.part, again.case, again.baselines) == ("forward", comparison.case, ["theirs"])
    assert written["medians"] == {"ours": 2.0, "theirs": 4.0}
    assert written["ratios"]["ours"]["theirs"] == {"lower": 0.375, "median": 0.5, "upper": 0.5}
    assert again.table() == comparison.table()


def test_a_table_has_medians_rates_and_ratios() -> None:
    comparison = finished()
    assert comparison.title() == "forward: 16/32, 1,024 tokens"
    header, _, ours, theirs = (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in comparison.table().splitlines()
    )
    assert header == ["", "ms", "tokens/s", "to theirs"]
    assert ours == ["ours", "2,000", "4", "0.50 [0.38, 0.50]"]
    assert theirs == ["theirs", "4,000", "2", "1.00 [1.00, 1.00]"]


def test_bytes_have_no_rate_and_are_their_own_table() -> None:
    comparison = finished("peak bytes")
    assert comparison.title() == "forward, peak bytes: 16/32, 1,024 tokens"
    assert "tokens/s" not in comparison.table()
    groups = by_part([finished(), comparison, finished(tokens=64)])
    assert [(key, len(group)) for key, group in groups.items()] == [
        (("forward", "seconds"), 2),
        (("forward", "peak bytes"), 1),
    ]


def test_all_cases_of_a_part_are_rows() -> None:
    lines = part_table([finished(), finished(tokens=64)]).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == ["forward", "theirs, ms", "ours"]
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]] == ["16/32, 64 tokens", "4,000", "0.50 [0.38, 0.50]"]


def test_without_its_baselines_a_quantity_is_compared_with_its_first_variant() -> None:
    job = Job("select", {}, lambda *_: {}, 1, ("scores",))
    found = Comparison.all_of(job, {"seconds": {"select": [1.0]}, "bytes": {"select": [6.0], "scores": [3.0]}})
    assert [comparison.baselines for comparison in found] == [["select"], ["scores"]]


def test_numbers_and_cases_in_words() -> None:
    assert format_value(0.00123, "seconds") == "1.23"
    assert format_value(12.3456, "seconds") == "12,346"
    assert format_value(3 << 20, "peak bytes") == "3"
    assert describe({"network": "ResNet-50", "images": 8}) == "ResNet-50, 8 images"
    assert describe({"images": 1, "in each batch": 1}) == "1 image, 1 in each batch"
