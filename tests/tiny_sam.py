"""Tiny Segment Anything models with random weights, built from a configuration and saved as
transformers saves them.
"""

from __future__ import annotations

import json

import torch
from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
    SamConfig,
    SamHQConfig,
    SamHQModel,
    SamModel,
)

VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 16,
    "output_channels": 16,
    "num_pos_feats": 8,
    "window_size": 2,
    "global_attn_indexes": [1],
    "initializer_range": 0.02,
}
PROMPT = {"hidden_size": 16, "image_size": 64, "patch_size": 16}
DECODER = {"hidden_size": 16, "mlp_dim": 128, "iou_head_hidden_dim": 16}


def make(kind):
    torch.manual_seed(0)
    if kind == "sam":
        return SamModel(
            SamConfig(
                vision_config=VISION, prompt_encoder_config=PROMPT, mask_decoder_config=DECODER
            )
        )
    if kind == "sam_hq":
        return SamHQModel(
            SamHQConfig(
                vision_config=VISION,
                prompt_encoder_config=PROMPT,
                mask_decoder_config={**DECODER, "vit_dim": 32},
            )
        )
    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[64, 64],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 2, 4, 2],
        global_attention_blocks=[3],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=16,
    )
    return Sam2Model(
        Sam2Config(
            vision_config=vision,
            prompt_encoder_config=Sam2PromptEncoderConfig(**PROMPT),
            mask_decoder_config=Sam2MaskDecoderConfig(**DECODER),
        )
    )


def save(kind, folder):
    """Write a checkpoint of a kind: ``sam``, ``sam2``, ``sam2_video`` (as SAM 2.1 is published),
    ``sam_hq``.
    """
    make(kind).save_pretrained(folder)
    processor = {
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "size": {"longest_edge": 64},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    if kind == "sam2_video":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "sam2_video"}))
    return folder
