from PIL import Image

from image_split import ImageSplit


def numbered(count: int) -> ImageSplit:
    return ImageSplit(
        "numbers", count, lambda index: Image.new("L", (1, 1), index), str, tuple(str(n % 3) for n in range(count))
    )


def values(split: ImageSplit) -> list[int]:
    return [split.open(index).getpixel((0, 0)) for index in range(len(split))]


def test_taken_images_keep_label_and_description() -> None:
    taken = numbered(9).take([4, 2]).take([1, 0])
    assert (values(taken), taken.labels) == ([2, 4], ("2", "1"))
    assert taken.describe(1) == "4"


def test_a_sample_is_always_the_same_and_not_the_beginning() -> None:
    first, second = values(numbered(50).sample(10)), values(numbered(50).sample(10))
    assert first == second
    assert len(set(first)) == 10
    assert max(first) > 10
    assert len(numbered(5).sample(10)) == len(numbered(5).sample(None)) == 5


def test_a_division_loses_nothing_and_shares_nothing() -> None:
    held, rest = numbered(50).divide(0.1)
    assert len(held) == 5
    assert sorted(values(held) + values(rest)) == list(range(50))
    assert len(numbered(4).divide(0.01)[0]) == 1
