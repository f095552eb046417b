"""Which tensors a form has, and which form has such tensors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from padnet_hf.errors import PADNetError
from padnet_hf.method.layout import Form, Layout


@st.composite
def _layouts(draw: st.DrawFn) -> Layout:
    dims = draw(st.integers(1, 4))
    shape = draw(st.lists(st.integers(1, 6), min_size=dims, max_size=dims))
    unit_dim = draw(st.sampled_from([None, *range(dims)]))
    blocks = draw(st.sampled_from([1, 2]))
    if unit_dim is not None:
        shape[unit_dim] *= blocks
    return Layout(draw(st.integers(1, 4)), torch.Size(shape), unit_dim, blocks, draw(st.booleans()))


@given(st.data())
def test_a_form_is_found_again_from_its_shapes(data: st.DataObject) -> None:
    layout = data.draw(_layouts())
    granularity = data.draw(st.sampled_from(["element", "unit"]))
    masks = data.draw(st.sampled_from(["shared", "per_copy"]))
    total = layout.num_candidates(granularity)
    has_channels = layout.unit_dim is not None and layout.ordered
    if masks == "per_copy" and granularity == "unit" and has_channels:
        with pytest.raises(PADNetError, match="a channel cannot be left out"):
            layout.shapes(Form(total, granularity, masks))
        return
    form = Form(data.draw(st.integers(int(masks == "per_copy" and granularity == "unit"), total)), granularity, masks)
    shapes = layout.shapes(form)
    assert layout.form_of(shapes, granularity) == (
        form._replace(masks="shared") if form.num_dynamic in (0, total) else form
    )
    other = layout.form_of(shapes, "unit" if granularity == "element" else "element")
    assert layout.shapes(other) == shapes


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"dynamic": (3, 5)},
        {"dynamic": (2, 6, 4)},
        {"static": (6,)},
        {"dynamic": (3, 10), "static": (13,), "phi": (1,), "mask_bits": (3,)},
        {"dynamic": (3, 10), "static": (14,), "phi": (1,)},
        {"dynamic": (3, 10), "static": (14,), "mask_bits": (3,)},
        {"dynamic": (3, 2, 4), "static": (4, 4), "phi": (1,), "mask_bits": (3,)},
        {"dynamic": (3, 7, 4), "static": (-1, 4), "phi": (1,), "mask_bits": (1,)},
        {"dynamic": (3, 10), "static": (24,), "phi": (1,), "mask_bits": (3,)},
        {"dynamic": (3, 10), "static": (14,), "phi": (1,), "mask_bits": (3, 3)},
        {"dynamic": (3, 2, 4)},
    ],
)
def test_shapes_that_no_form_has_give_none(shapes: dict[str, tuple[int, ...]]) -> None:
    assert Layout(3, torch.Size((6, 4)), 0).form_of(shapes, "element") is None
