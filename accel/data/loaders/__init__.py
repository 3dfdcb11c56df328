"""Who reads: threads, processes, DALI, the memory of the device."""
