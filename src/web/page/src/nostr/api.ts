// What the page asks the program by HTTP, because a Nostr client cannot: to sign, to decrypt, to look at folders
// and to keep files. Everything else is events.

import { verifyEvent } from "nostr-tools/pure";

import { type NEvent, value } from "./records";

const BEARER = "treefort.bearer";
const ENTER = "/api/enter";

/** Who is who, for this page. */
export interface Who {
  operator: string;
  coordinator: string;
  relay: string;
  version: string;
  home: string;
  ask: string;
  /** How many agents work at the same time. */
  at_once: number;
  /** Lists of hosts that a job may be let reach, by their names. */
  networks: Record<string, string[]>;
}

export interface Folders {
  path: string;
  parent: string | null;
  folders: { name: string }[];
  projects: string[];
}

export interface Kept {
  sha256: string;
  size: number;
  type: string;
}

/** An answer that is no success; `code` is a word for programs, `unreachable` when there was no answer. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    sentence: string,
  ) {
    super(sentence);
  }
}

function bearer(): string | null {
  try {
    return sessionStorage.getItem(BEARER);
  } catch {
    return null;
  }
}

/** Whether this tab was let in before. */
export function hasBearer(): boolean {
  return bearer() !== null;
}

/** Forgets that this tab was let in. */
export function forget(): void {
  try {
    sessionStorage.removeItem(BEARER);
  } catch {
    // Nothing was kept.
  }
}

/** Whether it is our treefort that answers here, and not a program that took its port while it was away. */
export async function isOurs(relay: string): Promise<boolean> {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  const challenge = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  try {
    const options: RequestInit = { cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(5000) };
    const response = await fetch(`/.well-known/treefort?challenge=${challenge}`, options);
    const proof = (await response.json()) as NEvent;
    return proof.pubkey === relay && value(proof, "challenge") === challenge && verifyEvent(proof);
  } catch {
    return false;
  }
}

let lockedOut = (): void => {};

let said = "";

/** What was said to who was not let in, the last time; it names what to type. */
export const refusal = (): string => said;

/** What happens when this tab is not let in any more. */
export function onLockedOut(then: () => void): void {
  lockedOut = then;
}

/** What lets this tab in, as long as it is not answered: what the page asks meanwhile waits for it. */
let entering: Promise<unknown> = Promise.resolve();

async function call(method: string, path: string, body?: BodyInit, headers: Record<string, string> = {}): Promise<Response> {
  if (path !== ENTER) await entering;
  const token = bearer();
  if (token !== null) headers["Authorization"] = `Bearer ${token}`;
  let response: Response;
  try {
    response = await fetch(path, { method, headers, body: body ?? null, cache: "no-store", credentials: "omit" });
  } catch {
    throw new ApiError(0, "unreachable", "");
  }
  if (response.ok) return response;
  if (response.status === 401 && token !== null) lockedOut();
  const answer: unknown = await response.json().catch(() => null);
  const field = (name: string): string => {
    const value = answer !== null && typeof answer === "object" ? (answer as Record<string, unknown>)[name] : undefined;
    return typeof value === "string" ? value : "";
  };
  if (response.status === 401) said = field("error");
  throw new ApiError(response.status, field("code"), field("error"));
}

async function json<T>(method: string, path: string, body?: unknown): Promise<T> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const headers: Record<string, string> = text === undefined ? {} : { "Content-Type": "application/json" };
  const response = await call(method, path, text, headers);
  return (await response.json()) as T;
}

/** Trades the one-time code of the link for a bearer that this tab keeps. */
export async function enter(code: string): Promise<Who> {
  const answer = json<Who & { bearer: string }>("POST", ENTER, { code });
  entering = answer.catch(() => {});
  const { bearer, ...who } = await answer;
  sessionStorage.setItem(BEARER, bearer);
  return who;
}

export const who = (): Promise<Who> => json("GET", "/api/who");

/** A fresh link, for another tab. */
export const link = async (): Promise<string> => (await json<{ url: string }>("POST", "/api/link")).url;

/** A link to the demo, in a place of its own that is thrown away; it is started if it does not run. */
export const demo = async (): Promise<string> => (await json<{ url: string }>("POST", "/api/demo")).url;

/** An event before it is signed; `hidden` goes into its content, encrypted. */
export interface Draft {
  kind: number;
  tags: string[][];
  content: string;
  hidden?: string[][];
}

/** Signs with the owner's key. The page publishes what it gets. */
export const sign = (draft: Draft): Promise<NEvent> => json("POST", "/api/sign", draft);

/** How many events one request carries. */
const DECRYPTED_AT_ONCE = 100;

/** What encrypted events say; `null` where that cannot be read. */
export async function decrypt(events: NEvent[]): Promise<(string | null)[]> {
  const plain: (string | null)[] = [];
  for (let at = 0; at < events.length; at += DECRYPTED_AT_ONCE) {
    const part = events.slice(at, at + DECRYPTED_AT_ONCE);
    plain.push(...(await json<{ plain: (string | null)[] }>("POST", "/api/decrypt", { events: part })).plain);
  }
  return plain;
}

export const folders = (path?: string): Promise<Folders> =>
  json("GET", path === undefined ? "/api/folders" : `/api/folders?path=${encodeURIComponent(path)}`);

/** Keeps a file for a job that is about to be asked. */
export async function putFile(file: Blob, name: string): Promise<Kept> {
  const headers = { "Content-Type": file.type || "application/octet-stream", "X-Name": encodeURIComponent(name) };
  return (await (await call("PUT", "/api/files", file, headers)).json()) as Kept;
}

/** The bytes that a record names by their hash. */
export async function blob(sha256: string): Promise<Uint8Array> {
  const response = await call("GET", `/api/blob/${encodeURIComponent(sha256)}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** A session as one file to show others. */
export async function share(session: string, form: "html" | "jsonl"): Promise<Blob> {
  return await (await call("GET", `/api/share/${encodeURIComponent(session)}?form=${form}`)).blob();
}
