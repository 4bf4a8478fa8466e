"""gradflow: every cause of, and every remedy for, vanishing and exploding gradients is one word."""
