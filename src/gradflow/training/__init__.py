"""Training: the LightningModule, clipping, schedules, and the one function that runs a job."""
