"""Data: what models learn from and are measured on."""
