import assert from "node:assert/strict";
import test from "node:test";

import { type NEvent, type NFilter } from "../../../src/web/page/src/nostr/records";
import type { Relay } from "../../../src/web/page/src/nostr/relay";
import { Store } from "../../../src/web/page/src/app/store";
import { until } from "./read";

const COORDINATOR = "c".repeat(64);
const OPERATOR = "d".repeat(64);
const SESSION = "e".repeat(64);
const BEGAN = 1_800_000_000;

let ids = 0;

function event(kind: number, at: number, tags: string[][], content = "", pubkey = COORDINATOR): NEvent {
  ids += 1;
  return { id: ids.toString(16).padStart(64, "0"), pubkey, created_at: BEGAN + at, kind, tags, content, sig: "" };
}

const job = (at: number, text = "a job"): NEvent => event(5870, at, [["i", text, "text"], ["p", COORDINATOR]], "", OPERATOR);
const says = (job: NEvent, at: number, status: string, more: string[][] = [], content = ""): NEvent =>
  event(7000, at, [["status", status], ["e", job.id], ["p", OPERATOR], ...more], content);

/** Gives what is stored as our relay does: the newest first, and no more than it gives at once. */
class Stored {
  constructor(
    readonly events: NEvent[],
    private readonly most = 5000,
  ) {}

  private find(filter: NFilter): NEvent[] {
    const fits = (event: NEvent): boolean =>
      (filter.ids?.includes(event.id) ?? true) &&
      (filter.kinds?.includes(event.kind) ?? true) &&
      (filter.authors?.includes(event.pubkey) ?? true) &&
      (filter.search === undefined || event.content.includes(filter.search)) &&
      event.created_at <= (filter.until ?? Number.POSITIVE_INFINITY) &&
      Object.entries(filter).every(([name, wanted]) => !name.startsWith("#") || event.tags.some((tag) => tag[0] === name[1] && (wanted as string[]).includes(tag[1] ?? "")));
    const newest = this.events.filter(fits).sort((a, b) => b.created_at - a.created_at || (a.id < b.id ? -1 : 1));
    return newest.slice(0, Math.min(filter.limit ?? 500, this.most));
  }

  listen({ filters, onevent, oneose }: { filters: NFilter[]; onevent: (event: NEvent) => void; oneose?: () => void }): { close: () => void } {
    queueMicrotask(() => {
      for (const found of filters.flatMap((filter) => this.find(filter))) onevent(found);
      oneose?.();
    });
    return { close: () => {} };
  }

  async query(filters: NFilter[]): Promise<NEvent[]> {
    return filters.flatMap((filter) => this.find(filter));
  }
}

const read = (stored: Stored): Store => new Store(stored as unknown as Relay, COORDINATOR, OPERATOR);

/** A hundred jobs that were done long ago, and what was said of them: more than the newest answers. */
function busy(): NEvent[] {
  const events: NEvent[] = [];
  for (let n = 0; n < 100; n += 1) {
    const asked = job(n * 100);
    events.push(asked, says(asked, n * 100 + 1, "processing"));
    for (let part = 0; part < 40; part += 1) events.push(says(asked, n * 100 + 2 + part, "partial", [], "so far"));
    events.push(n % 2 === 0 ? event(6870, n * 100 + 50, [["e", asked.id], ["p", OPERATOR]], "done") : says(asked, n * 100 + 50, "error", [["code", "agent"]]));
  }
  return events;
}

test("jobs of long ago, about which much was said, are as they ended", async () => {
  for (const most of [5000, 200]) {
    const store = read(new Stored(busy(), most));
    const states = (): string[] => [...store.jobs.values()].map((job) => job.state);
    await until(() => store.loaded.value && !states().some((state) => state === "waiting" || state === "working"));
    assert.equal(states().filter((state) => state === "done").length, 50);
    assert.equal(states().filter((state) => state === "failed").length, 50);
  }
});

test("the record, which withholds what a private job asks, does not take the place of what its owner was told", async () => {
  const asked = job(0);
  const inner = event(5870, 1, [["E", asked.id], ["p", SESSION]]);
  const question = event(4782, 2, [["l", "question", "agent.action"], ["E", asked.id], ["option", "o1", "allow_once", ""], ["alt", "Asks its owner something"]], "", SESSION);
  const told = says(asked, 2, "processing", [["question", question.id], ["option", "o1", "allow_once", "Allow"]], "It wants to edit page.html.");
  for (const last of [question, told]) {
    const store = read(new Stored([asked, inner, question, told]));
    await until(() => store.question(asked.id) !== undefined);
    // A session's own view hears it again.
    store.take(last);
    const known = store.question(asked.id);
    assert.equal(known?.text, "It wants to edit page.html.");
    assert.equal(known?.options[0]?.name, "Allow");
  }
});

test("a search finds what was answered long ago, and brings it onto the list", async () => {
  const events: NEvent[] = [];
  for (let n = 0; n < 2000; n += 1) {
    const asked = job(n * 10);
    events.push(asked, event(6870, n * 10 + 5, [["e", asked.id], ["p", OPERATOR]], n === 7 ? "a walnut" : "nothing"));
  }
  const wanted = events[14] as NEvent;
  const store = read(new Stored(events));
  await until(() => store.loaded.value);
  assert.equal(store.jobs.has(wanted.id), false);
  assert.deepEqual([...(await store.search("walnut"))], [wanted.id]);
  assert.equal(store.jobs.get(wanted.id)?.state, "done");
});
