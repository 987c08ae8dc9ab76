"""The user's side: connection, views, results."""
