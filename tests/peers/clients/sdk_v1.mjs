// Drives the client of npm `@modelcontextprotocol/sdk` 1.x through one session.
import { drive, load, server } from "./driving.mjs";

const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = load("@modelcontextprotocol/sdk/client/stdio.js");

// 1.x hands the negotiated version to its transport and offers no other way to learn it.
const transport = new StdioClientTransport(server);
let negotiated;
transport.setProtocolVersion = (version) => (negotiated = version);

await drive({
  client: new Client({ name: "sdk-v1-driver", version: "1" }),
  transport,
  version: () => negotiated,
  call: (client, params, options) => client.callTool(params, undefined, options),
  more: async (client) => ({ pinged: await client.ping() }),
});
