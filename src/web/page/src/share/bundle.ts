// What is in a shared file: one session's records in their order, what was asked where it was asked, and the rest.

import { JOBS, kind, type NEvent, RECORDS, RESULTS, seq, tag, value } from "../nostr/records";

/** A file is no longer than this, in lines. */
const MOST = 1_000_000;

export interface Bundle {
  /** All events, as they stand in the file. */
  events: NEvent[];
  /** Lines that are no events. */
  strange: number;
  /** What encrypted events say, where their owner wants it to be read. Nobody signed it in this form. */
  plain: Map<string, string>;
  session: string | undefined;
  records: NEvent[];
  /** For the story: requests and records. */
  story: NEvent[];
}

/** Reads JSON Lines. */
export function read(text: string): Bundle {
  const events: NEvent[] = [];
  const plain = new Map<string, string>();
  let strange = 0;
  for (const line of text.split("\n").filter((line) => line.trim() !== "").slice(0, MOST)) {
    const parsed = parse(line);
    if (parsed === undefined) strange += 1;
    else if ("of" in parsed) plain.set(parsed.of, parsed.plain);
    else events.push(parsed);
  }
  return { events, strange, plain, ...arrange(events, plain) };
}

interface Words {
  of: string;
  plain: string;
}

function parse(line: string): NEvent | Words | undefined {
  try {
    const event = JSON.parse(line) as (Partial<NEvent> & Partial<Words>) | null;
    if (event === null || typeof event !== "object") return undefined;
    const { of, plain } = event;
    if (typeof of === "string" && typeof plain === "string" && event.id === undefined) return { of, plain };
    const texts = [event.id, event.pubkey, event.sig, event.content].every((part) => typeof part === "string");
    const numbers = [event.kind, event.created_at].every((part) => Number.isSafeInteger(part));
    const isTag = (tag: unknown): boolean => Array.isArray(tag) && tag.every((part) => typeof part === "string");
    return texts && numbers && Array.isArray(event.tags) && event.tags.every(isTag) ? (event as NEvent) : undefined;
  } catch {
    return undefined;
  }
}

function arrange(events: NEvent[], plain: Map<string, string>): Pick<Bundle, "session" | "records" | "story"> {
  const all = events.filter((event) => RECORDS.includes(event.kind));
  const start = all.find((event) => event.kind === kind.start);
  const session = (start ?? all[0])?.pubkey;
  const records = all.filter((event) => event.pubkey === session).sort((a, b) => seq(a) - seq(b));
  // Who handed the session its jobs, and whose jobs those are: the records say so. Anybody can sign the rest.
  const coordinator = start === undefined ? undefined : tag(start, "e")?.[3];
  const jobs = new Map<string, string | undefined>();
  for (const record of records) {
    const [, root, , customer] = tag(record, "E") ?? [];
    if (root !== undefined) jobs.set(root, customer);
  }
  const requests = new Map<string, NEvent>();
  // What was handed on says what was asked where the request itself was withdrawn.
  for (const event of events.filter((event) => JOBS.includes(event.kind))) {
    const root = value(event, "E");
    const handed = root !== undefined && jobs.has(root) && event.pubkey === coordinator && value(event, "p") === session;
    if (handed) requests.set(root, event);
  }
  for (const event of events.filter((event) => JOBS.includes(event.kind) && jobs.has(event.id))) {
    if (jobs.get(event.id) === event.pubkey) requests.set(event.id, event);
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
  // A private job's answer is in its result alone.
  const answers = (event: NEvent): boolean => {
    if (event.pubkey === session) return jobs.has(value(event, "E") ?? "");
    return event.pubkey === coordinator && jobs.has(value(event, "e") ?? "");
  };
  story.push(...events.filter((event) => RESULTS.includes(event.kind) && plain.has(event.id) && answers(event)));
  return { session, records, story };
}
