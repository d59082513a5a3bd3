"""One foreign Linux program instead of a machine: loader, address space, threads, signals, and system calls by topic."""
