"""Use Hydra: compose, fold errors into one line, instantiate, run jobs and studies.

Nothing is imported here: `cli` must load before the imports that take seconds.
"""
