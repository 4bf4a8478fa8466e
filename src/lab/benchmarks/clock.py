"""Time work on any device: an accelerator's queue must be empty when its clock is read."""

import time

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all its work; does nothing on a CPU."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def seconds(device: torch.device) -> float:
    """Return CPU seconds of this process on a CPU, and wall seconds on an accelerator."""
    if device.type == "cpu":
        return time.process_time()
    synchronize(device)
    return time.perf_counter()
