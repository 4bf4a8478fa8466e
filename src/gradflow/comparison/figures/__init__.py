"""Draw figures of a set of runs for papers, as PNG and SVG."""

from gradflow.comparison.figures.write import write_figures

__all__ = ["write_figures"]
