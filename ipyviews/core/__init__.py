"""The scheduler as a state machine; no I/O, no clock."""
