"""What tests need of a newer transformers than the oldest that the package runs on."""

import pytest
import transformers

from padnet_hf.transformers_seams import HAS_PARALLEL_STYLES

needs_parallel_styles = pytest.mark.skipif(
    not HAS_PARALLEL_STYLES, reason=f"transformers {transformers.__version__} cannot spread PAD models over processes"
)
