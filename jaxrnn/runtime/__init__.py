"""The machine and the process: devices, signals, the cache of compiled programs."""
