"""Ports: whole multipart messages in and out, over ZeroMQ or in memory. No decisions."""
