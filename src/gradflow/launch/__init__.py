"""Hydra: composing, one-line errors, instantiating, jobs and studies.

Nothing is imported here: `cli` has to be there before what takes seconds to import.
"""
