// What is in a shared file: one session's records in their order, what was asked where it was asked, and the rest.

import { JOBS, kind, type NEvent, RECORDS, seq, value } from "../nostr/records";

/** A file is no longer than this, in lines. */
const MOST = 1_000_000;

export interface Bundle {
  /** All events, as they stand in the file. */
  events: NEvent[];
  /** Lines that are no events. */
  strange: number;
  session: string | undefined;
  records: NEvent[];
  /** For the story: requests and records. */
  story: NEvent[];
}

/** Reads JSON Lines. */
export function read(text: string): Bundle {
  const events: NEvent[] = [];
  let strange = 0;
  for (const line of text.split("\n", MOST)) {
    if (line.trim() === "") continue;
    const event = parse(line);
    if (event === undefined) strange += 1;
    else events.push(event);
  }
  return { events, strange, ...arrange(events) };
}

function parse(line: string): NEvent | undefined {
  try {
    const event = JSON.parse(line) as Partial<NEvent> | null;
    if (event === null || typeof event !== "object") return undefined;
    const texts = [event.id, event.pubkey, event.sig, event.content].every((part) => typeof part === "string");
    const numbers = [event.kind, event.created_at].every((part) => Number.isSafeInteger(part));
    const isTag = (tag: unknown): boolean => Array.isArray(tag) && tag.every((part) => typeof part === "string");
    return texts && numbers && Array.isArray(event.tags) && event.tags.every(isTag) ? (event as NEvent) : undefined;
  } catch {
    return undefined;
  }
}

function arrange(events: NEvent[]): Pick<Bundle, "session" | "records" | "story"> {
  const all = events.filter((event) => RECORDS.includes(event.kind));
  const session = (all.find((event) => event.kind === kind.start) ?? all[0])?.pubkey;
  const records = all.filter((event) => event.pubkey === session).sort((a, b) => seq(a) - seq(b));
  const requests = new Map<string, NEvent>();
  // What was handed on says what was asked where the request itself was withdrawn.
  for (const event of events) {
    const root = value(event, "E");
    if (JOBS.includes(event.kind) && root !== undefined) requests.set(root, event);
  }
  for (const event of events) {
    if (JOBS.includes(event.kind) && value(event, "E") === undefined) requests.set(event.id, event);
  }
  const story: NEvent[] = [];
  let job: string | undefined;
  for (const record of records) {
    const root = value(record, "E");
    const request = root === undefined || root === job ? undefined : requests.get(root);
    if (request !== undefined) {
      job = root;
      story.push(request);
    }
    story.push(record);
  }
  return { session, records, story };
}
