// Is a session what was signed, and all of it? The same rules as `treefort verify` (nips/agent-session.md,
// "Verification"), in the browser of whoever reads.

import { verifyEvent } from "nostr-tools/pure";

import { kind, type NEvent, number, tag, value } from "../nostr/records";
import type { Bundle } from "./bundle";

export interface Finding {
  problem: "changed" | "twice" | "missing" | "order" | "start" | "end" | "count" | "strange" | "version";
  /** The number of the record that it is about, where it is about one. */
  seq?: number | undefined;
}

export interface Checked {
  /** Events whose signatures were looked at, and how many there are. */
  done: number;
  total: number;
  /** Of the session's records: how many verify, and how many there are. */
  good: number;
  records: number;
  findings: Finding[];
  /** Ids of events that are not as they were signed. */
  bad: string[];
  /** Whether the session's end is in the file. */
  ended: boolean;
  over: boolean;
}

/** What is wrong with a chain of records, apart from their signatures. */
export function chain(records: NEvent[]): Finding[] {
  const found: Finding[] = [];
  const [first] = records;
  if (first?.kind !== kind.start) found.push({ problem: "start" });
  const counts = { actions: 0, checkpoints: 0, errors: 0 };
  records.forEach((record, at) => {
    const [seq, before] = [number(record, "seq"), records[at - 1]];
    if (value(record, "v") !== "0") found.push({ problem: "version", seq });
    const last = before === undefined ? -1 : (number(before, "seq") ?? -1);
    if (seq === undefined || seq < last) found.push({ problem: "order", seq });
    else if (seq === last) found.push({ problem: "twice", seq });
    else if (seq > last + 1) found.push({ problem: "missing", seq: last + 1 });
    else if (at > 0 && value(record, "prev") !== before?.id) found.push({ problem: "order", seq });
    if (at === 0 && tag(record, "prev") !== undefined) found.push({ problem: "start" });
    if (at > 0 && value(record, "e") !== first?.id) found.push({ problem: "order", seq });
    if (record.kind === kind.start && at > 0) found.push({ problem: "order", seq });
    if (record.kind === kind.end && at < records.length - 1) found.push({ problem: "order", seq });
    if (record.kind === kind.action) counts.actions += 1;
    if (record.kind === kind.checkpoint) counts.checkpoints += 1;
    if (record.kind === kind.error) counts.errors += 1;
  });
  const end = records[records.length - 1];
  if (end?.kind !== kind.end) found.push({ problem: "end" });
  else if ((["actions", "checkpoints", "errors"] as const).some((name) => number(end, name) !== counts[name])) {
    found.push({ problem: "count" });
  }
  return found;
}

/** Whether an event's id is that of its text, and its signature that of its key. */
export function isSigned(event: NEvent): boolean {
  try {
    // A copy: nostr-tools remembers on an event that it was verified.
    const { id, pubkey, created_at, kind, tags, content, sig } = event;
    return verifyEvent({ id, pubkey, created_at, kind, tags, content, sig });
  } catch {
    return false;
  }
}

/** How long the check works before the page gets a turn, in milliseconds. */
const TURN = 12;

/** Checks a bundle little by little, and says how far it is. */
export async function check(bundle: Bundle, tell: (checked: Checked) => void): Promise<Checked> {
  const { events, records } = bundle;
  const known = new Set(records);
  const checked: Checked = {
    done: 0,
    total: events.length,
    good: 0,
    records: records.length,
    findings: [],
    bad: [],
    ended: records[records.length - 1]?.kind === kind.end,
    over: false,
  };
  // Records first: they are what is read.
  const order = [...records, ...events.filter((event) => !known.has(event))];
  let turn = performance.now();
  for (const event of order) {
    if (isSigned(event)) {
      if (known.has(event)) checked.good += 1;
    } else {
      checked.bad.push(event.id);
      checked.findings.push({ problem: "changed", seq: known.has(event) ? number(event, "seq") : undefined });
    }
    checked.done += 1;
    if (performance.now() - turn > TURN) {
      tell({ ...checked });
      await new Promise((next) => setTimeout(next));
      turn = performance.now();
    }
  }
  if (bundle.strange > 0) checked.findings.push({ problem: "strange" });
  checked.findings.push(...chain(records));
  checked.over = true;
  tell({ ...checked });
  return checked;
}
