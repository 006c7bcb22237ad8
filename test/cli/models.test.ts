/** `layerleap models`: into the cache, shown, and out of it. None of it needs a GPU. */

import { expect, test } from "vitest";
import { layerleap } from "./command.ts";
import { hub, stall } from "./hub.ts";

test("a model is pulled, listed and removed", async () => {
  const { server, env } = await hub();
  expect(await layerleap(["models", "list"], { env })).toEqual({
    ...{ code: 0, stdout: "", stderr: "layerleap: the cache is empty\n" },
  });

  const pulled = await layerleap(["models", "pull", "hf:owner/name"], { env });
  expect(pulled).toMatchObject({ code: 0, stdout: "" });
  expect(pulled.stderr).toMatch(/^1(\.\d)? MiB fetched\n$/);
  expect(server.asked.find(({ at }) => at === "hub")?.authorization).toBe("Bearer hf_secret");
  const again = await layerleap(["models", "pull", "hf:owner/name"], { env });
  expect(again.stderr).toMatch(/^0 bytes fetched, 1(\.\d)? MiB were in the cache\n$/);

  const listed = await layerleap(["models", "list"], { env });
  expect(listed.stdout).toMatch(/^hf:owner\/name {2}1(\.\d)? MiB {2}\d files\ntotal +1(\.\d)? MiB\n$/);
  const { models } = JSON.parse((await layerleap(["models", "list", "--json"], { env })).stdout);
  expect(models).toEqual([
    { source: "hf:owner/name", files: expect.any(Number), bytes: expect.any(Number), complete: true },
  ]);

  const removed = await layerleap(["models", "remove", "hf:owner/name@main"], { env });
  expect(removed).toEqual({ code: 0, stdout: "", stderr: "layerleap: hf:owner/name@main is removed\n" });
  expect((await layerleap(["models", "list"], { env })).stdout).toBe("");
  const gone = await layerleap(["models", "remove", "hf:owner/name"], { env });
  expect(gone).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^layerleap: hf:owner\/name is not in the cache/),
  });
});

test("Ctrl-C ends a pull in order and keeps what has come", async () => {
  const { server, env } = await hub();
  stall(server);
  const run = await layerleap(["models", "pull", "hf:owner/name"], {
    env,
    onStart: (child) => {
      const timer = setInterval(() => {
        if (!server.asked.some(({ at }) => at === "cdn")) return;
        clearInterval(timer);
        child.kill("SIGINT");
      }, 20);
    },
  });
  expect(run).toMatchObject({ code: 130, stdout: "" });
  const { models } = JSON.parse((await layerleap(["models", "list", "--json"], { env })).stdout);
  expect(models).toMatchObject([{ complete: false }]);
});

test("what cannot be pulled is one line that says why", async () => {
  const { server, env } = await hub();
  for (const [model, line] of [
    ["hf:owner/absent", /there is no owner\/absent/],
    ["hf:owner", /is not of the form/],
    ["./folder", /give a name on the hub/],
  ] as const) {
    const run = await layerleap(["models", "pull", model], { env });
    expect(run).toMatchObject({ code: 1, stdout: "" });
    expect(run.stderr).toMatch(line);
    expect(run.stderr).toMatch(/^layerleap: [^\n]+\n$/);
  }
  server.meddle = (_, response) => {
    response.writeHead(401).end();
    return true;
  };
  const gated = await layerleap(["models", "pull", "hf:owner/name"], { env });
  expect(gated.stderr).toMatch(/accept its licence .* the access token you passed/);
  expect(gated.stderr).not.toContain("hf_secret");
});

test.each([["list"], ["pull"], ["remove"]])("--help of models %s explains it with an example", async (command) => {
  const run = await layerleap(["models", command, "--help"]);
  expect(run).toMatchObject({ code: 0, stderr: "" });
  expect(run.stdout).toContain(`Usage: layerleap models ${command}`);
  expect(run.stdout).toMatch(/Examples?:\n {2}(HF_TOKEN=hf_\.\.\. )?layerleap /);
});
