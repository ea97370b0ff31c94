"""Networks that segment what words name: LAVT, and ReLA (GRES)."""
