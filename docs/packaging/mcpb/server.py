"""What the bundle's host starts."""

from openai_gateway_mcp.__main__ import main

main()
