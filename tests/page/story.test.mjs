// The story alone, on a stage: what is told and done in it, at any length and with any content.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";

import { accessible, Browser, clean, shot, until } from "./harness.mjs";
import { build, Recorder, repeated, session } from "./story/stage.mjs";

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

/** A tab with a story in it. */
async function tell(events, { props = {}, ...options } = {}) {
  const page = await browser.tab({ height: 900, ...options });
  await page.goto(stage.url);
  await page.evaluate(({ events, props }) => {
    window.story.events.value = events;
    window.story.show(props);
  }, { events, props });
  await page.locator(".s-row").first().waitFor();
  return page;
}

const add = (page, events) => page.evaluate((more) => (window.story.events.value = [...window.story.events.value, ...more]), events);
const scroller = (page) => page.locator(".s-scroll");
const scroll = (page, part) => scroller(page).evaluate((box, part) => (box.scrollTop = part * (box.scrollHeight - box.clientHeight)), part);
/** How far the rows in sight are from the top of what scrolls, by their keys. */
const places = (page) =>
  scroller(page).evaluate((box) => {
    const { top, bottom } = box.getBoundingClientRect();
    const seen = [...box.querySelectorAll("[data-key]")].map((row) => [row.dataset.key, row.getBoundingClientRect()]);
    return Object.fromEntries(seen.filter(([, at]) => at.bottom > top && at.top < bottom).map(([key, at]) => [key, Math.round(at.top - top)]));
  });
const calls = (page) => page.evaluate(() => window.story.calls);

test("a session is read from its beginning, in order, with its changes", async () => {
  const page = await tell(session("builder"));
  const rows = page.locator(".s-row");
  assert.match(await rows.first().innerText(), /You asked\s+Ignore empty items/);
  const changed = page.locator(".s-row.file").first();
  assert.match(await changed.innerText(), /changed\s+src\/\s*todo\.js/);
  assert.deepEqual(await changed.locator("del code").allInnerTexts().then((all) => all.map((text) => text.trim())), ["items.push(text);", "return items.length;"]);
  assert.match(await changed.locator("ins mark").last().innerText(), /filter\(\(item\) => !item\.done\)/);
  await scroll(page, 1);
  await page.locator(".s-row.ended").waitFor();
  assert.match(await page.locator(".s-differs").innerText(), /The agent said\s+It wrote CHANGELOG\.md\.\s+What happened\s+Nothing changed there\./);
  assert.match(await page.locator(".s-file.flagged").innerText(), /README\.md[\s\S]*The agent did not say so/);
  await accessible(page);
  clean(page);
});

test("what comes is followed at the end, and waits below while one reads further up", async () => {
  const all = session("builder").slice(0, -1);
  const page = await tell(all);
  const recorder = new Recorder(all.at(-1), all.at(-1).created_at);
  const atEnd = () => scroller(page).evaluate((box) => box.scrollHeight - box.clientHeight - box.scrollTop);
  await until(async () => (await atEnd()) < 3, "it begins at the end of what goes on");
  await add(page, [recorder.action("message", [], `one\n\n${"words ".repeat(200)}`)]);
  await page.getByText("one", { exact: true }).waitFor();
  await until(async () => (await atEnd()) < 3, "it follows");
  await page.evaluate(() => (window.story.live.value = "being written ".repeat(80)));
  await until(async () => (await atEnd()) < 3, "it follows what is being written");
  await page.evaluate(() => (window.story.live.value = ""));
  await scroll(page, 0.4);
  await page.waitForTimeout(300);
  const before = await places(page);
  await add(page, [recorder.action("message", [], "two"), recorder.action("message", [], "three")]);
  const pill = page.getByRole("button", { name: "2 new steps below" });
  await pill.waitFor();
  assert.deepEqual(await places(page), before);
  await pill.click();
  await page.getByText("three", { exact: true }).waitFor();
  await pill.waitFor({ state: "detached" });
  clean(page);
});

test("who reads at the end stays there when less of it is in sight and much comes at once", async () => {
  const all = session("builder").slice(0, -1);
  const page = await tell(all);
  const recorder = new Recorder(all.at(-1), all.at(-1).created_at);
  const atEnd = () => scroller(page).evaluate((box) => box.scrollHeight - box.clientHeight - box.scrollTop);
  await until(async () => (await atEnd()) < 3, "it begins at the end");
  // A dock that grows takes room from the story.
  await page.setViewportSize({ width: 1360, height: 620 });
  await add(page, Array.from({ length: 8 }, (_, n) => recorder.action("message", [], `step ${n}\n\n${"words ".repeat(120)}`)));
  await page.setViewportSize({ width: 1360, height: 560 });
  await page.getByText("step 7").waitFor();
  await until(async () => (await atEnd()) < 3, "it is at the end still");
  assert.equal(await page.locator(".s-pill").count(), 0);
  clean(page);
});

