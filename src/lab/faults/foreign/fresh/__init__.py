"""The foreign suite's fresh part: other tasks, losses and nets, kept for a final judgement.

It was made without a look at any verdict on it. Whether a base learns, and whether a fault does
harm, was decided by the held-out score alone.
"""
