"""The method: which parameters of a dynamic layer stay dynamic, and how both parts are stored. Knows torch alone."""

from padnet_hf.method.config import PartitionConfig
from padnet_hf.method.criteria import register_criterion
from padnet_hf.method.imp import partition
from padnet_hf.method.report import PartitionReport
from padnet_hf.method.weight import PADWeight

__all__ = ["PADWeight", "PartitionConfig", "PartitionReport", "partition", "register_criterion"]
