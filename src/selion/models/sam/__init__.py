"""Segment Anything and its kin: an image is looked at once, and points ask for masks.

:mod:`.convert` reads a folder as transformers publishes it, :mod:`.network` is the model itself,
:mod:`.segmenter` asks with a grid of points and keeps the masks that are good (zero-shot, objects
for ``selion map``), or with points drawn from the truth (the baselines of the close-range tables).
:mod:`.semantic` is a second network over the same checkpoint, which ``selion train`` fine-tunes for
classes.
"""
