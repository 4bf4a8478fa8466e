"""The fault suite: runs with a known cause of failure, and how often the verdict finds it."""
