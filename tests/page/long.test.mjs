// A session of a hundred thousand steps: how soon it is seen, what a frame of scrolling costs, what it takes of memory.
//
// What is measured is the time that the page's own thread is at work, by the browser's count, since other programs on
// the machine take theirs from any clock on the wall; times on the wall are printed. The records repeat those of a
// real session with ids of their own, and nobody signed them: the story checks no signatures, the relay does.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";

import { Browser, clean, until } from "./harness.mjs";
import { build, repeated, session } from "./story/stage.mjs";

const STEPS = 100_000;
/** Milliseconds until the first view, and of a frame of scrolling, for 95 of 100. */
const FIRST = 500;
/** On a machine that is slower at this moment: the share of what it takes to write all steps as text and read them again. */
const SHARE = 0.4;
const FRAME = 32;
/** Megabytes that the story may take beside the events themselves. */
const MEMORY = 60;

let browser;
let stage;
before(async () => {
  stage = build();
  browser = await Browser.start();
});
after(async () => {
  await browser?.stop();
  stage?.strike();
});

test("a hundred thousand steps are seen at once and scroll smoothly", async (context) => {
  const page = await browser.tab({ width: 1100, height: 800 });
  await page.goto(stage.url);
  const debug = await page.context().newCDPSession(page);
  await debug.send("Performance.enable", { timeDomain: "threadTicks" });
  const busy = async () => {
    const { metrics } = await debug.send("Performance.getMetrics");
    return metrics.find(({ name }) => name === "TaskDuration").value * 1000;
  };
  const heap = async () => {
    await debug.send("HeapProfiler.collectGarbage");
    return (await debug.send("Runtime.getHeapUsage")).usedSize / 1e6;
  };
  await page.evaluate(({ base, source, steps }) => (window.long = new Function(`return ${source}`)()(base, steps)), {
    base: session("builder"),
    source: repeated.toString(),
    steps: STEPS,
  });
  // The same page's thread writes and reads the same steps as text: how fast this machine is at this moment.
  const idle = await busy();
  await page.evaluate(() => void (window.long = JSON.parse(JSON.stringify(window.long))));
  const copied = (await busy()) - idle;
  const empty = await heap();

  const before = await busy();
  const wall = await page.evaluate(async () => {
    const began = performance.now();
    window.story.events.value = window.long;
    window.story.show({});
    await new Promise((next) => requestAnimationFrame(() => setTimeout(next)));
    return performance.now() - began;
  });
  const first = (await busy()) - before;
  await page.locator(".s-row").first().waitFor();
  context.diagnostic(`first view: ${first.toFixed(0)} ms at work, ${wall.toFixed(0)} ms on the wall; the steps as text and back: ${copied.toFixed(0)} ms`);
  assert.ok(first < Math.max(FIRST, SHARE * copied), `first view: ${first} ms`);

  for (const [name, from, by] of [["down from the top", 0, 90], ["up to the top", undefined, -90], ["down in the middle", 0.5, 90], ["up from the end", 1, -90]]) {
    if (from !== undefined) {
      await page.locator(".s-scroll").evaluate((box, from) => (box.scrollTop = from * (box.scrollHeight - box.clientHeight)), from);
      await page.waitForTimeout(300);
    }
    const frames = [];
    for (let n = 0; n < 120; n += 1) {
      const before = await busy();
      await page.evaluate(async (by) => {
        document.querySelector(".s-scroll").scrollTop += by;
        await new Promise((next) => requestAnimationFrame(() => setTimeout(next)));
      }, by);
      frames.push((await busy()) - before);
    }
    frames.sort((a, b) => a - b);
    const [p50, p95] = [frames[60], frames[114]];
    context.diagnostic(`${name}: p50 ${p50.toFixed(1)} ms, p95 ${p95.toFixed(1)} ms of work a frame`);
    assert.ok(p95 < FRAME, `${name}: p95 ${p95} ms`);
  }

  // One more at the end costs what one costs.
  const quick = await busy();
  await page.evaluate(async () => {
    const last = window.long.at(-1);
    window.story.events.value = [...window.long, { ...last, id: "f".repeat(64), tags: [["seq", "100000"], ["prev", last.id], ["l", "message", "agent.action"]] }];
    await new Promise((next) => requestAnimationFrame(() => setTimeout(next)));
  });
  context.diagnostic(`one more: ${((await busy()) - quick).toFixed(1)} ms of work`);

  const taken = (await heap()) - empty;
  context.diagnostic(`memory: ${empty.toFixed(0)} MB with the events, ${taken.toFixed(0)} MB more with the story`);
  assert.ok(taken < MEMORY, `${taken} MB`);

  // A word that stands in every twentieth step or so.
  await page.keyboard.press("/");
  await page.keyboard.type("water the plants");
  const began = Date.now();
  const found = page.locator(".s-found");
  await until(async () => /^0 of [\d,]{5,}$/.test(await found.innerText()), "everything is looked through");
  context.diagnostic(`a word in all of it: ${Date.now() - began} ms on the wall`);
  clean(page);
});
