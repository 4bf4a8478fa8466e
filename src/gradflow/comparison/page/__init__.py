"""Build the page: any set of runs in one HTML file that needs no network and no server."""

from gradflow.comparison.page.build import build_page

__all__ = ["build_page"]