test("a question about an undo is in sight whole, and nothing covers it", async () => {
  const all = session("builder");
  const page = await tell(all, { height: 620 });
  const text = `diff --git a/a.txt b/a.txt\n--- a/a.txt\n+++ b/a.txt\n@@ -1,0 +1,40 @@\n${"+a line\n".repeat(40)}`;
  await page.evaluate((text) => window.story.setPreview({ files: [{ path: "a.txt", op: "modify", added: 40, removed: 0 }], changed: 1, text, cut: false }), text);
  await scroll(page, 0);
  const recorder = new Recorder(all.at(-1), all.at(-1).created_at);
  await add(page, [recorder.action("message", [], "one"), recorder.action("message", [], "two")]);
  await page.locator(".s-pill").waitFor();
  await page.getByRole("button", { name: "Undo to here" }).first().click();
  const bring = page.getByRole("button", { name: "Bring it back" });
  await until(async () => {
    const box = await bring.boundingBox();
    return box !== null && box.y + box.height <= 620;
  }, "the button is in sight");
  assert.equal(await page.locator(".s-pill").isVisible(), false);
  await shot(page, "story-undo-asked");
  clean(page);
});

test("an answer is read as it was meant", async () => {
  const all = session("builder").slice(0, 3);
  const recorder = new Recorder(all.at(-1), all.at(-1).created_at);
  const text = "## Trees\n\nA *treehouse* wants **one** of these:\n\n| Tree | Age | Good for |\n|:--|--:|---|\n| Oak | 300 | `platform` |\n| Larch | 60 | boards<br>and beams |\n\n> Let it move.\n\n1. Choose\n   - alive\n   - thick\n2. Build\n   ```sh\n   saw --all\n   ```\n\nIt carries $F = m g$. See [the guide](https://trees.example/guide).";
  for (const dark of [false, true]) {
    const page = await tell([...all, recorder.action("message", [], text)], { dark });
    const said = page.locator(".s-said");
    assert.deepEqual(await said.locator("th").allInnerTexts(), ["Tree", "Age", "Good for"]);
    assert.equal(await said.locator("ol > li > ul > li").count(), 2);
    assert.equal(await said.locator("blockquote").innerText(), "Let it move.");
    assert.equal(await said.locator("em").innerText(), "treehouse");
    assert.equal(await said.locator("li pre").innerText(), "saw --all");
    assert.doesNotMatch(await said.innerText(), /\*\*|\|--|\]\(|\$/);
    await accessible(page);
    await shot(page, `story-markdown${dark ? "-dark" : ""}`);
    clean(page);
  }
});

test("what is loaded before keeps what one reads in its place", async () => {
  const page = await browser.tab({ height: 900 });
  await page.goto(stage.url);
  const loaded = await page.evaluate(
    async ({ base, source }) => {
      const all = new Function(`return ${source}`)()(base, 3000);
      let from = all.length - 500;
      window.story.events.value = all.slice(from);
      window.story.show({
        more: async () => {
          // Long enough to see where everything stands before.
          await new Promise((done) => setTimeout(done, 400));
          from = Math.max(1, from - 500);
          // As the page does it: the request stays first.
          window.story.events.value = [all[0], ...all.slice(from)];
          return from > 1;
        },
      });
      return all.length;
    },
    { base: session("builder"), source: repeated.toString() },
  );
  assert.equal(loaded, 3000);
  const first = () => page.evaluate(() => window.story.events.value.length);
  await page.locator(".s-row").first().waitFor();
  for (let n = 0; n < 8 && (await first()) < 3000; n += 1) {
    // Near the top of what is there; what comes before must not move it.
    const count = await first();
    await scroller(page).evaluate((box) => (box.scrollTop = 700));
    await page.waitForTimeout(60);
    const before = await places(page);
    await scroller(page).evaluate((box) => box.dispatchEvent(new Event("scroll")));
    await until(async () => (await first()) > count || (await first()) >= 3000, "earlier steps come");
    await page.waitForTimeout(250);
    const after = await places(page);
    const kept = Object.keys(before).filter((key) => key in after);
    if ((await first()) > count) {
      assert.ok(kept.length > 0, "what was read is still in sight");
      for (const key of kept) assert.ok(Math.abs(after[key] - before[key]) <= 2, `${key} moved from ${before[key]} to ${after[key]}`);
    }
  }
  clean(page);
});

