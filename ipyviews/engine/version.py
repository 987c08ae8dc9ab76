"""Which engine code this is; travels with it when it is sent as source."""

VERSION = "0.1.0"
