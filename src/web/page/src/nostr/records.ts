// Events: their shape, their kinds, and how tags are read. nips/agent-session.md and nips/90.md say what they mean.

/** A Nostr event. What comes from our own relay was verified there. */
export interface NEvent {
  id: string;
  pubkey: string;
  created_at: number;
  kind: number;
  tags: string[][];
  content: string;
  sig: string;
}

export interface NFilter {
  ids?: string[];
  kinds?: number[];
  authors?: string[];
  since?: number;
  until?: number;
  limit?: number;
  search?: string;
  [tag: `#${string}`]: string[] | undefined;
}

/** The kinds that the page knows; src/nips/kind.rs is their registry. */
export const kind = {
  note: 1,
  deletion: 5,
  start: 4781,
  action: 4782,
  checkpoint: 4783,
  error: 4784,
  end: 4785,
  chatJob: 5050,
  taskJob: 5870,
  workspaceTask: 5871,
  chatResult: 6050,
  taskResult: 6870,
  workspaceResult: 6871,
  feedback: 7000,
  auth: 22242,
  delta: 24135,
  appData: 30078,
} as const;

/** The five kinds of a session's record. */
export const RECORDS: number[] = [kind.start, kind.action, kind.checkpoint, kind.error, kind.end];
export const JOBS: number[] = [kind.chatJob, kind.taskJob];
export const RESULTS: number[] = [kind.chatResult, kind.taskResult];

/** The first tag of a name. */
export function tag(event: NEvent, name: string): string[] | undefined {
  return event.tags.find((tag) => tag[0] === name);
}

/** The value of the first tag of a name. */
export function value(event: NEvent, name: string): string | undefined {
  return tag(event, name)?.[1];
}

/** All tags of a name. */
export function tags(event: NEvent, name: string): string[][] {
  return event.tags.filter((tag) => tag[0] === name);
}

/** A number in a tag: `at` 1 is the value. */
export function number(event: NEvent, name: string, at = 1): number | undefined {
  const text = tag(event, name)?.[at];
  if (text === undefined || !/^\d{1,16}$/.test(text)) return undefined;
  return Number(text);
}

/** What kind of action a 4782 is. */
export function label(event: NEvent): string | undefined {
  return event.tags.find((tag) => tag[0] === "l" && tag[2] === "agent.action")?.[1];
}

/** The first value of `["param", name, value]`; `-` and `_` are the same. */
export function param(event: NEvent, name: string): string | undefined {
  return params(event.tags, name);
}

/** As `param`, of tags that were decrypted. */
export function params(tags: string[][], name: string): string | undefined {
  return tags.find((tag) => tag[0] === "param" && tag[1]?.replaceAll("-", "_") === name)?.[2];
}

/** All values of all parameters of a name, of tags. */
export function allParams(tags: string[][], name: string): string[] {
  return tags.filter((tag) => tag[0] === "param" && tag[1] === name).flatMap((tag) => tag.slice(2));
}

export function seq(event: NEvent): number {
  return number(event, "seq") ?? 0;
}

export function isPrivate(event: NEvent): boolean {
  return tag(event, "encrypted") !== undefined;
}

const HEX = /^[0-9a-f]{64}$/;

/** Whether this can be an id or a key. */
export function isHex(text: string | undefined): text is string {
  return text !== undefined && HEX.test(text);
}
