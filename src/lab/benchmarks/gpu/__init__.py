"""Everything that needs an NVIDIA GPU, in one command: `make gpu`."""
