"""What Lightning says of a run that is meant as it is, left unsaid."""

import logging
import warnings

_REMARKS = (
    ".*does not have many workers.*",  # batches are cut in this process, on purpose
    ".*Checkpoint directory .* exists.*",
    ".*lr_scheduler.step.*before.*optimizer.step.*",  # fp16's first steps are skipped
    ".*resuming from a checkpoint.*",  # the batches continue where they were
    ".*GPU available but not used.*",
    ".*fp16 is not supported on CPU.*",  # refused here, not replaced
    ".*but have no `val_dataloader`.*",  # data.validation=0
    ".*is smaller than the logging interval.*",  # steps are counted across epochs
    ".*Total length of `list` across ranks is zero.*",  # the same
    ".*LeafSpec.*",  # Lightning's own use of torch
)


def quieten() -> None:
    """Silence Lightning's remarks; its errors stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for remark in _REMARKS:
        warnings.filterwarnings("ignore", remark)
