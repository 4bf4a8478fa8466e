"""Figures for papers: what a set of runs shows, as PNG and SVG."""

from gradflow.comparison.figures.write import write_figures

__all__ = ["write_figures"]
