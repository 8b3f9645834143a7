// Runs the page's unit tests: each unit/*.test.ts is bundled with the page's own esbuild and run by Node's test runner.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const page = join(here, "../../src/web/page");
const { buildSync } = createRequire(join(page, "package.json"))("esbuild");

const folder = join(here, "unit");
const tests = readdirSync(folder).filter((name) => name.endsWith(".test.ts"));
const out = mkdtempSync(join(tmpdir(), "treefort-unit-"));
try {
  buildSync({
    entryPoints: tests.map((name) => join(folder, name)),
    outdir: out,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    define: { FIXTURES: JSON.stringify(join(here, "fixtures")) },
    nodePaths: [join(page, "node_modules")],
    jsx: "automatic",
    jsxImportSource: "preact",
    logLevel: "warning",
  });
  const files = tests.map((name) => join(out, name.replace(/ts$/, "mjs")));
  const { status } = spawnSync(process.execPath, ["--test", ...process.argv.slice(2), ...files], { stdio: "inherit" });
  process.exitCode = status ?? 1;
} finally {
  rmSync(out, { recursive: true, force: true });
}
