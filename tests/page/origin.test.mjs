// Pages of other origins: another site, and another port of this computer, as an agent's own preview would be. They
// can neither read nor act, not even with a key of their own.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { finalizeEvent, generateSecretKey } from "../../src/web/page/node_modules/nostr-tools/lib/esm/pure.js";
import { ask, Browser, enter, Fort, stands } from "./harness.mjs";

let browser;
let fort;
let attacker;
before(async () => {
  // A name of another site that leads to this computer, as whoever owns a name can have it.
  browser = await Browser.start(["--host-resolver-rules=MAP evil.example 127.0.0.1"]);
  fort = await Fort.start();
  attacker = createServer((_, response) => {
    response.setHeader("Content-Type", "text/html");
    response.end("<!doctype html><title>attacker</title><body>");
  });
  await new Promise((resolve) => attacker.listen(0, "127.0.0.1", resolve));
});
after(async () => {
  await browser.stop();
  await fort.stop();
  attacker.close();
});

/** What a hostile page tries; what came of it. */
async function attack(page, fort) {
  const key = generateSecretKey();
  await page.exposeFunction("sign", (draft) => finalizeEvent({ created_at: Math.floor(Date.now() / 1000), tags: [], content: "", ...draft }, key));
  return await page.evaluate(
    async ({ url, host }) => {
      const found = {};
      const tries = {
        who: () => fetch(`${url}/api/who`, { headers: { Authorization: "Bearer x" } }),
        whoSimple: () => fetch(`${url}/api/who`),
        page: () => fetch(url),
        enter: () => fetch(`${url}/api/enter`, { method: "POST", body: '{"code":"x"}' }),
        link: () => fetch(`${url}/api/link`, { method: "POST" }),
        sign: () => fetch(`${url}/api/sign`, { method: "POST", headers: { "Content-Type": "text/plain" }, body: '{"kind":5050,"tags":[],"content":"x"}' }),
        folders: () => fetch(`${url}/api/folders`),
      };
      for (const [name, go] of Object.entries(tries)) found[name] = await go().then((answer) => answer.status, () => "refused");
      // What any site may know of a relay, and nothing of whose it is.
      const told = await fetch(url, { headers: { Accept: "application/nostr+json" } }).then((answer) => answer.json());
      found.told = [told.name, typeof told.pubkey, typeof told.version, told.limitation.auth_required];
      found.proof = await fetch(`${url}/.well-known/treefort?challenge=${"ab".repeat(32)}`).then((answer) => answer.status, () => "refused");
      const frame = document.createElement("iframe");
      frame.src = url;
      document.body.append(frame);
      const seen = (want, draft, at = host) =>
        new Promise((resolve) => {
          const socket = new WebSocket(`ws://${at}/`);
          const heard = [];
          const end = () => {
            socket.close();
            resolve(heard);
          };
          setTimeout(end, 1500);
          socket.onerror = end;
          socket.onopen = () => want(socket);
          socket.onmessage = async ({ data }) => {
            const message = JSON.parse(data);
            heard.push(message);
            if (message[0] === "AUTH" && draft !== undefined) {
              const event = await window.sign({
                kind: 22242,
                tags: [
                  ["relay", `ws://${host}/`],
                  ["challenge", message[1]],
                ],
              });
              socket.send(JSON.stringify(["AUTH", event]));
              setTimeout(() => draft(socket), 300);
            }
          };
        });
      const job = await window.sign({ kind: 5050, tags: [["i", "steal everything", "text"]] });
      const all = (socket) => socket.send('["REQ","a",{}]');
      const act = (socket) => socket.send(JSON.stringify(["EVENT", job]));
      const count = (socket) => socket.send('["COUNT","c",{}]');
      const words = (heard) => heard.map((message) => (message[0] === "OK" ? `${message[1] === job.id ? "job" : "auth"} ${message[2]}` : message[0]));
      found.read = words(await seen(all));
      found.act = words(await seen(act));
      found.readWithKey = words(await seen(() => {}, all));
      found.actWithKey = words(await seen(() => {}, act));
      found.count = words(await seen(count));
      found.countWithKey = words(await seen(() => {}, count));
      // A name of the attacker's that leads to this very port: the browser takes it for one site.
      found.byName = words(await seen(all, undefined, `evil.example:${new URL(url).port}`));
      const other = window.open(url);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      try {
        found.window = other === null ? "none" : String(other.document?.body?.innerText ?? "none");
      } catch {
        found.window = "refused";
      }
      other?.close();
      const channel = new BroadcastChannel("treefort.door");
      found.channel = await new Promise((resolve) => {
        channel.onmessage = ({ data }) => resolve(data);
        channel.postMessage({ from: "attacker" });
        setTimeout(() => resolve("nothing"), 800);
      });
      found.cookies = document.cookie;
      return found;
    },
    { url: fort.url, host: new URL(fort.url).host },
  );
}

