"""What lies on the disk: checkpoints, the folder of a run, files of weights."""
