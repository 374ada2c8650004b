"""The only door to the network: clients, and server processes on this machine."""
