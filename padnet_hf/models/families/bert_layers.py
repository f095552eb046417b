"""The layers of BERT and of its many descendants that have kept the names."""

from padnet_hf.models.seams import FeedForward

SEAM = FeedForward(
    "encoder.layer.*",
    up="intermediate.dense",
    down="output.dense",
    activation="intermediate.intermediate_act_fn",
    tp_plan={
        "encoder.layer.*.attention.self.query": "colwise",
        "encoder.layer.*.attention.self.key": "colwise",
        "encoder.layer.*.attention.self.value": "colwise",
        "encoder.layer.*.attention.output.dense": "rowwise",
    },
)
