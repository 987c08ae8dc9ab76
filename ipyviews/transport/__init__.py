"""Ports: multipart messages in and out, no decisions."""
