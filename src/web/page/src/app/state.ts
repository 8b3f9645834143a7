// What all views share: who we are, the connection, what is known, what this treefort can do.

import { computed, effect, signal } from "@preact/signals";

import { ApiError, enter, forget, hasBearer, isOurs, link, onLockedOut, sign, who, type Who } from "../nostr/api";
import { kind } from "../nostr/records";
import { Relay } from "../nostr/relay";
import { Store } from "./store";

/** What the coordinator says it can do: the content of its `treefort/status` (nips/90.md, Announcement). */
export interface Status {
  version: string;
  runtime: { kind: string; ok: boolean; detail: string; fix?: string; protects?: string[]; exposes?: string[] };
  models: string[];
  cloud?: string[];
  /** Models that take no pictures. */
  blind?: string[];
  default_model: string | null;
  model_problem: string | null;
  providers?: { name: string; local: boolean; ready: boolean; key_env: string }[];
  agents: Agent[];
  admit: string;
}

export interface Agent {
  name: string;
  title?: string;
  description: string;
  kinds: number[];
  workspace?: boolean;
  command?: boolean;
  /** Whether it can ask before it acts. */
  asks?: boolean;
  /** Whether it can begin at once, with nothing to make or fetch first. */
  ready?: boolean;
  missing?: string;
}

/** Before anything else is known: whether we are let in. Who `enters` has shown something to be let in with, and sees
    the page already. */
export type Door = "opening" | "entering" | "closed" | "again" | "used" | "unreachable" | "open";

const CODE = /^#t=([\w-]+)$/;

export const door = signal<Door>(CODE.test(location.hash) || hasBearer() ? "entering" : "opening");
export const me = signal<Who | undefined>(undefined);
export const status = signal<Status | undefined>(undefined);
export const store = signal<Store | undefined>(undefined);
/** Said to who does not see the page. */
export const announcement = signal("");

/** Seconds since 1970, once a second while anybody looks. */
export const now = signal(Math.floor(Date.now() / 1000));
setInterval(() => {
  now.value = Math.floor(Date.now() / 1000);
}, 1000);

export const conversations = computed(() => store.value?.conversations.value ?? []);

const CHANNEL = "treefort.door";
const WAS_IN = "treefort.was-in";
/** How long another tab is waited for that may let this one in, and one that said that it does. */
const KNOCK = 600;
const COMING = 8000;

addEventListener("hashchange", () => {
  // A link that is opened where the door is shown already.
  if (location.hash.startsWith("#t=") && door.value !== "open") void open();
});

/** The code of a link that nobody has answered yet. */
let unused: string | undefined;
let retry: ReturnType<typeof setTimeout> | undefined;

/** Comes in: by the link's code, as before in this tab, or let in by another tab. */
export async function open(): Promise<void> {
  clearTimeout(retry);
  const code = CODE.exec(location.hash)?.[1] ?? unused;
  unused = undefined;
  let we: Who | undefined;
  if (code !== undefined) {
    // The code is worth nothing once it was used, and nobody shall copy it from the address.
    if (location.hash.startsWith("#t=")) history.replaceState(null, "", "#/");
    try {
      we = await enter(code);
    } catch (error) {
      if (unreachable(error)) {
        unused = code;
        return later();
      }
      if (!hasBearer()) {
        door.value = "used";
        return;
      }
    }
  }
  if (!hasBearer()) {
    const lent = await knock();
    try {
      if (lent === undefined) throw new Error();
      we = await enter(lent);
    } catch (error) {
      if (unreachable(error)) return later();
      return shut();
    }
  }
  try {
    begin(we ?? (await who()));
  } catch (error) {
    if (unreachable(error)) return later();
    forget();
    shut();
  }
}

/** The door, until another tab of this browser was let in. */
function shut(): void {
  door.value = sessionStorage.getItem(WAS_IN) === null ? "closed" : "again";
  const channel = new BroadcastChannel(CHANNEL);
  channel.onmessage = ({ data }: MessageEvent<{ opened?: boolean }>) => {
    if (data.opened !== true) return;
    channel.close();
    void open();
  };
}

/** Whether this tab was let in by a treefort that was started again since. */
function remember(was: boolean): void {
  if (was) sessionStorage.setItem(WAS_IN, "1");
  else sessionStorage.removeItem(WAS_IN);
}

const unreachable = (error: unknown): boolean => error instanceof ApiError && error.code === "unreachable";

function later(): void {
  door.value = "unreachable";
  clearTimeout(retry);
  retry = setTimeout(() => void open(), 2000);
}

function begin(we: Who): void {
  me.value = we;
  // What was written is kept; the door is shown.
  onLockedOut(() => {
    forget();
    remember(true);
    location.reload();
  });
  const { protocol, host } = location;
  const relay = new Relay(`${protocol === "https:" ? "wss" : "ws"}://${host}/`, () => isOurs(we.relay), async ({ kind, tags, content }) => await sign({ kind, tags, content }));
  store.value = new Store(relay, we.coordinator, we.operator);
  let newest = 0;
  relay.listen({
    filters: [{ kinds: [kind.appData], authors: [we.coordinator], "#d": ["treefort/status"] }],
    onevent: (event) => {
      if (event.created_at < newest) return;
      newest = event.created_at;
      try {
        status.value = JSON.parse(event.content) as Status;
      } catch {
        // It says nothing that we understand.
      }
    },
  });
  // A treefort that was started again lets in nobody whom it let in before.
  let before = relay.state.value;
  effect(() => {
    const state = relay.state.value;
    if (before === "lost" && state === "open") void check();
    before = state;
  });
  answerKnocks();
  remember(false);
  door.value = "open";
}

async function check(): Promise<void> {
  me.value = await who().catch(() => me.value);
}

/** Asks other tabs of this page for a link. Only pages of this origin hear it. */
function knock(): Promise<string | undefined> {
  return new Promise((resolve) => {
    const channel = new BroadcastChannel(CHANNEL);
    const id = crypto.randomUUID();
    const end = (code: string | undefined): void => {
      channel.close();
      resolve(code);
    };
    let timer = setTimeout(() => end(undefined), KNOCK);
    channel.onmessage = ({ data }: MessageEvent<{ to?: string; coming?: boolean; code?: string }>) => {
      if (data.to !== id) return;
      clearTimeout(timer);
      if (data.code !== undefined) return end(data.code);
      timer = setTimeout(() => end(undefined), data.coming === true ? COMING : 0);
    };
    channel.postMessage({ from: id });
  });
}

function answerKnocks(): void {
  const channel = new BroadcastChannel(CHANNEL);
  channel.postMessage({ opened: true });
  channel.onmessage = ({ data }: MessageEvent<{ from?: string }>) => {
    if (data.from === undefined) return;
    // The link takes a moment, above all in a tab that nobody looks at.
    channel.postMessage({ to: data.from, coming: true });
    void link().then(
      (url) => channel.postMessage({ to: data.from, code: new URL(url).hash.replace("#t=", "") }),
      () => channel.postMessage({ to: data.from, coming: false }),
    );
  };
}
