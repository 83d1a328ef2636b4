"""Files on disk: checkpoints, the folder of a run, exported weights."""
