"""ViT-Adapter with FADE.

A plain vision transformer as a pyramid of features, in pure torch, on any processor.

Chen et al.: Vision transformer adapter for dense predictions (ICLR 2023, arXiv 2205.08534); Lu et
al.: FADE, fusing the assets of decoder and encoder for task-agnostic upsampling (ECCV 2022, arXiv
2207.10392).  :func:`selion.models.vit_adapter.network.make_adapter` builds a whole segmenter.
"""
