"""The trio floor of the gateway: it awaits what routing decided."""
