"""The laboratory: theory, probe, phase diagram, treatments, benchmarks. A fork may delete it."""
