"""The system that faults are done to: processes, links, small disks, event taps."""
