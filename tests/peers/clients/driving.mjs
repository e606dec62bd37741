// What the Node client drivers share: the job they are given, the session that they all play, and the report.
import { openSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

export const job = JSON.parse(process.argv[2]);

// The packages lie in the suite's cache, not beside this file.
export const load = createRequire(join(job.packages, "package.json"));

// Over stdio the client starts the server; over HTTP and a WebSocket it runs already, at `job.url`.
export const server = job.url
  ? undefined
  : {
      command: job.command[0],
      args: job.command.slice(1),
      env: job.env,
      stderr: openSync(job.server_log, "a"),
    };

// Answered as soon as the fake upstream's journal holds such an entry.
export const upstreamHas = (kind, model) => ask(`/await/${kind}/${model}`);
export const release = (model) => ask(`/release/${model}`);

async function ask(path) {
  const answer = await fetch(job.upstream + path, { signal: AbortSignal.timeout(30_000) });
  await answer.text();
}

export const shown = (result) => ({ text: result.content[0].text, is_error: result.isError ?? false });
const chat = (model, prompt) => ({ name: "chat", arguments: { prompt, model } });

async function lookAround(client) {
  const { tools } = await client.listTools();
  const { resources } = await client.listResources();
  const { resourceTemplates } = await client.listResourceTemplates();
  const { prompts } = await client.listPrompts();
  const read = await client.readResource({ uri: resources[0].uri });
  const prompt = await client.getPrompt({ name: "ask", arguments: { question: "Why?", model: "echo" } });
  const completed = await client.complete({
    ref: { type: "ref/prompt", name: "ask" },
    argument: { name: "model", value: "ec" },
  });
  return {
    server: client.getServerVersion().name,
    instructions: client.getInstructions(),
    tools: tools.map((tool) => tool.name),
    resources: resources.map((resource) => resource.uri),
    templates: resourceTemplates.map((template) => template.uriTemplate),
    prompts: prompts.map((one) => one.name),
    read: read.contents[0].text,
    prompt: prompt.messages[0].content.text,
    completed: completed.completion.values,
    chat: shown(await client.callTool(chat("echo", "Hello ✓"))),
    listed: (await client.callTool({ name: "list_models" })).structuredContent,
  };
}

// A call that ends only after two reports of progress have come.
async function progress(client, call) {
  const reports = [];
  const onprogress = (report) => {
    reports.push(report);
    if (reports.length === 2) void release("drip");
  };
  return { dripped: shown(await call(client, chat("drip", "Drip"), { onprogress })), progress: reports };
}

// Cancels a running call; returns once the upstream has seen its caller leave, with the session still open.
async function cancel(client, call, model) {
  const controller = new AbortController();
  const answers = [];
  const called = call(client, chat(model, "Wait"), { signal: controller.signal }).then(
    (result) => answers.push(shown(result)),
    () => undefined, // the client tells its caller of the abort by an error
  );
  await upstreamHas("asked", model);
  controller.abort();
  await called;
  await upstreamHas("gone", model);
  return { model, answers };
}

async function work(client, call) {
  const refused = shown(await client.callTool(chat("refuse", "Hello")));
  const report = { refused, ...(await progress(client, call)) };
  report.cancelled = [await cancel(client, call, "mute"), await cancel(client, call, "stuck")];
  return report;
}

// Plays the whole session on a client that is not yet connected. `call` passes options in the SDK's own way; `more` adds
// what only one SDK can do.
export async function drive({ client, transport, version, call, more = async () => ({}) }) {
  const complaints = [];
  client.onerror = (error) => complaints.push(String(error));
  process.on("warning", (warning) => complaints.push(String(warning)));
  await client.connect(transport);
  const report = { version: version(client, transport), ...(await lookAround(client)) };
  if (job.upstream) {
    Object.assign(report, await work(client, call), await more(client));
    report.alive = shown(await client.callTool(chat("echo", "Still there?")));
  }
  await client.close();
  process.stdout.write(JSON.stringify({ ...report, complaints }) + "\n");
}
