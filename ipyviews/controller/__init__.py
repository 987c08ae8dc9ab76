"""The process that routes messages between clients and engines."""
