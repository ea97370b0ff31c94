"""Landscapes, photographs and archives that do not exist and know their truth."""