for (const [name, host] of [
  ["another site", "evil.example"],
  ["another port of this computer", "127.0.0.1"],
  ["another name of this computer", "localhost"],
]) {
  test(`a page of ${name} can neither read nor act`, async () => {
    const context = await browser.context();
    // The owner's tab is open beside it, with all that its browser keeps.
    const owner = await browser.tabIn(context);
    await enter(owner, fort);
    await ask(owner, "What is my secret plan?");
    await stands(owner, "done");
    const chats = fort.model.chats.length;
    const page = await context.newPage();
    await page.goto(`http://${host}:${attacker.address().port}/`);
    const found = await attack(page, fort);
    for (const name of ["who", "whoSimple", "page", "enter", "link", "sign", "folders"]) assert.equal(found[name], "refused", name);
    assert.deepEqual(found.told, ["treefort", "undefined", "undefined", true]);
    assert.equal(found.proof, "refused");
    assert.deepEqual(found.byName, []);
    for (const name of ["count", "countWithKey"]) {
      assert.ok(found[name].includes("CLOSED"), `${name}: ${found[name]}`);
      assert.ok(!found[name].includes("COUNT"), `${name}: ${found[name]}`);
    }
    for (const name of ["read", "readWithKey"]) assert.ok(found[name].includes("CLOSED"), `${name}: ${found[name]}`);
    for (const name of ["read", "act", "readWithKey", "actWithKey"]) {
      assert.ok(!found[name].includes("EVENT"), `${name}: ${found[name]}`);
      assert.ok(!found[name].includes("EOSE"), `${name}: ${found[name]}`);
    }
    for (const name of ["act", "actWithKey"]) assert.ok(!found[name].includes("job true"), `${name}: ${found[name]}`);
    assert.ok(found.actWithKey.includes("job false"), `${found.actWithKey}`);
    assert.ok(["none", "refused"].includes(found.window), found.window);
    assert.equal(found.channel, "nothing");
    assert.equal(found.cookies, "");
    // The frame shows nothing of the page.
    assert.ok(!page.frames().some((frame) => frame !== page.mainFrame() && frame.url().startsWith(fort.url)));
    assert.equal(fort.model.chats.length, chats);
    await context.close();
  });
}

test("a name of another site that leads to treefort's own port is no way in", async () => {
  const context = await browser.context();
  const page = await context.newPage();
  const answer = await page.goto(`http://evil.example:${fort.port}/`);
  assert.equal(answer.status(), 403);
  // Its own pages would be of one origin with everything there.
  const found = await page.evaluate(async () => {
    const statuses = {};
    for (const path of ["/", "/api/who", "/app.js", "/.well-known/treefort?challenge=" + "ab".repeat(32)]) {
      statuses[path.slice(0, 12)] = await fetch(path, { headers: { Accept: "application/nostr+json" } }).then((answer) => answer.status, () => "refused");
    }
    statuses.socket = await new Promise((resolve) => {
      const socket = new WebSocket(`ws://${location.host}/`);
      socket.onopen = () => resolve("open");
      socket.onerror = () => resolve("refused");
    });
    return statuses;
  });
  assert.deepEqual([...new Set(Object.values(found))].sort(), [403, "refused"], JSON.stringify(found));
  assert.equal(found.socket, "refused");
  await context.close();
});
