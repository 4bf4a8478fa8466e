"""The page: any set of runs in one HTML file that needs neither a network nor a server."""

from gradflow.comparison.page.build import build_page

__all__ = ["build_page"]
