from hypothesis import settings

# A busy machine is no failure.
settings.register_profile("tests", deadline=None, max_examples=100)
settings.load_profile("tests")
