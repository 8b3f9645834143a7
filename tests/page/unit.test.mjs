// Runs the page's unit tests with everything else: each of unit/*.test.ts, bundled with the page's own esbuild.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import test from "node:test";
import { fileURLToPath } from "node:url";

test("unit tests of the page", () => {
  // A test runner inside of one would report to it, and nothing would be heard of it.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const script = fileURLToPath(new URL("unit.mjs", import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, [script], { env, encoding: "utf8" });
  assert.equal(status, 0, `${stdout}\n${stderr}`);
});
