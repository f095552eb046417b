"""The method: which parameters of a dynamic layer stay dynamic, and how both parts are stored. Knows torch alone."""

from padnet_hf.partition.config import PartitionConfig
from padnet_hf.partition.criteria import register_criterion
from padnet_hf.partition.imp import partition
from padnet_hf.partition.report import PartitionReport
from padnet_hf.partition.weight import PADWeight

__all__ = ["PADWeight", "PartitionConfig", "PartitionReport", "partition", "register_criterion"]
