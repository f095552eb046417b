"""The style by which transformers' expert parallelism spreads the experts of a PAD layer over processes.

A configuration's plan names it for the feed-forward layer, and transformers' own "ep_dispatch_experts" for the experts
inside: transformers goes from the outside in, so its dispatch finds the experts spread, and brings them their tokens.
"""

from torch.distributed.device_mesh import DeviceMesh

from padnet_hf.layers.feed_forward import PADFeedForward
from padnet_hf.transformers_seams import ALL_PARALLEL_STYLES, HAS_PARALLEL_STYLES, ExpertParallelLayer


class ShardedExperts(ExpertParallelLayer):
    """Gives every process its share of the experts; what is static stays whole in each."""

    def install_forward(self, module: PADFeedForward, mesh: DeviceMesh) -> PADFeedForward:
        """Called by transformers with the still empty layer. Raises PADNetError if the experts cannot be shared."""
        module.experts.shard(mesh)
        return module


SHARD_EXPERTS = "pad_shard_experts"
"""Its name in a plan."""

if HAS_PARALLEL_STYLES:
    ALL_PARALLEL_STYLES.register(SHARD_EXPERTS, ShardedExperts())
