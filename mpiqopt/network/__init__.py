"""What algorithms see of the network: gossip, a server, exact coordination."""
