"""What is known of tasks after their end: in memory, within bounds, and in a file if asked."""
