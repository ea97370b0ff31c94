"""Relative depth from one photograph."""
