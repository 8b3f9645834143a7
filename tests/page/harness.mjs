// What every test of the page needs: the real program in a home of its own, a scripted model, a browser, and eyes
// for what must never happen (a breach of the policy, an error in the console).
//
//   PAGE_FRESH=1    serves src/web/assets from the disk instead of what the program was built with
//   TREEFORT_BIN    the program; otherwise the debug build of this repository

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { chromium } from "playwright-core";

import { Model } from "./model.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "..");
const assets = join(root, "src", "web", "assets");
const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");
export const shots = join(target, "page-shots");
mkdirSync(shots, { recursive: true });

const builds = ["x86_64-unknown-linux-gnu/debug", "aarch64-unknown-linux-gnu/debug", "debug"].map((part) => join(target, part, "treefort"));
export const program = process.env.TREEFORT_BIN ?? builds.find(existsSync) ?? "treefort";

const run = promisify(execFile);

/** How long anything may take. */
export const PATIENCE = 60_000;

export async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Waits until something holds. */
export async function until(holds, what, patience = PATIENCE) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > end) assert.fail(`not within ${patience} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A running treefort. */
export class Fort {
  /** With a scripted model unless `model` is null; one that comes later comes to `modelPort`. */
  static async start({ model, modelPort = 9, config = "", agents = [] } = {}) {
    const fort = new Fort();
    fort.folder = await mkdtemp(join(tmpdir(), "treefort-page-"));
    fort.home = join(fort.folder, "home");
    fort.user = join(fort.folder, "user");
    await mkdir(fort.home, { mode: 0o700 });
    await mkdir(fort.user);
    await writeFile(join(fort.home, "treefort.toml"), `[sandbox]\nruntime = "embedded"\n${config}`);
    for (const name of agents) await cp(join(here, "agent"), join(fort.home, "agents", name), { recursive: true });
    fort.model = model === undefined ? await Model.start() : model;
    fort.modelPort = modelPort;
    fort.port = await freePort();
    await fort.up();
    return fort;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  get env() {
    const { PATH, LANG } = process.env;
    return { PATH, LANG, HOME: this.user, TREEFORT_HOME: this.home, OLLAMA_HOST: this.model?.url ?? `http://127.0.0.1:${this.modelPort}`, DOCKER_HOST: "unix:///nowhere", RUST_LOG: "treefort=debug,info" };
  }

  async up() {
    this.said = "";
    this.process = spawn(program, ["up", "--listen", `127.0.0.1:${this.port}`], { env: this.env, cwd: this.user, stdio: ["ignore", "pipe", "pipe"] });
    this.over = new Promise((resolve) => this.process.on("exit", resolve));
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on("data", (text) => (this.said = (this.said + text).slice(-200_000)));
    let ended = false;
    void this.over.then(() => (ended = true));
    await until(async () => {
      assert.ok(!ended, `treefort ended: ${this.said}`);
      return await fetch(`${this.url}/icon.svg`).then((answer) => answer.ok, () => false);
    }, "treefort is up");
  }

  /** As a power cut would end it. */
  async kill() {
    this.process.kill("SIGKILL");
    await this.over;
  }

  async stop() {
    this.process.kill("SIGTERM");
    const late = setTimeout(() => this.process.kill("SIGKILL"), 15_000);
    await this.over;
    clearTimeout(late);
    this.model?.stop();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** What a command prints. */
  async command(...args) {
    const { stdout } = await run(program, args, { env: this.env, cwd: this.user, timeout: 60_000 });
    return stdout;
  }

  /** A link that lets somebody in, once. */
  async link() {
    return (await this.command("page", "--print")).trim().split("\n").at(-1);
  }

  /** A folder of the user, with files. */
  async project(name, files) {
    const folder = join(this.user, name);
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), text);
    }
    return folder;
  }
}

/** A browser, for the tests of one file. */
export class Browser {
  static async start(args = []) {
    const browser = new Browser();
    browser.inner = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--disable-gpu", ...args] });
    return browser;
  }

  async stop() {
    await this.inner.close();
  }

  /** A tab in a profile of its own. */
  async tab(options = {}) {
    const context = await this.context(options);
    return await this.tabIn(context);
  }

  async context({ dark = false, phone = false, width = 1360, height = 860, ...more } = {}) {
    const size = phone ? { width: 390, height: 844 } : { width, height };
    return await this.inner.newContext({
      viewport: size,
      colorScheme: dark ? "dark" : "light",
      reducedMotion: "reduce",
      locale: "en-GB",
      timezoneId: "UTC",
      ...(phone && { hasTouch: true, isMobile: true, deviceScaleFactor: 2 }),
      ...more,
    });
  }

