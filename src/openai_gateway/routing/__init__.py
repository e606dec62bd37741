"""What to send where, decided purely: no clock, no network, no environment."""