test("words are found and marked, kinds and paths filtered, all of it by keys", async () => {
  const page = await tell(session("builder"));
  await page.keyboard.press("/");
  await page.keyboard.type("plants");
  const status = page.locator(".s-found");
  await until(async () => (await status.innerText()) === "0 of 2", "it counts");
  await page.keyboard.press("Enter");
  await page.locator(".s-row.file.current").waitFor();
  assert.equal(await status.innerText(), "1 of 2");
  assert.equal(await page.evaluate(() => CSS.highlights.get("found")?.size > 0), true);
  await page.keyboard.press("Escape");
  // From step to step.
  const current = async () => Number(await page.locator("[aria-current=step]").getAttribute("data-index"));
  const at = await current();
  await page.keyboard.press("j");
  await until(async () => (await current()) === at + 1, "the next step");
  await page.keyboard.press("k");
  await until(async () => (await current()) === at, "the step before");
  await until(async () => (await page.evaluate(() => document.activeElement.dataset.index)) === String(at), "it has the focus");
  // From problem to problem.
  await page.keyboard.press("n");
  await page.locator(".s-row.differs.current, .s-row.file.current").waitFor();
  await page.getByRole("button", { name: /^Files/ }).first().click();
  await until(async () => (await page.locator(".s-row").count()) === 5, "only files");
  await page.getByLabel("Only this path").fill("todo.js");
  await until(async () => (await page.locator(".s-row").count()) === 2, "only this path");
  await page.getByLabel("Only this path").fill("nothing like it");
  await page.getByText("Nothing like that in this session.").waitFor();
  await page.getByRole("button", { name: "Show all" }).click();
  await until(async () => (await page.locator(".s-row").count()) > 9, "all again");
  clean(page);
});

test("a link leads to its step", async () => {
  const all = session("builder");
  const wanted = all.find((event) => event.content.includes("+test(\"an empty"));
  const page = await tell(all, { props: { step: wanted.id.slice(0, 16) } });
  await page.locator(".s-row.file.current").waitFor();
  assert.match(await page.locator(".s-row.current").innerText(), /todo\.test\.js/);
  clean(page);
});

test("an undo shows what would change, does it, and offers to undo that", async () => {
  const all = session("builder");
  const page = await tell(all);
  const text = all.filter((event) => event.content.startsWith("diff --git a/src")).map((event) => event.content).join("");
  await page.evaluate((text) => window.story.setPreview({ files: [], changed: 2, text, cut: false, left_out: ["node_modules"] }), text);
  await page.locator(".s-row.point").nth(1).getByRole("button", { name: /Undo to here/ }).click();
  const panel = page.getByRole("group", { name: "Back to checkpoint 2?" });
  await panel.getByText("2 files would change").waitFor();
  assert.equal(await panel.locator("ins").count(), 7);
  assert.deepEqual(await calls(page), []);
  await accessible(page);
  await shot(page, "story-undo");
  await panel.getByRole("button", { name: "Bring it back" }).click();
  await page.getByText("Checkpoint 2 is back.").waitFor();
  await page.getByRole("button", { name: "Undo this" }).click();
  await page.getByRole("group", { name: "Back to checkpoint 9?" }).getByRole("button", { name: "Bring it back" }).click();
  await page.getByText("Checkpoint 9 is back.").waitFor();
  assert.deepEqual(await calls(page), [["undo", 2], ["undo", 9]]);
  clean(page);
});

test("questions are answered in place, long texts come whole, an app is opened", async () => {
  const recorder = new Recorder();
  const tag = (bytes) => ["truncated", String(bytes), "ab".repeat(32)];
  const question = recorder.action("question", [["claim", "asked"], ["option", "y", "allow_once", "Yes"], ["option", "n", "reject_once", "No"]], "Run `npm install`?");
  const events = [
    recorder.action("command", [["cmd", "make"], ["exit", "0"], ["ms", "10"], tag(3000)], "$ make\nbegin\n"),
    recorder.action("serve", [["port", "5173"]]),
    question,
  ];
  const page = await tell(events);
  await page.evaluate(() => window.story.setBlob(`begin\n${"more\n".repeat(500)}end`));
  await page.getByRole("button", { name: "Load all of it" }).click();
  await page.getByRole("button", { name: "Show 494 more lines" }).click();
  await page.getByText("end", { exact: false }).first().waitFor();
  await scroll(page, 1);
  await page.getByRole("button", { name: "Open", exact: true }).click();
  await page.getByRole("button", { name: "Yes" }).click();
  await until(async () => (await calls(page)).length === 2, "both were done");
  assert.deepEqual(await calls(page), [["preview", 5173], ["answer", question.id, "y"]]);
  await add(page, [recorder.action("answer", [["question", question.id], ["option", "y", "allow_once", "Yes"], ["by", "owner"]])]);
  await page.getByText("You answered: Yes").waitFor();
  assert.equal(await page.getByRole("button", { name: "Yes" }).count(), 0);
  clean(page);
});

