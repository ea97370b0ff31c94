"""UNETR in two dimensions."""
