"""The layers of Llama and of its many descendants that have kept the names."""

from padnet_hf.models.seams import FeedForward

SEAM = FeedForward(
    "layers.*.mlp",
    gate="gate_proj",
    up="up_proj",
    down="down_proj",
    activation="act_fn",
    tp_plan={
        "layers.*.self_attn.q_proj": "colwise",
        "layers.*.self_attn.k_proj": "colwise",
        "layers.*.self_attn.v_proj": "colwise",
        "layers.*.self_attn.o_proj": "rowwise",
    },
)
