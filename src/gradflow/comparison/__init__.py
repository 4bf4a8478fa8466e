"""Compare runs: tables, figures, a page and a W&B report, from folders in any state."""
