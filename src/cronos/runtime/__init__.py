"""The shell around the kernel: clocks, tasks, processes and the loop that carries effects out."""
