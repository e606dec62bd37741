// The npm SDK 1.x server at its fastest: the low-level one, its tools read once from the file it is given.
import { readFileSync } from "node:fs";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { ListToolsRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const listed = JSON.parse(readFileSync(process.argv[2], "utf8"));
const server = new Server({ name: "bench", version: "1.0.0" }, { capabilities: { tools: {} } });
server.setRequestHandler(ListToolsRequestSchema, async () => listed);
// It does not end with its stdin by itself; a client would wait for its own time-out.
process.stdin.on("end", () => process.exit(0));
await server.connect(new StdioServerTransport());
