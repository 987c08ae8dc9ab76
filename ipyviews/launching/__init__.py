"""The agent, provisioners and kernel managers."""
