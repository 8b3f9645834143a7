// See main.rs. Times are of one clock: the browser runs on this machine.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { Browser, enter, Fort, until } from "../../tests/page/harness.mjs";
import { Plain } from "./plain.mjs";

const root = join(fileURLToPath(import.meta.url), "..", "..", "..");
const require = createRequire(join(root, "src", "web", "page", "package.json"));
const { finalizeEvent, getPublicKey } = require("nostr-tools/pure");

const EVENTS = 200;
const STARTS = 15;

/** Prints a row; one whose median is over its bar makes the run fail. */
function report(name, times, bar) {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))].toFixed(1).padStart(7);
  console.log(`${name.padEnd(34)} p50 ${at(0.5)} ms   p99 ${at(0.99)} ms   min ${at(0)} ms   n ${sorted.length}${bar ? `   bar ${bar} ms` : ""}`);
  if (bar && !(Number(at(0.5)) <= bar)) {
    console.error(`${name} takes ${at(0.5).trim()} ms at the median; its bar is ${bar} ms.`);
    process.exitCode = 1;
  }
}

const key = (fort, name) => Uint8Array.from(Buffer.from(readFileSync(join(fort.home, "keys", `${name}.key`), "utf8").trim(), "hex"));

/** A question of the owner's from another program, from `OK` to its line in the list of an open page. */
async function appearances(browser) {
  const fort = await Fort.start();
  try {
    const page = await browser.tab();
    await enter(page, fort);
    await page.evaluate(() => {
      globalThis.seen = {};
      const look = () => {
        for (const [word] of document.body.textContent.matchAll(/mark[0-9]+x/g)) globalThis.seen[word] ??= performance.timeOrigin + performance.now();
      };
      new MutationObserver(look).observe(document.body, { childList: true, characterData: true, subtree: true });
    });
    const operator = key(fort, "operator");
    const coordinator = getPublicKey(key(fort, "coordinator"));
    // The other program is a tab that only has a socket.
    const other = await browser.tab();
    await other.goto(fort.url);
    await other.evaluate(async () => {
      const socket = new WebSocket(location.origin.replace("http", "ws"));
      const waiting = new Map();
      socket.onmessage = ({ data }) => {
        const [verb, id] = JSON.parse(data);
        if (verb === "OK") waiting.get(id)?.(performance.timeOrigin + performance.now());
      };
      await new Promise((resolve) => (socket.onopen = resolve));
      globalThis.publish = (event) =>
        new Promise((resolve) => {
          waiting.set(event.id, resolve);
          socket.send(JSON.stringify(["EVENT", event]));
        });
    });
    const times = [];
    for (let number = 0; number < EVENTS; number += 1) {
      const word = `mark${number}x`;
      const tags = [["i", word, "text"], ["p", coordinator], ["param", "agent", "none-such"]];
      const event = finalizeEvent({ kind: 5050, created_at: Math.floor(Date.now() / 1000), tags, content: "" }, operator);
      const at = await other.evaluate((event) => globalThis.publish(event), event);
      const shown = await until(() => page.evaluate((word) => globalThis.seen[word], word), `${word} appears`);
      times.push(Math.max(0, shown - at));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    report("commit → on the page", times);
  } finally {
    await fort.stop();
  }
}

/** A page with nothing but a title and a field: what the browser itself takes on this machine. */
async function nothing() {
  const server = createServer((_, answer) => {
    answer.setHeader("Content-Type", "text/html");
    answer.end('<!doctype html><title>nothing</title><h1 id="start-title">nothing</h1><textarea></textarea>');
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

/** The program is started with a home that has been used, and the page opened by its link. The start view is there
    when its title is painted; its field is painted with it. */
async function starts() {
  const now = () => performance.timeOrigin + performance.now();
  const fort = await Fort.start();
  const browser = await Plain.start();
  const server = await nothing();
  const [whole, views, floor] = [[], [], []];
  try {
    for (let number = 0; number < STARTS; number += 1) {
      await fort.kill();
      const began = now();
      await fort.up();
      const link = await fort.link();
      const opened = now();
      const painted = await browser.painted(link, "start-title");
      whole.push(painted - began);
      views.push(painted - opened);
      const asked = now();
      floor.push((await browser.painted(`http://127.0.0.1:${server.address().port}/`, "start-title")) - asked);
    }
    report("an empty page", floor);
    report("link → first useful view", views, 200);
    report("`up` → first useful view", whole);
  } finally {
    server.close();
    await browser.stop();
    await fort.stop();
  }
}

const browser = await Browser.start();
try {
  await appearances(browser);
} finally {
  await browser.stop();
}
await starts();