test("a private session says that it is one, and its owner reads what was said", async () => {
  const recorder = new Recorder();
  const request = { ...recorder.record(5050, [["encrypted"]], "AhAx"), pubkey: "b".repeat(64) };
  const result = { ...recorder.record(6050, [["encrypted"]], "AhAy"), pubkey: "c".repeat(64) };
  const events = [
    request,
    recorder.action("file", [["op", "modify"], ["lines", "+2", "-1"], ["withheld", "120"]]),
    recorder.action("message", [["withheld", "2345"]]),
  ];
  const page = await tell(events);
  await page.getByText("What was asked is private.").waitFor();
  await page.getByText("It answered: 2.3 kB, kept private.").waitFor();
  await page.getByText("120 bytes, kept private").waitFor();
  await page.evaluate(([all, ask, answer]) => {
    window.story.events.value = all;
    window.story.plain.value = new Map([
      [ask, JSON.stringify([["i", "my secret question", "text"]])],
      [answer, "a secret answer"],
    ]);
  }, [[...events, result], request.id, result.id]);
  await page.getByText("my secret question").waitFor();
  await page.getByText("a secret answer").waitFor();
  assert.equal(await page.getByText("It answered:").count(), 0, "it is told once");
  clean(page);
});

test("the story has no violation in the dark and on a phone", async () => {
  for (const options of [{ dark: true }, { phone: true }]) {
    const page = await tell(session("builder"), options);
    await accessible(page);
    await shot(page, options.dark ? "story-dark" : "story-phone");
    await scroll(page, 1);
    await page.locator(".s-row.ended").waitFor();
    await accessible(page);
    clean(page);
    await page.context().close();
  }
});

test("files are looked at in folders, in parts, as of a checkpoint", async () => {
  const evil = "<img src=x onerror=alert(1)>\u202egpj.exe";
  const files = {
    "README.md": "# A\n\n<script>alert(1)</script>\n",
    "src/deep/er/a.ts": "const a = 1;\n".repeat(200),
    [`src/${evil}`]: "x",
    "src/z.bin": "\0binary",
    "empty.txt": "",
  };
  const page = await browser.tab();
  await page.goto(stage.url);
  await page.evaluate((files) => window.story.showFiles(files), files);
  const tree = page.getByRole("navigation", { name: "Files" });
  await tree.getByRole("button", { name: "README.md" }).click();
  await page.getByText("<script>alert(1)</script>").waitFor();
  await tree.getByRole("button", { name: "1 more entry" }).click();
  await tree.getByRole("button", { name: "empty.txt" }).click();
  await page.getByText("The file is empty.").waitFor();
  await tree.getByRole("button", { name: "src" }).click();
  await tree.getByRole("button", { name: "1 more entry" }).click();
  await tree.getByRole("button", { name: "z.bin" }).click();
  await page.getByText("This is no text (7 bytes).").waitFor();
  await tree.getByText("⟨U+202E⟩gpj.exe").waitFor();
  for (const name of ["deep", "er", "a.ts"]) await tree.getByRole("button", { name, exact: name !== "a.ts" }).click();
  const text = page.getByRole("region", { name: "src/deep/er/a.ts" });
  await text.waitFor();
  await page.getByRole("button", { name: "Load more (1.6 kB left)" }).click();
  await page.getByRole("button", { name: "Load more (600 bytes left)" }).click();
  await until(async () => (await text.locator(".s-line").count()) === 200, "all lines");
  assert.equal(await text.locator(".s-line").last().getAttribute("data-n"), "200");
  await accessible(page);
  await shot(page, "story-files");
  await page.getByLabel("Checkpoint").selectOption("1");
  await until(async () => (await calls(page)).some(([what, at]) => what === "read" && at === 1), "as it was");
  clean(page);
});