  async tabIn(context) {
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    page.problems = [];
    page.on("pageerror", (error) => page.problems.push(`error: ${error.stack ?? error}`));
    page.on("console", (message) => {
      const text = message.text();
      // A connection that is away is said by the page itself.
      if (message.type() === "error" && !/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|WebSocket connection to|ERR_EMPTY_RESPONSE/.test(text)) page.problems.push(`console: ${text}`);
    });
    page.on("request", (request) => {
      const { protocol, hostname } = new URL(request.url());
      if (!["blob:", "data:", "file:"].includes(protocol) && hostname !== "127.0.0.1" && hostname !== "localhost") page.problems.push(`asked ${request.url()}`);
    });
    await page.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
    });
    if (process.env.PAGE_FRESH) await fresh(page);
    return page;
  }
}

/** Serves script and style from the disk, with the headers that the program sends. The page itself comes from the
    program: Chromium takes one that was made up for a stranger on the local network. */
async function fresh(page) {
  const names = { "/app.js": "app.js", "/app.css": "app.css" };
  await page.route(
    (url) => url.pathname in names && url.protocol === "http:",
    async (route) => {
      try {
        const response = await route.fetch();
        const { etag: _, ...headers } = response.headers();
        const name = names[new URL(route.request().url()).pathname];
        await route.fulfill({ status: 200, headers, body: readFileSync(join(assets, name)) });
      } catch {
        await route.abort("connectionrefused").catch(() => {});
      }
    },
  );
}

/** Comes in by a fresh link. */
export async function enter(page, fort) {
  await page.goto(await fort.link());
  await page.locator("#start-title").waitFor();
}

/** Asks something on the start view. */
export async function ask(page, text) {
  await page.locator("[data-field]").fill(text);
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.locator(".session .head h1").waitFor();
}

/** What few need, where something begins, and one of the things that a job may reach. */
export const more = (page) => page.getByRole("region", { name: "More choices" });
export const option = (page, name) => more(page).getByRole("button", { name, exact: true });
export const starter = (page) => page.getByRole("button", { name: "Start", exact: true });

/** Chooses who does it, and opens what more can be chosen. */
export async function chooseMore(page, fort, agent) {
  await page.goto(`${fort.url}/#/`);
  await page.getByLabel("Who does it").selectOption(agent);
  await page.getByRole("button", { name: "More", exact: true }).click();
  await more(page).waitFor();
}

/** The values of a parameter of the last task that was asked with these words. */
export async function paramsOf(page, text, name) {
  const isIt = (event) => event.kind === 5870 && event.tags.some((tag) => tag[0] === "i" && tag[1] === text);
  const job = await until(async () => {
    const jobs = (await stored(page)).filter(isIt);
    // In the same second it may stand on either side of the one that was handed to the session by whom it was for.
    const handed = (of) => jobs.some((other) => other.tags.some((tag) => tag[0] === "p" && tag[1] === of.pubkey));
    return jobs.findLast((of) => !handed(of));
  }, "the job");
  return job.tags.filter((tag) => tag[0] === "param" && tag[1] === name).map((tag) => tag.slice(2));
}

/** Waits until a conversation says how it stands. */
export async function stands(page, state, patience = PATIENCE) {
  await page.locator(`.head .chip.${state}`).waitFor({ timeout: patience });
}

/** Keeps what the page looks like. */
export async function shot(page, name) {
  await page.screenshot({ path: join(shots, `${name}.png`), animations: "disabled" });
}

const AXE = readFileSync(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8");

/** No violation of WCAG 2.2 AA, nor of what axe calls best practice. */
export async function accessible(page) {
  // The page's policy lets no foreign script in, so it comes by the debugger.
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }),
  );
  const said = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html.slice(0, 160)} (${node.failureSummary?.split("\n")[1]?.trim()})`).join("; ")}`);
  assert.deepEqual(said, []);
}

/** What the browser would tell its owner, in `window.told`; `window.away` says that nobody looks. For a context
    whose pages are still to come: a browser without a screen shows no notification. */
export const notices = (context) =>
  context.addInitScript(() => {
    window.told = [];
    window.asked = 0;
    window.away = false;
    class Notification extends EventTarget {
      static permission = "default";
      static async requestPermission() {
        window.asked += 1;
        return (Notification.permission = "granted");
      }
      constructor(title, options) {
        super();
        window.told.push(`${title}: ${options.body}`);
      }
      close() {}
    }
    window.Notification = Notification;
    Object.defineProperty(document, "visibilityState", { get: () => (window.away ? "hidden" : "visible") });
  });

/** Every stored event that this computer's programs can read. */
export const stored = (page) =>
  page.evaluate(
    () =>
      new Promise((resolve) => {
        const socket = new WebSocket(`ws://${location.host}/`);
        const found = [];
        socket.onopen = () => socket.send('["REQ","all",{}]');
        socket.onmessage = ({ data }) => {
          const [word, , event] = JSON.parse(data);
          if (word === "EVENT") found.push(event);
          if (word === "EOSE") {
            socket.close();
            resolve(found);
          }
        };
      }),
  );

/** Nothing happened that must not. */
export function clean(page) {
  assert.deepEqual(page.problems, []);
}
