// Records to test with: real sessions that `treefort export` wrote, and made-up records that nobody signed.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { JOBS, type NEvent, RECORDS } from "../../../src/web/page/src/nostr/records";

declare const FIXTURES: string;

/** All events of an exported session. */
export function exported(name: string): NEvent[] {
  const text = readFileSync(join(FIXTURES, `${name}.jsonl`), "utf8");
  return text.trim().split("\n").map((line) => JSON.parse(line) as NEvent);
}

/** As the page gives them to the story: what was asked, and the records in their order. */
export function session(name: string): NEvent[] {
  const all = exported(name);
  const asked = all.filter((event) => JOBS.includes(event.kind)).slice(0, 1);
  const records = all.filter((event) => RECORDS.includes(event.kind));
  return [...asked, ...records.sort((a, b) => seq(a) - seq(b))];
}

const seq = (event: NEvent): number => Number(event.tags.find((tag) => tag[0] === "seq")?.[1]);

let ids = 0;

/** A record that nobody signed. */
export function record(number: number, kind: number, tags: string[][], content = ""): NEvent {
  ids += 1;
  return {
    id: ids.toString(16).padStart(64, "0"),
    pubkey: "a".repeat(64),
    created_at: 1_800_000_000 + number,
    kind,
    tags: [["v", "0"], ["seq", String(number)], ...tags],
    content,
    sig: "",
  };
}

export const action = (number: number, label: string, tags: string[][] = [], content = ""): NEvent =>
  record(number, 4782, [["L", "agent.action"], ["l", label, "agent.action"], ...tags], content);

/** Waits until something holds. */
export async function until(holds: () => boolean): Promise<void> {
  for (const end = Date.now() + 10_000; !holds(); ) {
    if (Date.now() > end) throw new Error(`not in time: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
