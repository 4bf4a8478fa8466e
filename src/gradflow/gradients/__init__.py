"""What gradients look like: histograms, the record of a run, the monitor that fills it.

Import each name from its own file (`from gradflow.gradients.record import read_gradients`): so
reading a record needs neither torch nor Lightning, which take seconds to import.
"""
