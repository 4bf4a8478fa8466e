"""What remedies need beside words: scaled branches, standardized weights, LSUV, tailored slopes."""
