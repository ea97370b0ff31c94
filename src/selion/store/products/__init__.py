"""Products as agencies deliver them: folders and archives of bands with a text that explains them.

Their numbers are read as digital numbers of reflectance (10000 is a reflectance of 1), by what
their own metadata say.
"""
