import assert from "node:assert/strict";
import test from "node:test";

import type { NEvent } from "../../../src/web/page/src/nostr/records";
import { read } from "../../../src/web/page/src/share/bundle";
import { type Checked, check } from "../../../src/web/page/src/share/check";
import { exported } from "./read";

const lines = (events: NEvent[]): string => events.map((event) => JSON.stringify(event)).join("\n");

async function checked(events: NEvent[]): Promise<Checked & { problems: string[] }> {
  const found = await check(read(lines(events)), () => {});
  return { ...found, problems: found.findings.map(({ problem, seq }) => (seq === undefined ? problem : `${problem} ${seq}`)) };
}

test("a real session is whole, and every event in the file is signed", async () => {
  for (const name of ["builder", "shell"]) {
    const all = exported(name);
    const found = await checked(all);
    assert.deepEqual(found.problems, []);
    assert.deepEqual([found.done, found.good, found.ended], [all.length, found.records, true]);
  }
});

test("a request stands before what came of it", () => {
  const { story } = read(lines(exported("builder").reverse()));
  assert.deepEqual(story.slice(0, 3).map((event) => event.kind), [5870, 4781, 4783]);
  assert.deepEqual(story.filter((event) => event.kind === 5870).length, 1);
});

test("whatever was done to a file is found", async () => {
  const all = exported("builder");
  const at = (kind: number): number => all.findIndex((event) => event.kind === kind);
  const changed = all.map((event, n) => (n === at(4782) ? { ...event, content: `${event.content}!` } : event));
  assert.match((await checked(changed)).problems[0] ?? "", /^changed \d+$/);
  const forged = all.map((event, n) => (n === at(4783) ? { ...event, sig: (all[0] as NEvent).sig } : event));
  assert.match((await checked(forged)).problems[0] ?? "", /^changed/);
  const without = (kind: number): NEvent[] => all.filter((_, n) => n !== at(kind));
  assert.ok((await checked(without(4783))).problems.includes("missing 1"));
  assert.deepEqual((await checked(without(4785))).problems, ["end"]);
  assert.ok((await checked(without(4781))).problems.includes("start"));
  assert.deepEqual((await checked([...all, all[at(4784)] as NEvent])).problems.map((text) => text.split(" ")[0]), ["twice", "count"]);
});

test("what is no event is counted, and nothing breaks", async () => {
  const bundle = read(`null\n{}\n[]\n"x"\n{"id":1}\n${lines(exported("shell"))}\n{"id":"a","pubkey":"b","sig":"c","content":"d","kind":1,"created_at":1,"tags":[["e"],[]]}`);
  assert.equal(bundle.strange, 5);
  const found = await check(bundle, () => {});
  assert.deepEqual(found.findings.map(({ problem }) => problem), ["changed", "strange"]);
  assert.deepEqual((await check(read(""), () => {})).findings.map(({ problem }) => problem), ["start", "end"]);
});
