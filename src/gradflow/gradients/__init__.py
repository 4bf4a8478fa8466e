"""Measure, record and diagnose gradients: histograms, a run's record, the monitor that writes it.

Import each name from its own file (`from gradflow.gradients.record import read_gradients`). Then
reading a record imports neither torch nor Lightning, which take seconds.
"""
