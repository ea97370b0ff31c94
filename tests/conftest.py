"""What holds for every test: a slow machine is no failure, so Hypothesis has no deadline."""

from hypothesis import settings

settings.register_profile("selion", deadline=None)
settings.load_profile("selion")
