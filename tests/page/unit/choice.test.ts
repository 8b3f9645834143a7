import assert from "node:assert/strict";
import test from "node:test";

// What the page finds around itself in a browser.
const nothing = { getItem: () => null, setItem: () => {}, removeItem: () => {} };
Object.assign(globalThis, {
  setInterval: () => 0,
  location: { hash: "", host: "127.0.0.1", href: "http://127.0.0.1/", pathname: "/" },
  localStorage: nothing,
  sessionStorage: nothing,
  addEventListener: () => {},
  matchMedia: () => ({ matches: false, addEventListener: () => {} }),
  document: { visibilityState: "visible", addEventListener: () => {}, documentElement: { dataset: {} } },
});

const { status } = await import("../../../src/web/page/src/app/state");
const { agents, worker } = await import("../../../src/web/page/src/app/choice");

test("who can begin at once is offered first, then who only has to be made, each by name", () => {
  const agent = (name: string, title: string, more: { ready?: boolean; missing?: string; workspace?: boolean; command?: boolean } = {}) => ({
    name,
    title,
    description: "",
    kinds: [5870],
    workspace: true,
    ...more,
  });
  const all = [
    agent("claude-code", "Claude Code"),
    agent("absent", "Absent", { missing: "it is not installed" }),
    agent("shell", "Shell", { command: true, ready: true }),
    agent("opencode", "OpenCode", { ready: true }),
    agent("codex", "Codex", { ready: true }),
  ];
  const report = { version: "", runtime: { kind: "", ok: true, detail: "" }, models: [], default_model: "m", model_problem: null, admit: "owner" };
  status.value = { ...report, agents: all };
  assert.deepEqual(
    agents.value.map((one) => one.name),
    ["codex", "opencode", "shell", "claude-code", "absent"],
  );
  assert.equal(worker()?.name, "codex");
  // With none of them ready it is the first that is not missing.
  status.value = { ...report, agents: all.map(({ ready: _, ...one }) => one) };
  assert.equal(worker()?.name, "claude-code");
  status.value = undefined;
});
