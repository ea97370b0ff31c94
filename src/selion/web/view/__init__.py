"""The map page of ``selion view``: imagery, scores, fields and photographs, cut into tiles when they are looked at."""
