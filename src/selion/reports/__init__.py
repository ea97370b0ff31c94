"""What shows results: pages, pictures, notebooks.  Nothing here decides anything."""
