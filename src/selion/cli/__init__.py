"""The command line: parse, one call, print the path.  click lives here only."""
