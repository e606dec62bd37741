// Drives the client of npm `@modelcontextprotocol/sdk` 1.x through one session.
import { drive, job, load, server } from "./driving.mjs";

const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = load("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = load("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { WebSocketClientTransport } = load("@modelcontextprotocol/sdk/client/websocket.js");

function connection() {
  if (server) return new StdioClientTransport(server);
  const url = new URL(job.url);
  return url.protocol === "ws:" ? new WebSocketClientTransport(url) : new StreamableHTTPClientTransport(url);
}

// 1.x hands the negotiated version to its transport and offers no other way to learn it.
const transport = connection();
const tell = transport.setProtocolVersion?.bind(transport);
let negotiated;
transport.setProtocolVersion = (version) => {
  negotiated = version;
  tell?.(version);
};

await drive({
  client: new Client({ name: "sdk-v1-driver", version: "1" }),
  transport,
  version: () => negotiated,
  call: (client, params, options) => client.callTool(params, undefined, options),
  more: async (client) => ({ pinged: await client.ping() }),
});
