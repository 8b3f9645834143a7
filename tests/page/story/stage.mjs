// The story alone on a stage: a page that a test feeds, without a treefort behind it.

import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const page = join(here, "../../../src/web/page");
const { buildSync } = createRequire(join(page, "package.json"))("esbuild");

/** Builds the stage; `url` is where it is, `strike` removes it. */
export function build() {
  const folder = mkdtempSync(join(tmpdir(), "treefort-stage-"));
  const { outputFiles } = buildSync({
    entryPoints: [join(here, "page.tsx")],
    bundle: true,
    write: false,
    minify: true,
    outdir: folder,
    format: "iife",
    target: ["chrome110"],
    jsx: "automatic",
    jsxImportSource: "preact",
    nodePaths: [join(page, "node_modules")],
  });
  const text = (ending) => outputFiles.find(({ path }) => path.endsWith(ending)).text.replaceAll("</s", "<\\/s");
  const [script, style] = [text(".js"), text(".css")];
  const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
  const policy = `default-src 'none'; script-src ${hash(script)}; style-src ${hash(style)}; require-trusted-types-for 'script'; trusted-types 'none'`;
  writeFileSync(
    join(folder, "index.html"),
    `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${policy}">
    <meta name="viewport" content="width=device-width, initial-scale=1"><title>Story</title><style>${style}</style></head>
    <body><header><h1 class="hidden">A story on a stage</h1></header><main id="app"></main><script>${script}</script></body></html>`,
  );
  return { url: pathToFileURL(join(folder, "index.html")).href, strike: () => rmSync(folder, { recursive: true, force: true }) };
}

/** All events of a real session that `treefort export` wrote. */
export function exported(name) {
  return readFileSync(join(here, "..", "fixtures", `${name}.jsonl`), "utf8").trim().split("\n").map((line) => JSON.parse(line));
}

const seq = (event) => Number(event.tags.find((tag) => tag[0] === "seq")?.[1]);

/** As the page gives them to the story: what was asked, and the records. */
export function session(name) {
  const all = exported(name);
  const records = all.filter((event) => event.kind >= 4781 && event.kind <= 4785).sort((a, b) => seq(a) - seq(b));
  return [all.find((event) => event.kind === 5870), ...records];
}

/** Records that nobody signed, each a chain's next. */
export class Recorder {
  constructor(start, began = 1_795_252_000) {
    this.pubkey = start?.pubkey ?? "a".repeat(64);
    this.n = start === undefined ? 0 : seq(start) + 1;
    this.began = began;
    this.prev = start?.id;
  }

  record(kind, tags, content = "") {
    const id = (0xabc0000000 + this.n).toString(16).padStart(16, "0").padEnd(64, "0");
    const event = {
      id,
      pubkey: this.pubkey,
      created_at: this.began + this.n,
      kind,
      tags: [["v", "0"], ["seq", String(this.n)], ...(this.prev === undefined ? [] : [["prev", this.prev]]), ...tags],
      content,
      sig: "",
    };
    this.n += 1;
    this.prev = id;
    return event;
  }

  action(label, tags = [], content = "") {
    return this.record(4782, [["L", "agent.action"], ["l", label, "agent.action"], ...tags], content);
  }
}

/** In the page: so many records that repeat a real session's, with ids of their own. */
export function repeated(base, count) {
  const [asked, start, ...body] = base;
  const all = [asked, start];
  let prev = start.id;
  while (all.length < count) {
    const model = body[all.length % (body.length - 1)];
    const id = (0xdef0000000 + all.length).toString(16).padStart(16, "0").padEnd(64, "0");
    const tags = model.tags.map((tag) => (tag[0] === "seq" ? ["seq", String(all.length - 1)] : tag[0] === "prev" ? ["prev", prev] : [...tag]));
    all.push({ ...model, id, tags, created_at: start.created_at + all.length, content: `${model.content} ` });
    prev = id;
  }
  return all;
}
