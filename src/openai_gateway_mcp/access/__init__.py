"""Who may call over the network: tokens, certificates, and what they allow."""
