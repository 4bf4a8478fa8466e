"""The fault suites: runs whose state is known, and how often the verdict is right about them.

A suite is a package: `designed`, `drawn` and `foreign`. Each says which runs it has, trains them
(`run.py`), and prints tables (`table.py`) over its `results.csv`. The files here are shared.
"""
