"""Mask2Former: queries, each a class and a mask."""
