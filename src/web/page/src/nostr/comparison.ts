// Jobs that asked several the same (nips/90.md, Comparisons).

import type { Draft } from "./api";
import { isHex, kind, type NEvent } from "./records";

/** The most jobs of one comparison. */
export const MAX_COMPARED = 32;
/** How much of a question its note repeats. */
const QUESTION = 500;

/** Which of how many a job is. */
export interface Comparison {
  /** The note that opened it; 32 random bytes when its jobs are private. */
  id: string;
  n: number;
  of: number;
}

/** Reads the tag of a request; one without sense is none. */
export function comparisonOf(tags: string[][]): Comparison | undefined {
  const [, id, first, last] = tags.find((tag) => tag[0] === "comparison") ?? [];
  const count = (text: string | undefined): number => (/^\d{1,5}$/.test(text ?? "") ? Number(text) : 0);
  const [n, of] = [count(first), count(last)];
  return isHex(id) && n >= 1 && n <= of && of <= MAX_COMPARED ? { id, n, of } : undefined;
}

/** The tags of a request; of one in the clear also what a relay finds it by. */
export function tagsOf({ id, n, of }: Comparison, note?: { relay: string; customer: string }): string[][] {
  const tag = ["comparison", id, String(n), String(of)];
  return note === undefined ? [tag] : [tag, ["q", id, note.relay, note.customer]];
}

/** An id that says nothing. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The note that opens it: what is asked of whom. */
export function opening(question: string, names: string[], provider: string): Draft {
  const all = question.replace(/\s+/g, " ").trim();
  const asked = all.length > QUESTION ? `${all.slice(0, QUESTION)}…` : all;
  const list = names.map((name, at) => `${at + 1}. ${name}`).join("\n");
  const content = `🏁 The same question to ${names.length}:\n\n“${asked}”\n\n${list}\n\nEach works in a sandbox and on a copy of its own.`;
  return { kind: kind.note, tags: [["t", "agents"], ["p", provider]], content };
}

/** A reply to the note that opened it, which may quote another note. */
export function reply(root: NEvent, relay: string, content: string, quoted?: NEvent): Draft {
  const tags = [
    ["e", root.id, relay, "root", root.pubkey],
    ["p", root.pubkey],
  ];
  if (quoted !== undefined) tags.push(["q", quoted.id, relay, quoted.pubkey]);
  return { kind: kind.note, tags, content };
}
