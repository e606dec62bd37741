// Drives the client of npm `@modelcontextprotocol/client` 2.x, in each of its modes, through one session.
import { drive, job, load, server } from "./driving.mjs";

const { Client, StreamableHTTPClientTransport } = load("@modelcontextprotocol/client");
const { StdioClientTransport } = load("@modelcontextprotocol/client/stdio");

const modes = { legacy: "legacy", auto: "auto", pinned: { pin: "2026-07-28" } };

async function listen(client) {
  if (client.getNegotiatedProtocolVersion() < "2026-07-28") return { pinged: await client.ping() };
  const subscription = await client.listen({ toolsListChanged: true });
  await subscription.close();
  return { honored: subscription.honoredFilter.toolsListChanged, ended: await subscription.closed };
}

await drive({
  client: new Client(
    { name: "client-v2-driver", version: "1" },
    { versionNegotiation: { mode: modes[job.mode] } },
  ),
  transport: server ? new StdioClientTransport(server) : new StreamableHTTPClientTransport(new URL(job.url)),
  version: (client) => client.getNegotiatedProtocolVersion(),
  call: (client, params, options) => client.callTool(params, options),
  more: listen,
});
