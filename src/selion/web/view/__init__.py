"""The map page of ``selion view``.

Imagery, scores, fields and photographs, cut into tiles when they are looked at.
"""
