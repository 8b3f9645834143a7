// Builds the page into ../assets, which is committed, so that who has only cargo needs no Node.
//
//   npm ci && npm run build     writes the assets
//   npm run check               builds again, compares every byte, and fails if anything differs
//
// What is built: index.html, app.js, app.css, icon.svg (the page) and share.html (the viewer of a shared
// session, one file with its script and style inside).
//
// `sources.sha256` says which sources they were built from. The rule, for whoever checks it without Node:
// all regular files below this folder (src/web/page), without any folder called `node_modules`; their paths
// relative to it, with `/`, sorted by their bytes; SHA-256 over, for each in order,
//     path in UTF-8, one zero byte, length of the content in decimal ASCII, one zero byte, the content.
// The file holds the 64 lower-case hexadecimal digits and a line feed.
//
// The output is the same on every machine: versions are pinned, and nothing of the place or time goes in.

import { build } from "esbuild";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const assets = join(here, "..", "assets");
/** What the page's script may weigh, compressed. */
const MAX_SCRIPT = 150_000;

const options = {
  absWorkingDir: here,
  bundle: true,
  write: false,
  minify: true,
  format: "iife",
  target: ["chrome110", "firefox115", "safari16.4"],
  charset: "utf8",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  logLevel: "warning",
};

/** One bundle: its script and its style. */
async function bundle(entry) {
  const made = await build({ ...options, entryPoints: [entry], outdir: "/out" });
  const text = (ending) => made.outputFiles.find((file) => file.path.endsWith(ending))?.text ?? "";
  return { script: text(".js"), style: text(".css") };
}

/** The bytes of all sources, by the rule above. */
function sources() {
  const found = [];
  const walk = (folder) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory() && entry.name !== "node_modules") walk(path);
      if (entry.isFile()) found.push(relative(here, path).split(sep).join("/"));
    }
  };
  walk(here);
  found.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const hash = createHash("sha256");
  for (const path of found) {
    const bytes = readFileSync(join(here, path));
    hash.update(`${path}\0${bytes.length}\0`).update(bytes);
  }
  return `${hash.digest("hex")}\n`;
}

/** A `script-src` or `style-src` source for inline text. */
const csp = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

/** The viewer in one file: `%STYLE%` and `%SCRIPT%` are filled in, and the policy names their hashes. */
async function share() {
  const entry = "src/share/main.tsx";
  if (!existsSync(join(here, entry))) return undefined;
  const { script, style } = await bundle(entry);
  if (/<\/(script|style)/i.test(script + style)) throw new Error("the viewer would end its own tag");
  const fill = { "%STYLE%": style, "%SCRIPT%": script, "%STYLE_HASH%": csp(style), "%SCRIPT_HASH%": csp(script) };
  const template = readFileSync(join(here, "src/share/share.html"), "utf8");
  return template.replace(/%[A-Z_]+%/g, (name) => fill[name] ?? name);
}

const app = await bundle("src/main.tsx");
const files = {
  "index.html": readFileSync(join(here, "src/index.html"), "utf8"),
  "app.js": app.script,
  "app.css": app.style,
  "icon.svg": readFileSync(join(here, "src/icon.svg"), "utf8"),
  "share.html": await share(),
  "sources.sha256": sources(),
};

const size = gzipSync(files["app.js"], { level: 9 }).length;
if (size > MAX_SCRIPT) throw new Error(`app.js is ${size} bytes compressed, more than ${MAX_SCRIPT}`);

if (process.argv.includes("--check")) {
  const differs = Object.entries(files).filter(([name, text]) => {
    const path = join(assets, name);
    return text !== undefined && (!existsSync(path) || readFileSync(path, "utf8") !== text);
  });
  if (differs.length > 0) {
    const names = differs.map(([name]) => name).join(", ");
    console.error(`src/web/assets is not what src/web/page builds (${names}): npm run build there, and commit both`);
    process.exit(1);
  }
} else {
  mkdirSync(assets, { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    if (text !== undefined) writeFileSync(join(assets, name), text);
  }
}
console.log(`app.js ${size} bytes compressed`);
