"""What stands in the place of what is not there; torch is not needed to know it."""

ABSENT = -1.0
"""In a band, or a pixel of a date, that is not there; numbers that are there are scaled to 0 and
above."""
