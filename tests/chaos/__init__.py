"""What clients and machines do that no good one does: memory is bounded, each call answered once, the end clean.

Over stdio all of it is in `test_stdio`, over HTTP (/mcp and the gateway) in `test_http`; and besides:

- a byte at a time: the clocks of heads and bodies, in `gateway_net/test_listener`; an unfinished line, in
  `transports/test_hostile_stdio`
- who never reads: the clock of writing, in `gateway_net/test_listener`; the queue, in
  `transports/test_session_back_pressure`
- who closes half, or goes: `transports/test_session_end`, `transports/test_stdio`, `gateway_net/test_listener`
- a flood: 10,000 connections to the gateway, in `peers_service/test_crowds`
- repeated ids, and what is cancelled: `transports/test_http`, `transports/test_session_calls`
- a gigabyte to the gateway: `peers_service/test_crowds`
- a wall clock that jumps: `gateway_store/test_store`, of budgets, which go by it, and windows, which do not
- a full disk: `test_full_disk` for the store, `transports/test_stdio` for stdout
"""
