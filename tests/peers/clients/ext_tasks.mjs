// Drives npm `@modelcontextprotocol/ext-tasks` over `@modelcontextprotocol/client`: slow calls that become tasks.
import { pathToFileURL } from "node:url";
import { job, load, release, server, shown, upstreamHas } from "./driving.mjs";

const { Client, StreamableHTTPClientTransport } = load("@modelcontextprotocol/client");
const { StdioClientTransport } = load("@modelcontextprotocol/client/stdio");
// It has no entry for require(), which is what finds packages that do not lie beside this file.
const entry = `${job.packages}/node_modules/@modelcontextprotocol/ext-tasks/dist/client/index.js`;
const { createTaskSessionFromClient, resultFromTaskOutcome } = await import(pathToFileURL(entry));

const VERSION = "2026-07-28";
const clientInfo = { name: "ext-tasks-driver", version: "1" };

const complaints = [];
process.on("warning", (warning) => complaints.push(String(warning)));

// The client takes a task for no answer, so that its package wants a way past it: a request on the same transport, with an
// id that the client never gives.
function past(client, transport) {
  const waiting = new Map();
  const { onmessage } = transport;
  transport.onmessage = (message, extra) => {
    const answer = waiting.get(message.id);
    if (answer === undefined || message.method !== undefined) return onmessage(message, extra);
    waiting.delete(message.id);
    answer(message.error === undefined ? { kind: "result", result: message.result } : { kind: "error", error: message.error });
  };
  let count = 0;
  return (request) =>
    new Promise((resolve, reject) => {
      const id = `task-${++count}`;
      waiting.set(id, resolve);
      transport.send({ jsonrpc: "2.0", id, ...request }).catch(reject);
    });
}

const chat = (model, prompt) => ["chat", { prompt, model }];
const states = [];
const seen = (event) => void (event.type === "task" && states.push(event.task.status));

async function finish(session) {
  const execution = await session.callTool(...chat("drip", "Drip"));
  const first = (await session.task(execution.handle.taskId).snapshot()).status;
  await release("drip");
  const { outcome } = await execution.settle({ onEvent: seen });
  return { kind: execution.kind, states: [first, outcome.status], ...shown(resultFromTaskOutcome(outcome)) };
}

async function cancel(session) {
  const execution = await session.callTool(...chat("stuck", "Wait"));
  const task = session.task(execution.handle.taskId);
  const first = (await task.snapshot()).status;
  await execution.cancel();
  await upstreamHas("gone", "stuck");
  return { kind: execution.kind, states: [first, (await task.snapshot()).status] };
}

async function alive(session) {
  const { outcome } = await (await session.callTool(...chat("echo", "Still there?"))).settle();
  return shown(resultFromTaskOutcome(outcome));
}

const client = new Client(clientInfo, { versionNegotiation: { mode: "auto" } });
client.onerror = (error) => complaints.push(String(error));
const transport = server ? new StdioClientTransport(server) : new StreamableHTTPClientTransport(new URL(job.url));
await client.connect(transport);
const session = createTaskSessionFromClient(client, {
  endpointId: "peers",
  rawDispatch: past(client, transport),
  v2RequestFraming: { protocolVersion: VERSION, clientInfo, clientCapabilities: {} },
});
const report = { version: client.getNegotiatedProtocolVersion(), finished: await finish(session) };
Object.assign(report, { cancelled: await cancel(session), alive: await alive(session) });
await session.close();
await client.close();
process.stdout.write(JSON.stringify({ ...report, complaints }) + "\n");
