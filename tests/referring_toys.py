"""The smallest LAVT and ReLA."""

REFERRING = {
    "embed_dim": 16,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 4,
    "text_hidden": 32,
    "text_layers": 1,
    "text_heads": 2,
    "vocabulary": 64,
    "drop_path": 0.0,
}
"""Sizes of Swin and BERT."""
