"""Messages to frames and back; no I/O."""