/** What agents may write, in every field. */
function hostile() {
  const recorder = new Recorder();
  const evil = `<img src=x onerror="alert(1)"><script>alert(2)</script>\u202etxt.exe\u2066\u001b[31m\u001b]0;x\u0007\u0000\u200b javascript:alert(3) {{RECORD}}`;
  const deep = `${"very/".repeat(400)}deep.txt`;
  const long = "x".repeat(1 << 20);
  const marks = `Z${"\u0301".repeat(300)}`;
  const tall = `diff --git a/${evil} b/${evil}\n--- a/${evil}\n+++ b/${evil}\n@@ -1,10000 +1,10000 @@\n${"-old line\n".repeat(10_000)}${"+new line\n".repeat(10_000)}`;
  const kinds = ["message", "command", "file", "git", "model", "undo", "question", "answer", "serve", "pause", "steer", evil, ""];
  const filled = (label) =>
    recorder.action(
      label,
      [["path", evil], ["op", evil], ["lines", "+1", "-1"], ["cmd", evil, evil], ["exit", evil], ["ms", "1e99"], ["claim", evil], ["tool", evil], ["port", evil], ["by", evil], ["option", evil, evil, evil], ["to", evil], ["from", evil], ["model", evil], ["tokens", "NaN", "-1"], ["microusd", "99999999999999999999"], ["truncated", evil, evil], ["alt", evil], ["until", evil]],
      evil,
    );
  return [
    recorder.record(4781, [["role", evil], ["model", evil], ["env", evil, `sandbox=${evil}`], ["skipped", evil, evil], ["alt", evil]], evil),
    ...kinds.map(filled),
    recorder.record(4783, [["r", `refs/${evil}/1`], ["reason", evil], ["uncovered", evil, evil]], evil),
    recorder.record(4784, [["code", evil], ["recoverable", evil]], evil),
    recorder.record(4784, [["code", "claim"]], `The agent says it ${evil}, but nothing changed there.`),
    recorder.action("message", [], marks.repeat(200)),
    recorder.action("message", [], `${"# ".repeat(5000)}\n${"- ".repeat(5000)}\n${"`".repeat(9999)}${"*".repeat(9999)}`),
    recorder.action("file", [["path", deep], ["op", "create"], ["lines", "+1", "-0"]], `diff --git a/${deep} b/${deep}\nnew file mode 100644\n--- /dev/null\n+++ b/${deep}\n@@ -0,0 +1 @@\n+${long}\n`),
    recorder.action("command", [["cmd", "cat", long], ["exit", "0"]], long),
    recorder.action("file", [["path", "tall"], ["op", "modify"], ["lines", "+10000", "-10000"]], tall),
    recorder.record(4785, [["l", evil, "agent.outcome"], ["ending", evil], ["duration_s", evil]], evil),
  ];
}

test("hostile content in every field is text, breaks no layout and freezes nothing", async () => {
  for (const options of [{}, { phone: true }]) {
    const began = Date.now();
    const page = await tell(hostile(), options);
    page.on("dialog", () => page.problems.push("a dialog"));
    assert.ok(Date.now() - began < 15_000);
    // Everything that opens is opened, on the way down.
    for (let n = 0; n < 40; n += 1) {
      await page.evaluate(() => {
        for (const button of document.querySelectorAll('.s-row [aria-expanded="false"]')) button.click();
      });
      const done = await scroller(page).evaluate((box) => {
        box.scrollTop += box.clientHeight * 0.8;
        return box.scrollTop + box.clientHeight >= box.scrollHeight - 2;
      });
      const wide = await page.evaluate(() => {
        const room = document.querySelector(".s-scroll").clientWidth;
        return [...document.querySelectorAll(".s-row, .s-body > *")].filter((row) => row.getBoundingClientRect().width > room + 1).map((row) => row.className);
      });
      assert.deepEqual(wide, []);
      assert.equal(await page.evaluate(() => document.querySelectorAll("#app img, #app script, #app a[href^='javascript']").length), 0);
      assert.equal(await page.evaluate(() => /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\u200b]/.test(document.querySelector("#app").textContent)), false);
      if (done) break;
    }
    if (options.phone !== true) await accessible(page);
    await shot(page, `story-hostile${options.phone ? "-phone" : ""}`);
    // A change of twenty thousand lines, all of it.
    await scroll(page, 0.97);
    const tall = page.locator(".s-row", { hasText: "tall" }).last();
    await tall.scrollIntoViewIfNeeded();
    for (let n = 0; n < 12; n += 1) {
      const more = tall.getByRole("button", { name: /^Show [\d,]+ more line/ });
      if ((await more.count()) === 0) break;
      const before = Date.now();
      await more.first().click({ force: true });
      await page.evaluate(() => new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next))));
      assert.ok(Date.now() - before < 5_000, `${Date.now() - before} ms`);
    }
    clean(page);
    await page.context().close();
  }
});
