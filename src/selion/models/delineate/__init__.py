"""Delineate Anything: a detector that draws fields, kept apart for its licence (AGPL-3.0)."""
