"""The map page of ``tilth view``: imagery, scores, fields and photographs, cut into tiles when they are looked at."""
