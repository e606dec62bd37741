// The npm SDK 1.x server with three tools of the shape of ours.
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { z } from "zod";

const server = new McpServer({ name: "bench", version: "1.0.0" });
const said = async (asked) => ({ content: [{ type: "text", text: JSON.stringify(asked) }] });

server.registerTool(
  "chat",
  {
    title: "Ask a model",
    description: "Ask another AI model and get its answer as text. Costs the tokens of one request, billed to the configured key.",
    inputSchema: {
      prompt: z.string().describe("The question."),
      model: z.string().optional().describe("A name from list_models."),
      system: z.string().optional().describe("Instructions for the model."),
      max_tokens: z.number().int().min(1).optional().describe("Most tokens to generate."),
      temperature: z.number().min(0).max(2).optional(),
    },
  },
  said,
);
server.registerTool(
  "list_models",
  {
    title: "List models",
    description: "The models that may be asked, best match first. Costs nothing.",
    inputSchema: {
      query: z.string().optional().describe("A part of the name."),
      limit: z.number().int().min(1).max(100).optional(),
      cursor: z.string().optional().describe("next_cursor of the page before."),
    },
  },
  said,
);
server.registerTool(
  "compare_models",
  {
    title: "Compare models",
    description: "Ask 2 to 8 models the same question at once and get their answers side by side.",
    inputSchema: {
      prompt: z.string().describe("The question for all of them."),
      models: z.array(z.string()).min(2).max(8).describe("Names from list_models."),
      system: z.string().optional().describe("Instructions for each model."),
    },
  },
  said,
);

// Unlike the Python ones it does not end with its stdin by itself; a client would wait for its own time-out.
process.stdin.on("end", () => process.exit(0));
await server.connect(new StdioServerTransport());
